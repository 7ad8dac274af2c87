import { collectDefaultMetrics, Registry } from 'prom-client';
import { type Metric, oneOf } from '../base/metrics.js';
import type { Alarm, Counter, Histogram } from '../base/telemetry.js';
import type { ProcessTelemetry } from './telemetry.js';

/** Names that the library gives to numbers which can fall. Prometheus expects "_total" at counters only. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

/** Everything that the parts of the program declare. */
export interface Instruments {
  readonly counters: readonly Counter[];
  readonly histograms: readonly Histogram[];
  readonly alarms: readonly Alarm[];
}

/**
 * The metrics of the process in the text format of Prometheus. The hot paths add to plain numbers, and a scrape reads them:
 * the library only writes the format, and the numbers of Node and the process.
 */
export class Metrics {
  readonly #registry = processMetrics();

  constructor(instruments: Instruments, telemetry: Pick<ProcessTelemetry, 'counters' | 'histograms' | 'alarms'>) {
    this.add(metricsOf(instruments, telemetry));
  }

  /** The content type of `text`. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  add(metrics: readonly Metric[]): void {
    // The library takes whatever answers like one of its own metrics.
    for (const metric of metrics) this.#registry.registerMetric(asLibraryMetric(metric) as never);
  }

  /** The metrics of this moment. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }
}

/** The numbers of Node and of the process, as the library has them. */
export function processMetrics(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  return registry;
}

/** The metrics of the instruments of the program. */
export function metricsOf(
  { counters, histograms, alarms }: Instruments,
  telemetry: Pick<ProcessTelemetry, 'counters' | 'histograms' | 'alarms'>,
): Metric[] {
  const names = alarms.map(({ name }) => name);
  return [
    ...counters.map((counter): Metric => ({
      ...{ name: `rollcall_${counter.name}_total`, help: counter.help, type: 'counter' },
      read: () => [{ labels: {}, value: telemetry.counters.value(counter) }],
    })),
    ...[...groupedByName(histograms)].map(([name, group]): Metric => ({
      ...{ name: `rollcall_${name}`, help: group[0]!.help, type: 'histogram' },
      labels: Object.keys(group[0]!.labels ?? {}),
      read: () => group.flatMap((histogram) => telemetry.histograms.of(histogram).samples(histogram.labels ?? {})),
    })),
    {
      ...{ name: 'rollcall_alarm', help: '1 while the alarm is raised, else 0.', type: 'gauge', labels: ['name'] },
      read: () =>
        oneOf(
          'name',
          names,
          telemetry.alarms.raised().map(({ name }) => name),
        ),
    },
  ];
}

function groupedByName(histograms: readonly Histogram[]): Map<string, Histogram[]> {
  const groups = new Map<string, Histogram[]>();
  for (const histogram of histograms) groups.set(histogram.name, [...(groups.get(histogram.name) ?? []), histogram]);
  return groups;
}

function asLibraryMetric({ name, help, type, read }: Metric): object {
  return {
    name,
    get: () => {
      const values = read().map(({ labels, value, suffix }) => ({
        ...{ labels, value },
        ...(suffix !== undefined && { metricName: name + suffix }),
      }));
      return Promise.resolve({ name, help, type, aggregator: 'sum', values });
    },
  };
}
