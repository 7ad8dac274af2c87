import { fallsOf, type InstanceItem } from '../../model/instance.js';
import type { LivenessEntry } from './liveness-table.js';

/** The times of protection, in milliseconds. They are handed in, so that a simulation sees whole events in minutes. */
export interface ProtectionTimes {
  /**
   * An instance counts once it has been registered for this time, or for SEASON_TTLS ttls. A process that starts and dies
   * in a loop never reaches this age.
   */
  readonly seasonMs: number;
  /**
   * Falls within this time belong together, and an instance that counts is kept for this time after it fell silent: what
   * the rule looks back at must still be registered. A cut that spreads over ten minutes is then one event.
   */
  readonly memoryMs: number;
  /** Protection ends when as many instances as before the event have been up for this time. */
  readonly fullMs: number;
  /** Protection ends when half as many have been up for this time: the rest will probably not come back. */
  readonly halfMs: number;
  /** Protection ends after this time in any case. */
  readonly maxMs: number;
}

/** The times of a server. `maxMs` is a setting. */
export const PROTECTION_TIMES: Omit<ProtectionTimes, 'maxMs'> = {
  seasonMs: 60_000,
  memoryMs: 10 * 60_000,
  fullMs: 5_000,
  halfMs: 5 * 60_000,
};

/** The number of ttls in a season, and in the memory of a service, if that is longer. */
export const SEASON_TTLS = 3;

/** How long an instance must have been registered to count. */
export function seasonMs({ seasonMs }: ProtectionTimes, ttlMs: number): number {
  return Math.max(seasonMs, SEASON_TTLS * ttlMs);
}

/** How long a fall is remembered in a service of these instances. */
export function memoryMs({ memoryMs }: ProtectionTimes, items: readonly InstanceItem[]): number {
  return items.reduce((longest, { ttlMs }) => Math.max(longest, SEASON_TTLS * ttlMs), memoryMs);
}

/** A fall that counts, as this process saw it. */
export interface CountedFall {
  readonly revision: bigint;
  readonly fellMs: number;
  /** True if it was found at a start: it is not known when the instance fell. */
  readonly found: boolean;
}

/**
 * The first fall of an instance that is ill, counted when it fell, and fell after a time of this process. `undefined` if there is
 * none, or an operator has set the instance aside.
 */
export function fallSince(item: InstanceItem, entry: LivenessEntry, sinceMs: number): CountedFall | undefined {
  if (item.isSetAside) return undefined;
  let first: CountedFall | undefined;
  for (const { revision, seasoned, byCheck } of fallsOf(item)) {
    const fellMs = byCheck ? entry.failedMs : entry.fellMs;
    if (!seasoned || fellMs <= sinceMs || (first && first.fellMs <= fellMs)) continue;
    first = { revision, fellMs, found: byCheck ? entry.foundFailed : entry.foundSilent };
  }
  return first;
}
