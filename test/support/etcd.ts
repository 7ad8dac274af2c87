import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { cp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { noop } from 'cockatiel';
import { Etcd3 } from 'etcd3';
import type { Certificate } from './certificates.js';
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

/** Below the ports that systems give away by themselves: nobody takes one of these between our look and its use. */
const PORTS = { from: 10_000, to: 32_000 };

/** Ports that were free a moment ago: etcd must be told its own before it starts. */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = [];
  while (servers.length < count) {
    const server = createServer().listen(randomInt(PORTS.from, PORTS.to), '127.0.0.1');
    const listens = await once(server, 'listening').then(
      () => true,
      () => false, // the port is taken
    );
    if (listens) servers.push(server);
  }
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

  /** A copy of the data of a member that has ended. */
  async copyData(): Promise<string> {
    const copy = temporaryFolder();
    await cp(this.dataDir, copy, { recursive: true });
    return copy;
  }

  /** Puts a copy in the place of the data of a member that has ended. */
  async restoreData(copy: string): Promise<void> {
    await rm(this.dataDir, { recursive: true });
    await cp(copy, this.dataDir, { recursive: true });
  }

  /** Stops the process where it is; resolves once every thread of it stands still, which takes some turns of the machine. */
  async pause(): Promise<void> {
    const pid = this.#process!.pid!;
    this.#process!.kill('SIGSTOP');
    await eventually(() =>
      readdirSync(`/proc/${pid}/task`).every((task) =>
        /\) [Tt] /.test(readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8')),
      ),
    );
  }

  resume(): void {
    this.#process?.kill('SIGCONT');
  }
}

/** A cluster of etcd on loopback, and a client of the library's own for whatever a test wants to do or see. */
export class EtcdCluster {
  readonly admin: Etcd3;

  constructor(
    readonly nodes: readonly EtcdNode[],
    private readonly tls: EtcdTls | undefined,
    /** The ports at which the members reach one another. */
    readonly peerPorts: readonly number[],
  ) {
    this.admin = client(
      nodes.map(({ url }) => url),
      tls,
    );
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
        const status = await statusOf(node, this.tls);
        if (status && status.leader !== '0' && status.leader === status.header.member_id) return node;
      }
      return undefined;
    });
  }

  /** Waits until every member answers and agrees on a leader. */
  async healthy(): Promise<void> {
    await eventually(async () => {
      const all = await Promise.all(this.nodes.map((node) => statusOf(node, this.tls)));
      return all.every((status) => status && status.leader !== '0');
    }, 30_000);
  }

  async close(): Promise<void> {
    this.admin.close();
    await Promise.all(this.nodes.map((node) => node.end()));
  }
}

function client(hosts: string | string[], tls: EtcdTls | undefined): Etcd3 {
  return new Etcd3({
    hosts,
    faultHandling: { host: () => noop, global: noop },
    ...(tls && {
      credentials: {
        rootCertificate: Buffer.from(tls.ca.cert),
        certChain: Buffer.from(tls.own.cert),
        privateKey: Buffer.from(tls.own.key),
      },
    }),
  });
}

async function statusOf({ url }: EtcdNode, tls: EtcdTls | undefined) {
  const one = client(url, tls);
  try {
    return await one.maintenance.status({ deadline: Date.now() + 500 });
  } catch {
    return undefined;
  } finally {
    one.close();
  }
}

/** Certificates of a cluster that takes nobody without one. */
export interface EtcdTls {
  readonly ca: Certificate;
  readonly own: Certificate;
}

/** What a cluster is started with. */
export interface EtcdOptions {
  readonly members?: number;
  readonly args?: readonly string[];
  readonly tls?: EtcdTls;
  /** True: flushes to the disk, as etcd does unless it is told otherwise. */
  readonly durable?: boolean;
}

/** Starts a cluster, which ends with the test. */
export async function startEtcd(t: TestContext, options: EtcdOptions = {}): Promise<EtcdCluster> {
  const cluster = await openEtcd(options);
  t.after(() => cluster.close());
  return cluster;
}

/** Starts a cluster, which whoever asked for it must close. */
export async function openEtcd({
  members = 1,
  args = [],
  tls,
  durable = false,
}: EtcdOptions = {}): Promise<EtcdCluster> {
  const ports = await freePorts(2 * members);
  const peer = (i: number): string => `http://127.0.0.1:${ports[2 * i + 1]}`;
  const initial = Array.from({ length: members }, (_, i) => `n${i}=${peer(i)}`).join(',');
  const folder = temporaryFolder();
  const scheme = tls ? 'https' : 'http';
  const nodes = Array.from({ length: members }, (_, i) => {
    const client = `${scheme}://127.0.0.1:${ports[2 * i]}`;
    const own = [
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', peer(i), '--initial-advertise-peer-urls', peer(i)],
      ...['--initial-cluster', initial, '--initial-cluster-token', folder],
      ...(tls ? ['--cert-file', tls.own.certFile, '--key-file', tls.own.keyFile] : []),
      ...(tls ? ['--client-cert-auth', '--trusted-ca-file', tls.ca.certFile] : []),
      ...(durable ? [] : ['--unsafe-no-fsync']), // the process may die here, the machine does not
    ];
    return new EtcdNode(`n${i}`, ports[2 * i]!, [...own, ...args], join(folder, `n${i}`), scheme);
  });
  for (const node of nodes) node.start();
  const cluster = new EtcdCluster(
    nodes,
    tls,
    ports.filter((_, i) => i % 2 === 1),
  );
  await cluster.healthy();
  return cluster;
}
