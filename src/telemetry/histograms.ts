import { Distribution } from '../base/metrics.js';
import type { Histogram, HistogramBoard } from '../base/telemetry.js';

/** Holds the histograms. */
export class Histograms implements HistogramBoard {
  readonly #distributions = new Map<Histogram, Distribution>();

  observe(histogram: Histogram, value: number): void {
    this.of(histogram).observe(value);
  }

  /** The values of a histogram so far. */
  of(histogram: Histogram): Distribution {
    let distribution = this.#distributions.get(histogram);
    if (!distribution) this.#distributions.set(histogram, (distribution = new Distribution(histogram.bounds)));
    return distribution;
  }
}
