import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { eventually } from './server.js';

const EXAMPLES = new URL('../../examples', import.meta.url).pathname;

/** The languages whose examples are built: `npm run test:examples` sets them. */
export const LANGUAGES = (process.env['ROLLCALL_TEST_EXAMPLES'] ?? '').split(',').filter((name) => name !== '');

/** The command that a README says runs the example. */
function commandOf(language: string): string {
  const readme = readFileSync(join(EXAMPLES, language, 'README.md'), 'utf8');
  const [, command] = /^## Run\n[^]*?```sh\n(.*)\n```/m.exec(readme) ?? [];
  if (command === undefined) throw new Error(`the README of ${language} has no command below "## Run"`);
  return command;
}

/** A run of an example. */
export class Example {
  /** The lines that it has printed. */
  readonly lines: string[] = [];
  readonly #errors: string[] = [];
  readonly ended: Promise<number | NodeJS.Signals>;

  private constructor(
    readonly language: string,
    readonly process: ChildProcess,
  ) {
    createInterface({ input: process.stdout! }).on('line', (line) => this.lines.push(line));
    createInterface({ input: process.stderr! }).on('line', (line) => this.#errors.push(line));
    this.ended = once(process, 'close').then(([code, signal]: (number | NodeJS.Signals | null)[]) => (code ?? signal)!);
  }

  /** Starts the example of a language. It ends with the test. */
  static start(t: TestContext, language: string, env: NodeJS.ProcessEnv): Example {
    const child = spawn('bash', ['-c', `exec ${commandOf(language)}`], {
      cwd: join(EXAMPLES, language),
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    const example = new Example(language, child);
    t.after(() => child.kill('SIGKILL'));
    return example;
  }

  /** Everything that it printed, for a person. */
  get said(): string[] {
    const { language } = this;
    return [...this.lines.map((line) => `${language}: ${line}`), ...this.#errors.map((line) => `${language}! ${line}`)];
  }

  /** Waits until the example has printed a line after the first `after` ones. */
  async prints(wanted: string, withinMs: number, after = 0): Promise<void> {
    try {
      await eventually(() => this.lines.includes(wanted, after), withinMs);
    } catch {
      const last = this.lines.slice(-4).join(' | ');
      throw new Error(`${this.language} did not print "${wanted}" within ${withinMs} ms; its last lines: ${last}`);
    }
  }

  /** Waits for the end of the process, and returns its exit code. */
  async exit(withinMs: number): Promise<number | NodeJS.Signals> {
    const late = new Promise<never>((_, reject) =>
      setTimeout(() => reject(new Error(`${this.language} did not end within ${withinMs} ms`)), withinMs).unref(),
    );
    return Promise.race([this.ended, late]);
  }
}
