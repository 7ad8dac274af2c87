// Writes docs/reference/metrics.md from the instruments of the program.
import { readFileSync, writeFileSync } from 'node:fs';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { format, resolveConfig } from 'prettier';
import { CallStats } from '../src/api/call/call-stats.js';
import { GAUGES, type GaugeSource } from '../src/api/gauges.js';
import { systemClock } from '../src/base/clock.js';
import { gaugeMetric, type Metric } from '../src/base/metrics.js';
import { ALL_ALARMS, ALL_COUNTERS, ALL_HISTOGRAMS } from '../src/instruments.js';
import { metricsOf, MISNAMED } from '../src/telemetry/metrics.js';
import { processTelemetry } from '../src/telemetry/telemetry.js';

const FILE = new URL('../docs/reference/metrics.md', import.meta.url);
/** The generated tables follow this line. */
const MARK = '<!-- Everything below is written by npm run docs. -->';

const instruments = { counters: ALL_COUNTERS, histograms: ALL_HISTOGRAMS, alarms: ALL_ALARMS };
const own: readonly Metric[] = [
  ...new CallStats().metrics(),
  ...GAUGES.map((gauge) => gaugeMetric(gauge, {} as GaugeSource)), // nothing is read
  ...metricsOf(instruments, processTelemetry('silent', systemClock)),
];
const ofNode = new Registry();
collectDefaultMetrics({ register: ofNode });
for (const name of MISNAMED) ofNode.removeSingleMetric(name);

type Row = Pick<Metric, 'name' | 'type' | 'help' | 'labels'>;

const table = (rows: readonly Row[]): string =>
  [
    '| Metric | Type | Labels | Meaning |',
    '| --- | --- | --- | --- |',
    ...rows.map(({ name, type, labels = [], help }) => {
      const shown = labels.map((label) => `\`${label}\``).join(', ');
      return `| \`${name}\` | ${type} | ${shown} | ${help} |`;
    }),
  ].join('\n');

/** The whole text of the file: the part above the mark is written by hand. */
export async function metricsDoc(): Promise<string> {
  const [above] = readFileSync(FILE, 'utf8').split(MARK);
  const processRows = ofNode.getMetricsAsArray().map((metric) => ({ ...metric, labels: [] }) as unknown as Row);
  const text = [
    `${above!.trimEnd()}\n\n${MARK}\n\n## Metrics of Rollcall\n\n${table(own)}`,
    `## Metrics of the process and of Node\n\n${table(processRows)}\n`,
  ].join('\n\n');
  return format(text, { ...(await resolveConfig(FILE)), parser: 'markdown' });
}

if (process.argv[1] === new URL(import.meta.url).pathname) writeFileSync(FILE, await metricsDoc());
