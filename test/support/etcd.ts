import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { noop } from 'cockatiel';
import { Etcd3 } from 'etcd3';
import { eventually, temporaryFolder } from './server.js';

const SCRIPT = new URL('../../scripts/etcd.js', import.meta.url).pathname;
let binary: string | undefined;

/** The etcd to test with, fetched if need be. */
function etcdBinary(): string {
  binary ??= execFileSync(process.execPath, [SCRIPT], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  return binary;
}

/** Ports that were free a moment ago: etcd must be told its own before it starts. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** One member of a cluster: a process that can be killed, paused and started again on its data. */
export class EtcdNode {
  #process: ChildProcess | undefined;

  constructor(
    readonly name: string,
    readonly port: number,
    private readonly args: readonly string[],
    readonly dataDir: string,
    private readonly scheme: string,
  ) {}

  get url(): string {
    return `${this.scheme}://127.0.0.1:${this.port}`;
  }

  start(): void {
    this.#process = spawn(etcdBinary(), ['--name', this.name, '--data-dir', this.dataDir, ...this.args], {
      stdio: 'ignore',
      env: { ...process.env, ETCD_UNSUPPORTED_ARCH: process.arch },
    });
  }

  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    if (signal === 'SIGKILL') child.kill('SIGCONT');
    await gone;
  }

  pause(): void {
    this.#process?.kill('SIGSTOP');
  }

  resume(): void {
    this.#process?.kill('SIGCONT');
  }
}

/** A cluster of etcd on loopback, and a client of the library's own for whatever a test wants to do or see. */
export class EtcdCluster {
  readonly admin: Etcd3;

  constructor(readonly nodes: readonly EtcdNode[]) {
    this.admin = new Etcd3({ hosts: nodes.map(({ url }) => url), faultHandling: { host: () => noop, global: noop } });
  }

  get endpoints(): string[] {
    return this.nodes.map(({ url }) => url);
  }

  /** The newest revision. */
  async revision(): Promise<bigint> {
    const { header } = await this.admin.kv.range({ key: Buffer.from('x'), count_only: true });
    return BigInt(header.revision);
  }

  /** Forgets the history up to now. */
  async compact(): Promise<void> {
    await this.admin.kv.compact({ revision: String(await this.revision()), physical: true });
  }

  /** The member that leads. */
  async leader(): Promise<EtcdNode> {
    return eventually(async () => {
      for (const node of this.nodes) {
        const status = await statusOf(node);
        if (status && status.leader !== '0' && status.leader === status.header.member_id) return node;
      }
      return undefined;
    });
  }

  /** Waits until every member answers and agrees on a leader. */
  async healthy(): Promise<void> {
    await eventually(async () => {
      const all = await Promise.all(this.nodes.map((node) => statusOf(node)));
      return all.every((status) => status && status.leader !== '0');
    }, 30_000);
  }

  async close(): Promise<void> {
    this.admin.close();
    await Promise.all(this.nodes.map((node) => node.end()));
  }
}

async function statusOf({ url }: EtcdNode) {
  const client = new Etcd3({ hosts: url, faultHandling: { host: () => noop, global: noop } });
  try {
    return await client.maintenance.status({ deadline: Date.now() + 500 });
  } catch {
    return undefined;
  } finally {
    client.close();
  }
}

/** What a cluster is started with. */
export interface EtcdOptions {
  readonly members?: number;
  readonly args?: readonly string[];
}

/** Starts a cluster, which ends with the test. */
export async function startEtcd(t: TestContext, options: EtcdOptions = {}): Promise<EtcdCluster> {
  const cluster = await openEtcd(options);
  t.after(() => cluster.close());
  return cluster;
}

/** Starts a cluster, which whoever asked for it must close. */
export async function openEtcd({ members = 1, args = [] }: EtcdOptions = {}): Promise<EtcdCluster> {
  const ports = await freePorts(2 * members);
  const peer = (i: number): string => `http://127.0.0.1:${ports[2 * i + 1]}`;
  const initial = Array.from({ length: members }, (_, i) => `n${i}=${peer(i)}`).join(',');
  const folder = temporaryFolder();
  const nodes = Array.from({ length: members }, (_, i) => {
    const client = `http://127.0.0.1:${ports[2 * i]}`;
    const own = [
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', peer(i), '--initial-advertise-peer-urls', peer(i)],
      ...['--initial-cluster', initial, '--initial-cluster-token', folder],
      '--unsafe-no-fsync', // the process may die here, the machine does not
    ];
    return new EtcdNode(`n${i}`, ports[2 * i]!, [...own, ...args], join(folder, `n${i}`), 'http');
  });
  for (const node of nodes) node.start();
  const cluster = new EtcdCluster(nodes);
  await cluster.healthy();
  return cluster;
}
