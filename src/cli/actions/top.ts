import { CallError } from '../../client/call-error.js';
import { follow } from '../../client/watch.js';
import type { GetStatusResponse } from '../../gen/rollcall/v1/admin_service.js';
import { Health, type Instance } from '../../gen/rollcall/v1/instance.js';
import { WatchServicesRequest } from '../../gen/rollcall/v1/registry_service.js';
import { CommandFailed, Exit } from '../exits.js';
import { type Cell, plain, table } from '../output.js';
import type { Session } from '../session.js';
import { stateOf } from '../shown.js';

/** How often the screen is drawn, and how often the status is asked for. */
const DRAW_MS = 1_000;
const STATUS_MS = 2_000;
/** Changes are counted over this time. */
const RATE_MS = 60_000;
/** The most changes that are remembered for it: more is a flood, whose rate is then too low. */
const CHANGES_MAX = 10_000;
/** The newest changes on the screen, and the lines around the table of services. */
const RECENT_MAX = 8;
const OTHER_LINES = 8;

/** The screen beside the one of the shell, without a cursor; and back. */
const ENTER = '\x1b[?1049h\x1b[?25l';
const LEAVE = '\x1b[?25h\x1b[?1049l';
const CLEAR = '\x1b[H\x1b[J';

const STATES = [
  [Health.HEALTH_HEALTHY, 'green'],
  [Health.HEALTH_DEGRADED, 'yellow'],
  [Health.HEALTH_UNHEALTHY, 'red'],
  [Health.HEALTH_DRAINING, 'gray'],
] as const;

/** Shows the services of a namespace and their changes until the command is ended. In a pipe it prints one picture. */
export async function top({ client, namespace, signal, format }: Session<unknown>): Promise<void> {
  if (format !== 'table')
    throw new CommandFailed(
      '--output: "top" has a table alone; "services" and "watch" print JSON and YAML',
      Exit.USAGE,
    );
  const view = new View();
  const isScreen = process.stdout.isTTY;
  const request = WatchServicesRequest.fromPartial({ namespace, all: true, filter: { healthStates: [1, 2, 3, 4] } });
  const draw = (): void => {
    const rows = isScreen ? Math.max((process.stdout.rows ?? 24) - OTHER_LINES - RECENT_MAX, 3) : Infinity;
    process.stdout.write(`${isScreen ? CLEAR : ''}${view.picture(client.address, namespace, rows)}`);
  };
  const ask = async (): Promise<void> => {
    try {
      view.status = await client.admin.getStatus({}, { timeoutMs: STATUS_MS, signal });
    } catch (error) {
      view.status = undefined; // callers without the right to see it have the services alone
      if (!(error instanceof CallError)) throw error;
    }
  };
  await ask();
  const timers = isScreen ? [setInterval(draw, DRAW_MS), setInterval(() => void ask(), STATUS_MS)] : [];
  if (isScreen) process.stdout.write(ENTER);
  try {
    const steps = follow((resumeToken) => client.registry.watchServices({ ...request, resumeToken }, { signal }), {
      signal,
      onInterrupted: ({ message }) => (view.interrupted = message),
    });
    for await (const { kind, messages } of steps) {
      view.interrupted = '';
      if (kind === 'snapshot') view.begin();
      for (const { upserted, removed } of messages) {
        for (const instance of upserted) view.upsert(instance, kind === 'change');
        for (const { service, id } of removed) view.remove(service, id);
      }
      draw();
      if (!isScreen) return;
    }
  } finally {
    timers.forEach(clearInterval);
    if (isScreen) process.stdout.write(LEAVE);
  }
}

/** The instances and their newest changes. */
class View {
  status: GetStatusResponse | undefined;
  /** Why the watch is interrupted; empty if it is not. */
  interrupted = '';
  readonly #instances = new Map<string, Instance>();
  #changes: { readonly service: string; readonly atMs: number; readonly text: string }[] = [];

  /** Forgets the instances: a snapshot follows. */
  begin(): void {
    this.#instances.clear();
  }

  upsert(instance: Instance, isChange: boolean): void {
    const { service, id } = instance;
    const key = `${service}/${id}`;
    const before = this.#instances.get(key);
    this.#instances.set(key, instance);
    if (!isChange) return;
    const [was, is] = [before && stateOf(before), stateOf(instance)];
    this.#note(service, was === undefined ? `+ ${key}  ${is}` : was === is ? `~ ${key}` : `~ ${key}  ${was} -> ${is}`);
  }

  remove(service: string, id: string): void {
    if (this.#instances.delete(`${service}/${id}`)) this.#note(service, `- ${service}/${id}`);
  }

  /** Everything as text; `rows` services at most, those with the most trouble first. */
  picture(address: string, namespace: string, rows: number): string {
    const counts = new Map<string, Map<Health, number>>();
    for (const { service, health } of this.#instances.values()) {
      const of = counts.get(service) ?? new Map<Health, number>();
      counts.set(service, of.set(health, (of.get(health) ?? 0) + 1));
    }
    const since = performance.now() - RATE_MS;
    this.#changes = this.#changes.filter(({ atMs }) => atMs >= since);
    const changed = (service: string): number => this.#changes.filter((change) => change.service === service).length;
    const trouble = (of: ReadonlyMap<Health, number>): number =>
      (of.get(Health.HEALTH_UNHEALTHY) ?? 0) + (of.get(Health.HEALTH_DEGRADED) ?? 0);
    const sorted = [...counts].sort(([a, x], [b, y]) => trouble(y) - trouble(x) || (a < b ? -1 : 1));
    const lines = sorted.slice(0, rows).map(([service, of]): Cell[] => [
      service,
      ...STATES.map(([state, color]): Cell => {
        const count = of.get(state) ?? 0;
        return count === 0 ? '0' : { text: String(count), color };
      }),
      String(changed(service)),
    ]);
    const left = sorted.length - lines.length;
    return [
      `${address}, namespace ${namespace}, ${this.#instances.size} instances of ${counts.size} services${this.#head()}\n`,
      this.interrupted === '' ? '' : `no server answers, and this may be old: ${plain(this.interrupted)}\n`,
      `\n${table(['SERVICE', 'HEALTHY', 'DEGRADED', 'UNHEALTHY', 'DRAINING', 'CHANGES/MIN'], lines)}`,
      left > 0 ? `${left} more services\n` : '',
      '\n',
      ...this.#changes.slice(-RECENT_MAX).map(({ text }) => `${plain(text)}\n`),
    ].join('');
  }

  #head(): string {
    if (!this.status) return '';
    const { version, revision, alarms, counts } = this.status;
    const raised = alarms.length === 0 ? 'no alarms' : `ALARMS: ${alarms.map(({ name }) => name).join(', ')}`;
    return `\nversion ${version}, revision ${revision}, ${counts?.watches ?? 0} watches, ${raised}`;
  }

  #note(service: string, text: string): void {
    this.#changes.push({ service, atMs: performance.now(), text });
    if (this.#changes.length > CHANGES_MAX) this.#changes.shift();
  }
}
