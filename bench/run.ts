// Measures the built program: `npm run bench [-- SCENARIO...]`. See README.md.
import { execFileSync } from 'node:child_process';
import { noop } from 'cockatiel';
import { Etcd3 } from 'etcd3';
import { type EtcdCluster, openEtcd } from '../test/support/etcd.js';
import { BenchClient, type Call } from './client.js';
import { beats, discover, instance, listInstances, publish, register, registers, why } from './requests.js';
import { BenchServer, mainOf, THIS_CHECKOUT, withFolder } from './server.js';
import { quantile } from './statistics.js';

const IN_FLIGHT = 200;
/** Runs of a command of the command line. */
const COMMAND_RUNS = 20;
/** Calls of one kind of question: enough for the steps of 10 ms in which the kernel counts CPU. */
const LOOKUPS = 500;
/** A third of the default TTL. */
const BEAT_EVERY_SECONDS = 5;

function* times(count: number, call: Call): Generator<Call> {
  for (let i = 0; i < count; i++) yield call;
}

/** The durations of calls, one after the other, in ms. */
async function latencies(client: BenchClient, call: Call, count: number): Promise<number[]> {
  const tookMs: number[] = [];
  while (tookMs.length < count) {
    const began = performance.now();
    await client.call(call);
    tookMs.push(performance.now() - began);
  }
  return tookMs;
}

const say = (what: string, value: string, note = ''): void => {
  console.log([what.padEnd(52), value.padStart(12), note].join('  '));
};
const perSecond = (count: number, seconds: number): string => `${Math.round(count / seconds).toLocaleString('en')}/s`;

/** Makes calls to a server and prints the rate and the server's CPU time per call. */
async function measure(
  server: BenchServer,
  client: BenchClient,
  what: string,
  calls: Call[],
  worth = 1,
): Promise<void> {
  const cpu = server.cpuSeconds();
  const seconds = await client.run(calls.values(), IN_FLIGHT);
  const micros = ((server.cpuSeconds() - cpu) / calls.length) * 1e6;
  say(what, perSecond(calls.length * worth, seconds), `${micros.toFixed(0)} us of CPU per call`);
}

/** Makes calls at a steady rate, independent of the answers; returns the duration in seconds. */
async function atPace(calls: readonly Call[], perSecond: number, client: BenchClient): Promise<number> {
  const began = performance.now();
  const answers: Promise<unknown>[] = [];
  for (const call of calls) {
    const dueMs = (answers.length / perSecond) * 1_000;
    const earlyMs = began + dueMs - performance.now();
    if (earlyMs > 0) await new Promise((resolve) => setTimeout(resolve, earlyMs));
    answers.push(client.call(call));
  }
  await Promise.all(answers);
  return (performance.now() - began) / 1_000;
}

const onEtcd = ({ endpoints }: EtcdCluster): string[] => ['--store', 'etcd', '--etcd-endpoints', endpoints.join(',')];

async function withServer(
  args: string[],
  use: (server: BenchServer, client: BenchClient) => Promise<void>,
): Promise<void> {
  const server = await BenchServer.start(...args);
  const client = new BenchClient(server.address);
  try {
    await use(server, client);
  } finally {
    client.close();
    await server.stop();
  }
}

/** Measures etcd alone, from this process: each transaction compares and creates one key, with the same number in flight. */
async function plainEtcd(cluster: EtcdCluster, count: number): Promise<void> {
  const etcd = new Etcd3({ hosts: cluster.endpoints, faultHandling: { host: () => noop, global: noop } });
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) {
      const key = Buffer.from(`plain/${next++}`);
      const value = instance(next);
      await etcd.kv.txn({
        compare: [{ key, target: 'Create', result: 'Equal', create_revision: '0' }],
        success: [{ request_put: { key, value } }],
      });
    }
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  say('plain etcd, one transaction for each register', perSecond(count, (performance.now() - began) / 1_000));
  etcd.close();
}

/** Sends heartbeats at a steady rate until something is over, and prints how long their answers took. */
async function heartbeatsWhile(client: BenchClient, what: string, run: () => Promise<void>): Promise<void> {
  const latencies: number[] = [];
  const answers: Promise<unknown>[] = [];
  let isOver = false;
  const began = performance.now();
  const done = run().then(() => (isOver = true));
  for (let i = 0; !isOver; i++) {
    const sent = performance.now();
    answers.push(client.call(beats(i % 1_000, 1)).then(() => latencies.push(performance.now() - sent)));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await Promise.all([...answers, done]);
  const seconds = (performance.now() - began) / 1_000;
  const at = (share: number): string => `${quantile(latencies, share).toFixed(1)} ms`;
  say(`Heartbeat p99, during ${what}`, at(0.99), `p50 ${at(0.5)}, max ${at(1)}; ${seconds.toFixed(1)} s`);
}

const scenarios: Record<string, () => Promise<void>> = {
  async register() {
    const count = 20_000;
    await withFolder((folder) =>
      withServer(['--data-dir', folder], async (server, client) => {
        await client.run(registers(1_000_000, 2_000), IN_FLIGHT);
        await measure(server, client, 'Register, embedded store', [...registers(0, count)]);
      }),
    );
    const cluster = await openEtcd({ durable: true });
    try {
      await plainEtcd(cluster, 2_000);
      await plainEtcd(cluster, count / 2);
      await withServer(onEtcd(cluster), async (server, client) => {
        await client.run(registers(1_000_000, 2_000), IN_FLIGHT);
        await measure(server, client, 'Register, etcd', [...registers(0, count)]);
      });
    } finally {
      await cluster.close();
    }
  },

  async heartbeat() {
    await withFolder((folder) =>
      withServer(['--data-dir', folder], async (server, client) => {
        await client.run(registers(0, 10_000), IN_FLIGHT);
        const single = Array.from({ length: 60_000 }, (_, i) => beats(i % 10_000, 1));
        await client.run(single.slice(0, 10_000).values(), IN_FLIGHT);
        await measure(server, client, 'Heartbeat, one item a message', single);
        const many = Array.from({ length: 3_000 }, (_, i) => beats((i * 500) % 9_500, 500));
        await client.run(many.slice(0, 300).values(), IN_FLIGHT);
        await measure(server, client, 'Heartbeat, 500 items a message', many, 500);
      }),
    );
  },

  async discover() {
    await withFolder((folder) =>
      withServer(['--data-dir', folder], async (server, client) => {
        await client.run(registers(0, 1_000), IN_FLIGHT);
        for (let i = 0; i < 10; i++) await client.call(register(i, { service: 'ten' }));
        for (const [service, what] of [
          ['ten', '10'],
          ['service-0', '100'],
        ] as const) {
          const call = discover(service);
          await client.run(times(5_000, call), IN_FLIGHT);
          await measure(server, client, `Discover of ${what} instances`, [...times(30_000, call)]);
        }
      }),
    );
  },

  /** Heartbeats while large configs are published: what one thread for everything would delay. */
  async publishes() {
    const bodies: readonly (readonly [string, Call[]])[] = [
      ['1 x 520 kB of YAML', Array.from({ length: 8 }, (_, i) => publish(`large-${i}`, 1, 520_000))],
      ['16 x 31 KiB of YAML', Array.from({ length: 8 }, (_, i) => publish(`small-${i}`, 16, 31 * 1_024))],
    ];
    await withFolder((folder) =>
      withServer(['--data-dir', folder], async (server, client) => {
        await client.run(registers(0, 1_000), IN_FLIGHT);
        await heartbeatsWhile(client, 'nothing else', () => new Promise((resolve) => setTimeout(resolve, 5_000)));
        for (const [what, calls] of bodies) {
          const publisher = new BenchClient(server.address, 1);
          const all = async (): Promise<void> => void (await Promise.all(calls.map((call) => publisher.call(call))));
          await heartbeatsWhile(client, `8 publishes of ${what}`, all);
          publisher.close();
        }
      }),
    );
  },

  /** An operator's questions while 100,000 instances are registered, and the ring of transitions is full. */
  async lookup() {
    await withFolder((folder) =>
      withServer(['--data-dir', folder], async (server, client) => {
        await client.run(registers(0, 100_000), IN_FLIGHT);
        for (const [what, call] of [
          ['ListInstances, the first page of 100', listInstances()],
          ['ListInstances, a page that finds nothing', listInstances('absent')],
          ['Why of an instance', why('service-500', 'i50000')],
          ['Why of a name that is not there', why('service-500', 'i5000x')],
        ] as const) {
          await client.run(times(50, call), 1);
          const cpu = server.cpuSeconds();
          const tookMs = await latencies(client, call, LOOKUPS);
          const millis = ((server.cpuSeconds() - cpu) / LOOKUPS) * 1_000;
          say(
            what,
            `${millis.toFixed(2)} ms`,
            `of CPU; takes p50 ${quantile(tookMs, 0.5).toFixed(1)} ms, p99 ${quantile(tookMs, 0.99).toFixed(1)} ms`,
          );
        }
      }),
    );
  },

  async cli() {
    /** The median time of a command, from its start to its end. */
    const time = (what: string, ...args: string[]): void => {
      const took = Array.from({ length: COMMAND_RUNS }, () => {
        const began = performance.now();
        execFileSync(process.execPath, args, { stdio: 'ignore' });
        return performance.now() - began;
      });
      say(what, `${quantile(took, 0.5).toFixed(0)} ms`, `fastest ${Math.min(...took).toFixed(0)} ms`);
    };
    const main = mainOf(THIS_CHECKOUT);
    await withFolder((folder) =>
      withServer(['--data-dir', folder], async ({ address }) => {
        time('node alone', '-e', '0');
        time('rollcall help', main, 'help');
        time('rollcall services, of a local server', main, 'services', '--server', address);
      }),
    );
  },

  async size() {
    const count = 100_000;
    const grow = (args: string[], store: string): Promise<void> =>
      withServer(args, async (server, client) => {
        const empty = server.memoryMb();
        await client.run(registers(0, count), IN_FLIGHT);
        say(
          `memory after 100,000 registers, ${store}`,
          `${server.memoryMb().toFixed(0)} MB`,
          `${empty.toFixed(0)} MB empty`,
        );
      });
    const again = (args: string[], store: string): Promise<void> =>
      withServer(args, async (server, client) => {
        say(`start with 100,000 instances, ${store}`, `${server.startSeconds.toFixed(1)} s`);
        say(`memory after that start, ${store}`, `${server.memoryMb().toFixed(0)} MB`);
        const calls = Array.from({ length: count / 100 }, (_, i) => beats(100 * i, 100));
        await client.run(calls.values(), IN_FLIGHT);
        const cpu = server.cpuSeconds();
        const seconds = await atPace([...calls, ...calls], calls.length / BEAT_EVERY_SECONDS, client);
        const percent = ((server.cpuSeconds() - cpu) / seconds) * 100;
        say(`each beats every 5 s, 100 items a message, ${store}`, `${percent.toFixed(1)} %`, 'of one core');
      });
    await withFolder(async (folder) => {
      await grow(['--data-dir', folder], 'embedded store');
      await again(['--data-dir', folder], 'embedded store');
    });
    const cluster = await openEtcd();
    try {
      await grow(onEtcd(cluster), 'etcd');
      await again(onEtcd(cluster), 'etcd');
    } finally {
      await cluster.close();
    }
  },
};

const chosen = process.argv.slice(2);
const unknown = chosen.filter((name) => !scenarios[name]);
if (unknown.length > 0) {
  console.error(`unknown: ${unknown.join(', ')}; there are ${Object.keys(scenarios).join(', ')}`);
  process.exit(2);
}
for (const [name, run] of Object.entries(scenarios)) if (chosen.length === 0 || chosen.includes(name)) await run();
