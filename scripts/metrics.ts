// Writes docs/reference/metrics.md from the instruments of the program.
import { writeFileSync } from 'node:fs';
import { CallStats } from '../src/api/call/call-stats.js';
import { GAUGES, type GaugeSource } from '../src/api/gauges.js';
import { systemClock } from '../src/base/clock.js';
import { gaugeMetric, type Metric } from '../src/base/metrics.js';
import { ALL_INSTRUMENTS } from '../src/instruments.js';
import { metricsOf, processMetrics } from '../src/telemetry/metrics.js';
import { processTelemetry } from '../src/telemetry/telemetry.js';
import { isProgram, referencePage, table } from './reference.js';

const PAGE = new URL('../docs/reference/metrics.md', import.meta.url);

const own: readonly Metric[] = [
  ...new CallStats().metrics(),
  ...GAUGES.map((gauge) => gaugeMetric(gauge, {} as GaugeSource)), // nothing is read
  ...metricsOf(ALL_INSTRUMENTS, processTelemetry('silent', systemClock)),
];
const ofProcess = processMetrics();

type Row = Pick<Metric, 'name' | 'type' | 'help' | 'labels'>;

const tableOf = (rows: readonly Row[]): string =>
  table(
    ['Metric', 'Type', 'Labels', 'Meaning'],
    rows.map(({ name, type, labels = [], help }) => [
      `\`${name}\``,
      type,
      labels.map((label) => `\`${label}\``).join(', '),
      help,
    ]),
  );

/** The whole text of the page. */
export function metricsDoc(): Promise<string> {
  const processRows = ofProcess.getMetricsAsArray().map((metric) => ({ ...metric, labels: [] }) as unknown as Row);
  return referencePage(PAGE, [
    `## Metrics of Rollcall\n\n${tableOf(own)}`,
    `## Metrics of the process and of Node\n\n${tableOf(processRows)}`,
  ]);
}

if (isProgram(import.meta.url)) writeFileSync(PAGE, await metricsDoc());
