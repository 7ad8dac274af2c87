/** One number of a metric. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** The end of the name, such as "_bucket". */
  readonly suffix?: string;
}

/** A metric as a scrape shows it. */
export interface Metric {
  /** The whole name, such as "rollcall_commits_total". */
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** The names of the labels. Default: there are none. */
  readonly labels?: readonly string[];
  /** The numbers of this moment. */
  readonly read: () => readonly Sample[];
}

/** The numbers of a distribution: how many values lie below each bound, their sum, and their count. */
export class Distribution {
  /** The values up to each bound that exceed the bound before; last, those above all bounds. */
  readonly #buckets: Float64Array;
  #sum = 0;

  constructor(private readonly bounds: readonly number[]) {
    this.#buckets = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let i = 0;
    while (i < this.bounds.length && value > this.bounds[i]!) i++;
    this.#buckets[i]!++;
    this.#sum += value;
  }

  samples(labels: Readonly<Record<string, string>>): Sample[] {
    let count = 0;
    const buckets = [...this.#buckets].map((values, i) => {
      const le = i < this.bounds.length ? String(this.bounds[i]) : '+Inf';
      return { suffix: '_bucket', labels: { ...labels, le }, value: (count += values) };
    });
    return [...buckets, { suffix: '_sum', labels, value: this.#sum }, { suffix: '_count', labels, value: count }];
  }
}

/** Bounds for times from half a millisecond to 10 s, in seconds. */
export const SECONDS_BOUNDS: readonly number[] = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/** A gauge: a number that is read from a source at each scrape. */
export interface Gauge<Source> {
  /** The name without the prefix of the program. */
  readonly name: string;
  readonly help: string;
  /** The names of the labels. Default: there are none. */
  readonly labels?: readonly string[];
  /** One number, numbers with labels, or `undefined` where there is none. */
  readonly read: (source: Source) => number | undefined | readonly Sample[];
}

/** The metric of a gauge that reads from this source. */
export function gaugeMetric<Source>({ name, read, ...rest }: Gauge<Source>, source: Source): Metric {
  return {
    ...{ ...rest, name: `rollcall_${name}`, type: 'gauge' },
    read: () => {
      const value = read(source);
      if (value === undefined) return [];
      return typeof value === 'number' ? [{ labels: {}, value }] : value;
    },
  };
}

/** The samples of a condition that has one of several names: 1 for that name, 0 for each other. */
export const oneOf = (label: string, names: readonly string[], now: readonly string[]): Sample[] =>
  names.map((name) => ({ labels: { [label]: name }, value: now.includes(name) ? 1 : 0 }));
