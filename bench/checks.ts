// Measures health checks: `npm run bench -- checks`. See README.md.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { credentials } from '@grpc/grpc-js';
import { Liveness } from '../src/gen/rollcall/v1/instance.js';
import { discover as discoverAll, register as registerOne } from '../test/support/client.js';
import { type Clients, clientsOf, closeClients } from '../test/support/server.js';
import { BenchClient } from './client.js';
import { beats, registers } from './requests.js';
import { BenchServer, withFolder } from './server.js';
import { lowerQuartile, quantile } from './statistics.js';

const TARGETS = new URL('check-targets.ts', import.meta.url).pathname;
const SHORT_S = 2n;
const AT_A_TIME = 100;
const WARM_MS = 8_000;
const ROUND_MS = 8_000;
const ROUNDS = 6;
const BEATS_PER_SECOND = 2_000;
const BEATING = 4_000;
const TICK_MS = 5;
/** As many as 100,000 checks at 10 s on three servers. */
const HTTP_PROBES_PER_SECOND = 3_333;
const DYING = 100;
const LIVING = 400;
const DETECTION_MAX_MS = 60_000;
const POLL_MS = 100;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const say = (what: string, value: string): void => console.log(`${what.padEnd(56)}  ${value}`);

type Kind = 'tcp' | 'http' | 'https' | 'grpc' | 'refusing' | 'silent';

/** The processor time of the main thread of a server, in seconds. */
function mainSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/task/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Values of the metrics of a server. Reading them begins a new measurement of the lag of its event loop. */
async function metricsOf({ httpPort }: BenchServer): Promise<(name: string) => number> {
  const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
  return (name) => Number(new RegExp(`^${name} (.+)$`, 'm').exec(text)?.[1] ?? NaN);
}

async function probesOf(server: BenchServer): Promise<{ passed: number; failed: number; inconclusive: number }> {
  const metric = await metricsOf(server);
  const of = (name: string): number => metric(`rollcall_probes_${name}_total`);
  return { passed: of('passed'), failed: of('failed'), inconclusive: of('inconclusive') };
}

/** Registers instances that are probed, each at an address of its own. */
async function registerChecked(
  clients: Clients,
  service: string,
  count: number,
  kind: Kind,
  port: number,
  interval: bigint,
): Promise<void> {
  const probe = {
    ...{ tcp: { $case: 'tcp' as const, value: {} }, grpc: { $case: 'grpc' as const, value: {} } },
    http: { $case: 'http' as const, value: { path: '/' } },
  };
  const check = {
    probe: kind === 'tcp' || kind === 'grpc' ? probe[kind] : probe.http,
    interval: { seconds: interval, nanos: 0 },
    ...(kind === 'https' && { tls: {} }),
  };
  for (let from = 0; from < count; from += AT_A_TIME)
    await Promise.all(
      Array.from({ length: Math.min(AT_A_TIME, count - from) }, (_, i) => {
        const address = `127.1.${(from + i) >> 8}.${(from + i) & 255}`;
        const place = { address, port, liveness: Liveness.LIVENESS_STATIC };
        return registerOne(clients, {
          instance: { service, id: `${kind}-${from + i}`, ...place, checks: [check] },
          incarnation: 'a',
        });
      }),
    );
}

async function withServer(use: (server: BenchServer, clients: Clients) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const server = await BenchServer.start('--data-dir', folder);
    const clients = clientsOf(server.address, credentials.createInsecure());
    try {
      await use(server, clients);
    } finally {
      closeClients(clients);
      await server.stop();
    }
  });
}

/** The processor time of the whole server for each probe of a kind. */
async function costOf(kind: Kind, port: number, perSecond: number): Promise<void> {
  await withServer(async (server, clients) => {
    await registerChecked(clients, 'cost', perSecond * Number(SHORT_S), kind, port, SHORT_S);
    await pause(WARM_MS);
    const before = await probesOf(server);
    const cpu = server.cpuSeconds();
    await pause(ROUND_MS);
    const seconds = server.cpuSeconds() - cpu;
    const after = await probesOf(server);
    const probes = after.passed - before.passed;
    const false_ = after.failed + after.inconclusive;
    const rate = `${Math.round((probes * 1_000) / ROUND_MS)}/s`;
    say(
      `${kind}: CPU of the server for each probe`,
      `${((seconds / probes) * 1e6).toFixed(0)} us at ${rate}, not passed: ${false_}`,
    );
  });
}

/** Beats at a fixed rate for one round. */
async function beatFor(client: BenchClient, ms: number): Promise<number> {
  const began = performance.now();
  const open: Promise<unknown>[] = [];
  for (let sent = 0; performance.now() - began < ms;) {
    const due = ((performance.now() - began) / 1_000) * BEATS_PER_SECOND;
    for (; sent < due; sent++) open.push(client.call(beats(sent % BEATING, 1)));
    await pause(TICK_MS);
  }
  await Promise.all(open);
  return open.length;
}

/** The processor time of each heartbeat on the main thread, beside probes and without them, in turns. */
async function besideProbes(port: number): Promise<void> {
  await withServer(async (probing, clients) =>
    withServer(async (other) => {
      const servers = [probing, other];
      const benchClients = servers.map(({ address }) => new BenchClient(address));
      for (const client of benchClients) await client.run(registers(0, BEATING), AT_A_TIME);
      await registerChecked(clients, 'checked', HTTP_PROBES_PER_SECOND * Number(SHORT_S), 'http', port, SHORT_S);
      await pause(WARM_MS);
      const costs: number[][] = [[], []];
      const lags: number[][] = [[], []];
      const idle: number[] = [];
      const before = await probesOf(probing);
      const began = performance.now();
      for (let round = 0; round < ROUNDS; round++)
        for (const [i, server] of servers.entries()) {
          if (i === 0) {
            const from = mainSeconds(server.pid);
            await pause(ROUND_MS / 4);
            idle.push((mainSeconds(server.pid) - from) / (ROUND_MS / 4_000));
          }
          await metricsOf(server);
          const from = mainSeconds(server.pid);
          const count = await beatFor(benchClients[i]!, ROUND_MS);
          costs[i]!.push((mainSeconds(server.pid) - from) / count);
          lags[i]!.push((await metricsOf(server))('nodejs_eventloop_lag_p99_seconds') * 1_000);
        }
      const seconds = (performance.now() - began) / 1_000;
      const after = await probesOf(probing);
      const [beside, without] = costs.map((one) => lowerQuartile(one) * 1e6) as [number, number];
      say('probes while beats were measured', `${Math.round((after.passed - before.passed) / seconds)}/s`);
      say('probes that did not pass', String(after.failed + after.inconclusive));
      say('main thread, probes alone', `${(lowerQuartile(idle) * 100).toFixed(1)} % of a core`);
      say(
        `main thread, for each of ${BEATS_PER_SECOND} beats/s, with / without`,
        `${beside.toFixed(0)} / ${without.toFixed(0)} us, ratio ${(beside / without).toFixed(2)}`,
      );
      const [lagBeside, lagWithout] = lags.map((one) => quantile(one, 0.5).toFixed(1));
      say('p99 of the lag of the event loop, with / without', `${lagBeside} / ${lagWithout} ms`);
      for (const client of benchClients) client.close();
    }),
  );
}

/** From the death of many targets until each is recorded as failed, with the default check. */
async function detection(targets: ChildProcess, ports: Record<Kind, number>): Promise<void> {
  await withServer(async (_, clients) => {
    // Fewer than half of a service: the fall of more would wait for its protection.
    for (const kind of ['refusing', 'silent'] as const) {
      await registerChecked(clients, kind, LIVING, 'http', ports.http, 10n);
      await registerChecked(clients, kind, DYING, kind, ports[kind], 10n);
    }
    const up = async (service: string): Promise<number> => (await discoverAll(clients, { service })).instances.length;
    const all = DYING + LIVING;
    while ((await up('silent')) + (await up('refusing')) < 2 * all) await pause(POLL_MS);
    await pause(WARM_MS);
    for (const [kind, state] of [
      ['refusing', 'refuse'],
      ['silent', 'silence'],
    ] as const) {
      targets.send({ kind, state });
      const began = performance.now();
      const found: number[] = [];
      while (found.length < DYING && performance.now() - began < DETECTION_MAX_MS) {
        const left = await up(kind);
        while (found.length < all - left) found.push((performance.now() - began) / 1_000);
        await pause(POLL_MS);
      }
      const [p50, p99] = [0.5, 0.99].map((share) => quantile(found, share).toFixed(1));
      say(`found, ${kind}: ${found.length} of ${DYING}, p50 / p99`, `${p50} / ${p99} s`);
    }
    const shown = (await up('silent')) + (await up('refusing'));
    say('of those that live, shown', `${shown} of ${2 * LIVING}`);
  });
}

/** Runs every measurement, one after the other. */
export async function checks(): Promise<void> {
  const targets = fork(TARGETS, [], { execArgv: ['--import', 'tsx'] });
  try {
    const [ports] = (await once(targets, 'message')) as [Record<Kind, number>];
    await costOf('tcp', ports.tcp, 1_000);
    await costOf('http', ports.http, 1_000);
    await costOf('grpc', ports.grpc, 500);
    await costOf('https', ports.https, 200);
    await besideProbes(ports.http);
    await detection(targets, ports);
  } finally {
    targets.kill();
  }
}
