/** How often the clock ticks. */
const TICK_MS = 50;
/** The most that one tick advances the clock. A stall of the process then costs the probes no more than this. */
const STEP_MAX_MS = 100;

/**
 * The clock of the prober. It advances by ticks, and a late tick by a bounded step: while the process is stopped or
 * starved, the time of the probes does not pass. Whatever arrived meanwhile is read before a deadline is looked at.
 */
export class SteadyClock {
  #nowMs = 0;
  #tickedAt = performance.now();
  readonly #timer: NodeJS.Timeout;

  /** `onTick` is called after each tick, once the events that wait have been handled. */
  constructor(onTick: () => void) {
    this.#timer = setInterval(() => {
      const at = performance.now();
      this.#nowMs += Math.min(at - this.#tickedAt, STEP_MAX_MS);
      this.#tickedAt = at;
      setImmediate(onTick);
    }, TICK_MS);
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
