import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { MAIN, temporaryFolder } from './server.js';

/** What a command printed, and how it ended. */
export interface CommandOutcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that runs. */
export interface RunningCommand {
  readonly process: ChildProcess;
  /** Everything that it has printed so far. */
  readonly printed: { stdout: string; stderr: string };
  readonly ended: Promise<CommandOutcome>;
}

/** A command that runs for longer than this hangs. */
const COMMAND_MAX_MS = 30_000;

/** Runs the built program as a user with contexts of its own. */
export class CommandLine {
  readonly contextsFile = join(temporaryFolder(), 'contexts.json');
  readonly #env: NodeJS.ProcessEnv;

  /** `server` is the address that is called unless a flag says otherwise. */
  constructor(
    private readonly t: TestContext,
    server: string,
    env: NodeJS.ProcessEnv = {},
  ) {
    this.#env = { ...process.env, ROLLCALL_CONTEXTS: this.contextsFile, ROLLCALL_CLI_SERVER: server, ...env };
  }

  /** Starts a command. It ends with the test. */
  start(
    args: readonly string[],
    { input, env = {} }: { input?: string; env?: NodeJS.ProcessEnv } = {},
  ): RunningCommand {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: 'pipe', env: { ...this.#env, ...env } });
    const printed = { stdout: '', stderr: '' };
    child.stdout.on('data', (text: Buffer) => (printed.stdout += text.toString()));
    child.stderr.on('data', (text: Buffer) => (printed.stderr += text.toString()));
    child.stdin.on('error', () => undefined); // a command that reads nothing
    child.stdin.end(input ?? '');
    const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, ...printed }));
    this.t.after(() => child.kill('SIGKILL'));
    return { process: child, printed, ended };
  }

  /** Runs a command to its end. */
  async run(
    args: readonly string[],
    options: { input?: string; env?: NodeJS.ProcessEnv } = {},
  ): Promise<CommandOutcome> {
    const command = this.start(args, options);
    const timer = setTimeout(() => command.process.kill('SIGKILL'), COMMAND_MAX_MS);
    try {
      return await command.ended;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Runs a command that must succeed; returns what it printed. */
  async ok(args: readonly string[], options: { input?: string; env?: NodeJS.ProcessEnv } = {}): Promise<string> {
    const { code, stdout, stderr } = await this.run(args, options);
    if (code !== 0) throw new Error(`rollcall ${args.join(' ')} ended with ${code}: ${stderr}`);
    return stdout;
  }
}
