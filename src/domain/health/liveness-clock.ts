import type { Clock } from '../../base/clock.js';

/** The most that one tick, or one stamp between ticks, advances: what is longer was a stall of ours. */
const STEP_MAX_MS = 500;

/**
 * A message that this process sends to itself through the kernel. After a stall, timers fire before queued
 * heartbeats are read; a self-beat that is still on its way says so.
 */
export interface SelfBeat {
  /** Sends one, unless one is on its way. */
  send(): void;
  /** True: one is on its way. */
  readonly onItsWay: boolean;
}

/**
 * The time by which silence is judged: it advances only while this process could have heard.
 *
 * It stands still while anything in `stillBecause` holds, so that a fault of ours moves every deadline later
 * and none earlier.
 */
export class LivenessClock {
  #nowMs = 0;
  #lastTick: number;
  #newestStamp = 0;
  #still: ReadonlyMap<string, number> = new Map();
  #stillSince: number | undefined;

  /** `stillBecause` names the reasons for which the clock must stand still now. */
  constructor(
    private readonly clock: Clock,
    private readonly selfBeat: SelfBeat,
    private readonly stillBecause: () => readonly string[],
  ) {
    this.#lastTick = clock.now();
  }

  /** The time as of the last tick. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Why the clock stands still, and since when by the monotonic clock. Empty: it does not. */
  get still(): ReadonlyMap<string, number> {
    return this.#still;
  }

  /** For how long the clock has stood still. */
  get stillForMs(): number {
    return this.#stillSince === undefined ? 0 : this.clock.now() - this.#stillSince;
  }

  /** The time of something that happens now: never earlier than `nowMs`, nor than any stamp before. */
  stamp(): number {
    const stamp = this.#nowMs + Math.min(this.clock.now() - this.#lastTick, STEP_MAX_MS);
    if (stamp > this.#newestStamp) this.#newestStamp = stamp;
    return this.#newestStamp;
  }

  /** Advances by what has passed since the last tick. */
  tick(): void {
    const now = this.clock.now();
    const step = Math.min(now - this.#lastTick, STEP_MAX_MS);
    this.#lastTick = now;
    const reasons = this.selfBeat.onItsWay ? ['SELF_BEAT_LATE', ...this.stillBecause()] : this.stillBecause();
    this.#still = new Map(reasons.map((reason) => [reason, this.#still.get(reason) ?? now]));
    if (reasons.length === 0) {
      this.#nowMs += step;
      this.#stillSince = undefined;
    } else {
      this.#stillSince ??= now;
    }
    this.selfBeat.send();
  }
}
