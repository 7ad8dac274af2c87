import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** The flags of `npm start`. */
const NODE_FLAGS = ['--max-semi-space-size=32'];
/** The checkout that this file belongs to. */
export const THIS_CHECKOUT = new URL('..', import.meta.url).pathname;
const EMPTY_SERVER = new URL('empty-server.js', import.meta.url).pathname;
/** Clock ticks of the kernel per second, the unit of CPU time in /proc. Linux reports 100 on every architecture. */
const TICKS_PER_SECOND = 100;
/** How long a start may take. A start with 100,000 instances takes seconds; a hung one must not hang the benchmark. */
const START_MAX_MS = 120_000;
/** How long a stop may take. The server itself gives up after 15 s. */
const STOP_MAX_MS = 20_000;
/** The log lines that an error about a failed start repeats. */
const LINES_IN_ERROR = 12;

/** The processes that run now. */
const running = new Set<ChildProcess>();
/** The folders that exist now. */
const folders = new Set<string>();
let stopping = false;

const removeFolder = (folder: string): void => {
  // A process that is being killed may still write: retry.
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  folders.delete(folder);
};

process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const folder of folders) removeFolder(folder);
});

/** Ends every server, so that the calls of the benchmark fail and the benchmark cleans up. For signals. */
export function endServers(): void {
  stopping = true;
  for (const child of running) child.kill('SIGTERM');
}

/** Gives a temporary folder to `use` and removes it afterwards. */
export async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'rollcall-bench-'));
  folders.add(folder);
  try {
    return await use(folder);
  } finally {
    removeFolder(folder);
  }
}

/** The built program of a checkout. */
export function mainOf(checkout: string): string {
  return join(checkout, 'dist', 'main.js');
}

/** The environment of a server: settings of the caller must not reach it. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('ROLLCALL_')));
}

/** A server in a process of its own. */
export class BenchServer {
  private constructor(
    private readonly process: ChildProcess,
    readonly address: string,
    /** `undefined` for a build without HTTP. */
    readonly httpPort: number | undefined,
    /** From the start of the process until it listened and was ready. */
    readonly startSeconds: number,
  ) {}

  /** Starts the program of this checkout on a free port. */
  static start(...args: string[]): Promise<BenchServer> {
    return BenchServer.startOf(THIS_CHECKOUT, ...args);
  }

  /** Starts the program of a built checkout on a free port. */
  static startOf(checkout: string, ...args: string[]): Promise<BenchServer> {
    return BenchServer.#spawn(mainOf(checkout), 'serve', '--grpc-port', '0', ...args);
  }

  /** Starts the server of the empty grpc-js handler. */
  static startEmpty(): Promise<BenchServer> {
    return BenchServer.#spawn(EMPTY_SERVER);
  }

  /** Starts a script that logs `"grpcPort":PORT` on standard error once it is ready. */
  static async #spawn(script: string, ...args: string[]): Promise<BenchServer> {
    if (stopping) throw new Error('the benchmark is being stopped');
    const began = performance.now();
    const child = spawn(process.execPath, [...NODE_FLAGS, script, ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: cleanEnvironment(),
    });
    running.add(child);
    child.once('exit', () => running.delete(child));
    const lines: string[] = [];
    let timer: NodeJS.Timeout | undefined;
    let httpPort: string | undefined;
    try {
      const port = await new Promise<string>((resolve, reject) => {
        const fail = (what: string): void =>
          reject(new Error([`${script}: ${what}`, ...lines.slice(-LINES_IN_ERROR)].join('\n  ')));
        createInterface({ input: child.stderr }).on('line', (line) => {
          httpPort ??= /"httpPort":(\d+)/.exec(line)?.[1];
          const found = /"grpcPort":(\d+)/.exec(line);
          if (found) resolve(found[1]!);
          lines.push(line);
          if (lines.length > LINES_IN_ERROR) lines.shift();
        });
        child.once('close', (code) => fail(`the server exited with ${code} before it listened`));
        timer = setTimeout(() => fail(`the server does not listen after ${START_MAX_MS / 1_000} s`), START_MAX_MS);
      });
      const ofHttp = httpPort === undefined ? undefined : Number(httpPort);
      return new BenchServer(child, `127.0.0.1:${port}`, ofHttp, (performance.now() - began) / 1_000);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  get pid(): number {
    return this.process.pid!;
  }

  /** The CPU time that the process has used, user and system, in seconds. */
  cpuSeconds(): number {
    const fields = readFileSync(`/proc/${this.process.pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  /** The resident memory of the process, in MB. */
  memoryMb(): number {
    const [, kb] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.process.pid}/status`, 'utf8'))!;
    return Number(kb) / 1_024;
  }

  /** How the process ended: its exit code or its signal. `undefined` while it runs. */
  get end(): number | NodeJS.Signals | undefined {
    return this.process.exitCode ?? this.process.signalCode ?? undefined;
  }

  /** Ends the process and waits until it is gone. Idempotent. */
  async stop(): Promise<void> {
    if (this.end !== undefined) return;
    const gone = once(this.process, 'exit');
    this.process.kill('SIGTERM');
    const timer = setTimeout(() => this.process.kill('SIGKILL'), STOP_MAX_MS);
    await gone;
    clearTimeout(timer);
  }
}
