import type { Duration } from '../gen/google/protobuf/duration.js';
import type { Timestamp } from '../gen/google/protobuf/timestamp.js';

/** One hour. */
export const HOUR_MS = 3_600_000;
/** One day. */
export const DAY_MS = 86_400_000;

/** Milliseconds as a protobuf Duration. */
export function toDuration(ms: number): Duration {
  const whole = Math.round(ms * 1e6);
  return { seconds: BigInt(Math.trunc(whole / 1e9)), nanos: whole % 1e9 };
}

/** A protobuf Duration as milliseconds; a fraction of a millisecond is kept. */
export function fromDuration(duration: Duration): number {
  return Number(duration.seconds) * 1e3 + duration.nanos / 1e6;
}

/** Wall-clock milliseconds since the Unix epoch as a protobuf Timestamp. */
export function toTimestamp(ms: number): Timestamp {
  const whole = Math.floor(ms);
  return { seconds: BigInt(Math.floor(whole / 1e3)), nanos: (((whole % 1e3) + 1e3) % 1e3) * 1e6 };
}

/** A protobuf Timestamp as wall-clock milliseconds since the Unix epoch. */
export function fromTimestamp(timestamp: Timestamp): number {
  return Number(timestamp.seconds) * 1e3 + timestamp.nanos / 1e6;
}
