import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

/** As `npm start` has it. */
const NODE_FLAGS = ['--max-semi-space-size=32'];
const MAIN = new URL('../dist/main.js', import.meta.url).pathname;
/** Clock ticks of the kernel per second, which /proc counts CPU time in. */
const TICKS_PER_SECOND = 100;

/** The built server in a process of its own. */
export class BenchServer {
  private constructor(
    private readonly process: ChildProcess,
    readonly address: string,
    /** From its start until it listened and was ready. */
    readonly startSeconds: number,
  ) {}

  static async start(...args: string[]): Promise<BenchServer> {
    const began = performance.now();
    const child = spawn(process.execPath, [...NODE_FLAGS, MAIN, 'serve', '--grpc-port', '0', ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const port = await new Promise<string>((resolve, reject) => {
      createInterface({ input: child.stderr }).on('line', (line) => {
        const found = /"grpcPort":(\d+)/.exec(line);
        if (found) resolve(found[1]!);
      });
      child.on('exit', (code) => reject(new Error(`the server exited with ${code}`)));
    });
    return new BenchServer(child, `127.0.0.1:${port}`, (performance.now() - began) / 1_000);
  }

  /** The CPU time it has used, in seconds. */
  cpuSeconds(): number {
    const fields = readFileSync(`/proc/${this.process.pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  /** The memory it holds, in MB. */
  memoryMb(): number {
    const [, kb] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.process.pid}/status`, 'utf8'))!;
    return Number(kb) / 1_024;
  }

  async stop(): Promise<void> {
    const gone = once(this.process, 'exit');
    this.process.kill('SIGTERM');
    await gone;
  }
}
