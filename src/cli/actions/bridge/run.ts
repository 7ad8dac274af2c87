import type { Instance } from '../../../gen/rollcall/v1/instance.js';
import { CommandFailed, Exit } from '../../exits.js';
import { plain, table, warn } from '../../output.js';
import type { Session } from '../../session.js';
import { Bridge } from './bridge.js';
import { serveMetrics } from './bridge-metrics.js';
import { Consul } from './consul.js';
import { Eureka } from './eureka.js';
import type { ForeignRegistry, Found } from './foreign.js';
import { contentOf } from './http-json.js';
import { mirroredAll } from './mirrored.js';

/** Heartbeats go out so often: four within the ttl of 2 min. */
const BEAT_MS = 30_000;
/** The time between two reads by default. */
const EVERY_MS = 5_000;
/** How often the bridge looks whether something is to be done. */
const TICK_MS = 250;

/** The flags of every bridge. */
export interface BridgeFlags {
  /** Milliseconds between two reads. */
  readonly every?: number;
  readonly label?: string;
  readonly metricsPort?: number;
  readonly dryRun?: boolean;
  readonly sourceCa?: string;
  readonly sourceTokenFile?: string;
  readonly datacenter?: string;
}

/** Opens a registry of a kind. Throws CommandFailed. */
export function openRegistry(kind: 'consul' | 'eureka', url: string, flags: BridgeFlags): ForeignRegistry {
  const { sourceCa: ca, sourceTokenFile: file, datacenter } = flags;
  const http = ca === undefined ? {} : { ca };
  if (kind === 'eureka') return new Eureka(url, http);
  if (file !== undefined) contentOf(file); // a wrong path is refused at once, and not at each read
  const headers = file === undefined ? {} : { headers: () => ({ 'x-consul-token': contentOf(file).trim() }) };
  return new Consul(url, { ...http, ...headers, ...(datacenter !== undefined && { datacenter }) });
}

/** Mirrors a registry into the namespace of the session until the command is ended. Nothing is removed at its end. */
export async function runBridge(session: Session<BridgeFlags>, registry: ForeignRegistry): Promise<void> {
  const { client, namespace, signal, flags, say } = session;
  const label = flags.label ?? registry.kind;
  if (flags.dryRun) return dryRun(session, registry, label);
  const bridge = new Bridge({
    ...{ client, registry, namespace, label, now: () => performance.now() },
    report: (line) => warn(plain(line)),
  });
  await bridge.adopt(signal);
  const { metricsPort } = flags;
  const metrics = metricsPort === undefined ? undefined : await serveMetrics(metricsPort, () => bridge.state);
  if (metrics) say(`metrics: http://127.0.0.1:${metrics.port}/metrics\n`);
  say(`${registry.kind} is mirrored into namespace ${namespace}; Ctrl-C ends that, and removes nothing\n`);
  let [readAt, beatAt] = [-Infinity, performance.now()];
  let isReading = false;
  let found: Found | undefined;
  while (!signal.aborted) {
    // Heartbeats do not wait for a registry that answers slowly.
    if (!isReading && performance.now() - readAt >= (flags.every ?? EVERY_MS)) {
      readAt = performance.now();
      isReading = true;
      void bridge.read(signal).then((answer) => ([isReading, found] = [false, answer]));
    }
    if (found) {
      const answer = found;
      found = undefined;
      await bridge.apply(answer, signal);
    }
    if (bridge.hasNews || performance.now() - beatAt >= BEAT_MS) {
      beatAt = performance.now();
      await bridge.beat(signal);
    }
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  metrics?.close();
}

async function dryRun(
  { show, signal, format }: Session<BridgeFlags>,
  registry: ForeignRegistry,
  label: string,
): Promise<void> {
  const found = await registry.read(signal).catch((error: unknown) => {
    throw new CommandFailed(`${registry.kind} did not answer: ${(error as Error).message}`, Exit.UNREACHABLE);
  });
  const { wanted, remarks: changed } = mirroredAll(registry.kind, label, found.instances);
  const remarks = [...found.unreadable, ...changed];
  const instances = [...wanted.values()].map(({ instance, state, note }) => ({
    ...instance,
    reported: { state, note },
  }));
  for (const remark of remarks) warn(plain(remark));
  await show(
    'registry.listInstances',
    { instances: instances as Instance[], nextPageToken: '', revision: 0n, staleFor: undefined },
    () =>
      table(
        ['INSTANCE', 'ADDRESS', 'STATE'],
        instances.map(({ service, id, address, port, reported }) => [
          `${service}/${id}`,
          `${address}:${port}`,
          STATES[reported?.state ?? 0] ?? '-',
        ]),
      ),
  );
  if (format === 'table')
    process.stdout.write(`${instances.length} instances, ${remarks.length} remarks; nothing was registered\n`);
}

const STATES: Readonly<Record<number, string>> = {
  1: 'healthy',
  2: 'starting',
  3: 'degraded',
  4: 'unhealthy',
  5: 'draining',
};
