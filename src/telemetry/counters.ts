import { type CounterBoard, type CounterName, COUNTERS } from '../base/telemetry.js';

/** Holds the counters: plain numbers, so that counting costs nothing on the hot paths. */
export class Counters implements CounterBoard {
  readonly #values = Object.fromEntries(Object.keys(COUNTERS).map((name) => [name, 0])) as Record<CounterName, number>;

  add(name: CounterName, n = 1): void {
    this.#values[name] += n;
  }

  /** The value of a counter. */
  value(name: CounterName): number {
    return this.#values[name];
  }
}
