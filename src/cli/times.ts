import { InvalidArgumentError } from 'commander';

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** Reads a time such as "90s", "30m", "2h" or "1d", in seconds. */
function seconds(text: string): number {
  const [, count, unit] = /^(\d+)([smhd])$/.exec(text) ?? [];
  if (count === undefined)
    throw new InvalidArgumentError('It must be one whole number with one unit, s, m, h or d, as in "90m" or "2h".');
  return Number(count) * UNITS[unit!]!;
}

/** Reads a time up to a bound, in seconds. */
export const upTo =
  (max: string) =>
  (text: string): number => {
    const found = seconds(text);
    if (found > seconds(max)) throw new InvalidArgumentError(`It must be ${max} at most.`);
    return found;
  };

/** Reads a time between two bounds, in milliseconds. */
export const betweenMs =
  (min: string, max: string) =>
  (text: string): number => {
    const found = seconds(text);
    if (found < seconds(min) || found > seconds(max)) throw new InvalidArgumentError(`It must be ${min} to ${max}.`);
    return found * 1_000;
  };
