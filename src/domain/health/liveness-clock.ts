import type { PauseReason } from './pause-reason.js';
import type { Clock } from '../../base/clock.js';

/** The most that one tick, or one stamp between ticks, advances. A longer step means that this process was stalled. */
const STEP_MAX_MS = 500;

/**
 * A message that this process sends to itself through the kernel. After a stall, timers fire before queued heartbeats are
 * read; a self-beat in flight shows that.
 */
export interface SelfBeat {
  /** Sends a self-beat, unless one is in flight. */
  send(): void;
  /** True while a self-beat is in flight. */
  readonly inFlight: boolean;
}

/**
 * The clock that silence is measured by. It advances only while this process could have heard beats.
 *
 * It is paused while there is a pause reason, so that a fault of this process moves every deadline later and none earlier.
 */
export class LivenessClock {
  #nowMs = 0;
  #lastTick: number;
  #newestStamp = 0;
  #pauses: ReadonlyMap<PauseReason, number> = new Map();
  #pausedSince: number | undefined;

  /** `pauseReasons` names the reasons for which the clock must be paused now. */
  constructor(
    private readonly clock: Clock,
    private readonly selfBeat: SelfBeat,
    private readonly pauseReasons: () => readonly PauseReason[],
  ) {
    this.#lastTick = clock.now();
  }

  /** The time as of the last tick. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** The monotonic time, which goes on during a pause. */
  get monotonicMs(): number {
    return this.clock.now();
  }

  /** The wall clock, in milliseconds. It may be wrong, and other servers may have another one. */
  get wallMs(): number {
    return this.clock.wall();
  }

  /** The reasons of the present pause, each with its monotonic start. Empty while the clock runs. */
  get pauses(): ReadonlyMap<PauseReason, number> {
    return this.#pauses;
  }

  /** The length of the present pause. 0 while the clock runs. */
  get pausedForMs(): number {
    return this.#pausedSince === undefined ? 0 : this.clock.now() - this.#pausedSince;
  }

  /** The time of an event that happens now: never earlier than `nowMs`, nor than any earlier stamp. */
  stamp(): number {
    const stamp = this.#nowMs + Math.min(this.clock.now() - this.#lastTick, STEP_MAX_MS);
    if (stamp > this.#newestStamp) this.#newestStamp = stamp;
    return this.#newestStamp;
  }

  /** Advances by the time since the last tick. */
  tick(): void {
    const now = this.clock.now();
    const step = Math.min(now - this.#lastTick, STEP_MAX_MS);
    this.#lastTick = now;
    const late: readonly PauseReason[] = this.selfBeat.inFlight ? ['SELF_BEAT_LATE'] : [];
    const reasons = [...late, ...this.pauseReasons()];
    this.#pauses = new Map(reasons.map((reason) => [reason, this.#pauses.get(reason) ?? now]));
    if (reasons.length === 0) {
      this.#nowMs += step;
      this.#pausedSince = undefined;
    } else {
      this.#pausedSince ??= now;
    }
    this.selfBeat.send();
  }
}
