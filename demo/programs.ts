// The programs that the demo runs: etcd and servers, each a process of its own.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const ROOT = new URL('..', import.meta.url).pathname;
const MAIN = join(ROOT, 'dist', 'main.js');
/** How long a program may take to stop in order. */
const STOP_MAX_MS = 5_000;

/** A program that can be ended and started again. */
export class Program {
  #process: ChildProcess | undefined;

  constructor(
    readonly name: string,
    private readonly command: string,
    private readonly args: readonly string[],
    /** A line of standard error that says that the program is up; without one, it is up as soon as it runs. */
    private readonly up?: RegExp,
  ) {}

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  /** Starts the program, and waits until it is up. Throws with the last lines of its log if it ends before. */
  async start(): Promise<void> {
    const child = spawn(this.command, this.args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
    this.#process = child;
    child.once('exit', () => (this.#process = this.#process === child ? undefined : this.#process));
    const log: string[] = [];
    await new Promise<void>((resolve, reject) => {
      if (!this.up) resolve();
      createInterface({ input: child.stderr }).on('line', (line) => {
        log.push(line);
        if (log.length > 10) log.shift();
        if (this.up?.test(line)) resolve();
      });
      child.once('error', reject);
      child.once('exit', () => reject(new Error(`${this.name} ended:\n${log.join('\n')}`)));
    });
  }

  /** Ends the program: in order by SIGTERM, or at once by SIGKILL. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#process;
    if (!child) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_MAX_MS);
    await ended;
    clearTimeout(late);
  }
}

/** A server of this checkout. */
export const serverProgram = (name: string, args: readonly string[]): Program =>
  new Program(name, process.execPath, ['--max-semi-space-size=32', MAIN, 'serve', ...args], /"msg":"listening"/);

/** Runs the program of this checkout to its end, and returns what it prints. */
export const rollcall = (...args: readonly string[]): string =>
  execFileSync(process.execPath, [MAIN, ...args], { encoding: 'utf8' });

/** Members of an etcd cluster, on free ports. etcd is the one on PATH, or Debian's package, which is fetched. */
export async function etcdPrograms(folder: string, count: number): Promise<{ programs: Program[]; endpoints: string }> {
  const find = join(ROOT, 'scripts', 'etcd.js');
  const etcd = execFileSync(process.execPath, [find], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  const ports = await freePorts(2 * count);
  const url = (port: number): string => `http://127.0.0.1:${port}`;
  const names = Array.from({ length: count }, (_, at) => `etcd${at + 1}`);
  const cluster = names.map((name, at) => `${name}=${url(ports[count + at]!)}`).join(',');
  const programs = names.map((name, at) => {
    const [client, peer] = [url(ports[at]!), url(ports[count + at]!)];
    const args = [
      ...['--name', name, '--data-dir', join(folder, name), '--initial-cluster', cluster],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
    ];
    return new Program(name, etcd, args);
  });
  return { programs, endpoints: ports.slice(0, count).map(url).join(',') };
}

/** Ports of the loopback that are free now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
