import type { TestContext } from 'node:test';
import { Health } from '../../src/gen/rollcall/v1/instance.js';
import { deregister } from './client.js';
import { type EtcdCluster, freePorts, startEtcd } from './etcd.js';
import {
  type Detection,
  detected,
  falselyAccused,
  Fleet,
  type FleetClient,
  type FleetOptions,
  Observer,
} from './fleet.js';
import { type History } from './history.js';
import { Proxy } from './proxy.js';
import { makeSecurity, type Security } from './security.js';
import { eventually, onEtcd, type ServerProcess, startWith } from './server.js';

export { pause } from './server.js';

/** True: clusters have mutual TLS between servers and towards etcd, and clients have tokens. */
const SECURE = process.env['ROLLCALL_TEST_SECURE'] !== undefined;

/** True: the long form of every test. */
export const LONG = process.env['ROLLCALL_TEST_LONG'] !== undefined;

/** How long the key of a member that died stands. */
export const LEASE_MS = 10_000;
/** How long verdicts wait after a member has left without a word, or has joined. */
export const GRACE_MS = 30_000;
/** What every instance of these tests has, unless a test says otherwise. */
export const TTL_MS = 4_000;
/** E6: the latest verdict, after the last heartbeat, when a replica crashed; and what a busy machine is granted. */
export const E6_MS = LEASE_MS + GRACE_MS + TTL_MS + 1_000;
/** What a busy machine is granted on top of a bound. */
export const SLACK_MS = 1_500;
/**
 * The latest verdict, after the last heartbeat, while every replica runs. In the short form other files run beside a test,
 * and a slow machine is granted what it is elsewhere.
 */
export const FOUND_MS = TTL_MS + 2_000 + (LONG ? 0 : SLACK_MS);

/** Services that no client beats for: enough of them that every member judges some. */
const PROBES = 40;

/** How a cluster is started. */
export interface ClusterOptions {
  readonly fleet: Partial<FleetOptions>;
  /** True: the servers reach etcd, and one another, through proxies. */
  readonly proxied?: boolean;
  /** The program, and its arguments, by way of which the server at a position is started. */
  readonly command?: (at: number) => readonly string[];
}

/** The proxies in front of one server. */
export interface Ways {
  /** From this server to each member of etcd. */
  readonly etcd: readonly Proxy[];
  /** From the other servers to this one. */
  readonly peers: Proxy;
}

/** Three members of etcd, three servers on it as processes of their own, a fleet of clients and one observer. */
export class TestCluster {
  readonly servers: ServerProcess[] = [];
  readonly ways: Ways[] = [];
  fleet!: Fleet;
  observer!: Observer;
  #probes = 0;
  #starts = 0;

  constructor(
    private readonly t: TestContext,
    readonly etcd: EtcdCluster,
    private readonly options: ClusterOptions,
    private readonly security?: Security,
  ) {}

  /**
   * Starts a server at a position, in the place of one that has ended. Each is a node of its own unless named. `main` may
   * be that of another build.
   */
  async startServer(at: number, node = `node-${this.#starts++}`, main?: string): Promise<ServerProcess> {
    const { t, options, etcd } = this;
    const args = ['--node', node];
    let { endpoints } = etcd;
    if (options.proxied) {
      const [port] = await freePorts(1);
      const peers = await Proxy.open(t, port!);
      const toEtcd = await Promise.all(etcd.nodes.map((member) => Proxy.open(t, member.port)));
      this.ways[at] = { etcd: toEtcd, peers };
      const scheme = this.security ? 'https' : 'http';
      endpoints = toEtcd.map((proxy) => `${scheme}://127.0.0.1:${proxy.port}`);
      args.push('--grpc-port', String(port), '--http-port', '0', '--advertise', `127.0.0.1:${peers.port}`);
    }
    args.push(...(this.security?.args ?? []));
    const command = options.command?.(at) ?? [];
    const server = await startWith(t, [...onEtcd(endpoints), ...args], command, main, this.security?.operator);
    this.servers[at] = server;
    return server;
  }

  /** Registers instances that never beat, in services of their own. */
  async probe(ttlMs = TTL_MS): Promise<FleetClient[]> {
    const round = this.#probes++;
    const clients = Array.from({ length: PROBES }, (_, i) => ({
      service: `probe-${round}-${i}`,
      id: 'mute',
      incarnation: 'mute',
      alive: false,
      sentMs: 0,
      endedMs: 0,
    }));
    await Promise.all(clients.map((client) => this.fleet.register(client, ttlMs)));
    return clients;
  }

  /** Waits until verdicts are passed by every member: after a start, or after a fault that postponed them. */
  async verdictsFlow(withinMs = GRACE_MS + 15_000): Promise<void> {
    const until = performance.now() + withinMs;
    const probes = await this.probe(2_000);
    await detected(this.observer, probes, 2_000, until - performance.now());
    await this.forget(probes);
  }

  /** Removes instances that were found. */
  async forget(clients: readonly FleetClient[]): Promise<void> {
    const reachable = this.servers.find(
      ({ process: { exitCode, signalCode } }) => exitCode === null && signalCode === null,
    );
    await Promise.all(clients.map(({ service, id }) => deregister(reachable!, { service, id })));
    await eventually(() => clients.every(({ service, id }) => !this.observer.has(`${service}/${id}`)));
  }

  /** Waits until every dead client of the fleet is UNHEALTHY. */
  detected(clients: readonly FleetClient[], withinMs: number): Promise<Detection> {
    return detected(this.observer, clients, this.fleet.ttlMs, withinMs);
  }

  /** What was said against the living. */
  get accused(): string[] {
    return falselyAccused(this.observer, this.fleet);
  }

  /** What the servers that run now had to say of the cluster and of their catalog, for whoever wonders afterwards. */
  warnings(): string[] {
    type Line = { level: number; time: string; component?: string; msg: string };
    return this.servers.flatMap(({ log }, at) =>
      log
        .filter((line) => line.startsWith('{')) // grpc-js writes lines of its own
        .map((line) => JSON.parse(line) as Line)
        .filter(({ level, component }) => level >= 40 && (component === 'cluster' || component === 'catalog'))
        .map(({ time, msg }) => `server ${at} at ${time}: ${msg}`),
    );
  }

  /** The keys that were written after a revision, but for what members write all the time, and for the dead. */
  async writtenAfter(revision: bigint, history: History): Promise<string[]> {
    await history.reached(await this.etcd.revision());
    const dead = new Set(this.fleet.dead.map(({ service, id }) => `w/i/default/${service}/${id}`));
    return [...history.keys].flatMap(([key, states]) =>
      key.startsWith('w/m/') || dead.has(key) ? [] : states.filter((state) => state.revision > revision).map(() => key),
    );
  }
}

/** Starts all of it; it ends with the test. The fleet beats, and the observer has its first view. */
export async function startCluster(t: TestContext, options: ClusterOptions): Promise<TestCluster> {
  const security = SECURE ? await makeSecurity() : undefined;
  const etcd = await startEtcd(t, { members: 3, ...(security && { tls: security.etcd }) });
  const cluster = new TestCluster(t, etcd, options, security);
  for (const at of [0, 1, 2]) await cluster.startServer(at);
  const fleet = new Fleet(cluster.servers, {
    services: 100,
    perService: 20,
    ttlMs: TTL_MS,
    choice: 'sticky',
    ...(security && { creds: security.service }),
    ...options.fleet,
  });
  cluster.fleet = fleet;
  t.after(() => fleet.close());
  t.after(() => cluster.warnings().forEach((line) => t.diagnostic(line)));
  const observer = new Observer(cluster.servers);
  cluster.observer = observer;
  t.after(() => observer.close());
  await observer.ready();
  await fleet.start();
  await eventually(() => observer.count(Health.HEALTH_HEALTHY) === fleet.clients.length);
  return cluster;
}

/** What was measured, in one line of the report. */
export function figures({ p50, p99, max, earliest }: Detection): string {
  return `UNHEALTHY after the last heartbeat: p50 ${p50}, p99 ${p99}, max ${max} ms; the earliest ${earliest} ms after its ttl`;
}
