import type { Counter, CounterBoard } from '../base/telemetry.js';

/** Holds the counters: plain numbers, so that counting costs little on the hot paths. */
export class Counters implements CounterBoard {
  readonly #values = new Map<Counter, number>();

  add(counter: Counter, n = 1): void {
    this.#values.set(counter, (this.#values.get(counter) ?? 0) + n);
  }

  /** The value of a counter. */
  value(counter: Counter): number {
    return this.#values.get(counter) ?? 0;
  }
}
