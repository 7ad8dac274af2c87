import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../support/server.js';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const DEPLOY = join(ROOT, 'deploy');

/** Runs a program that must succeed, and returns what it prints. */
export const run = (program: string, args: readonly string[], cwd = ROOT): string =>
  execFileSync(program, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

let packed: string | undefined;

/** The package, as it would be published. Each process makes it once. */
export function packageFile(): string {
  if (packed) return packed;
  const target = temporaryFolder();
  const [{ filename }] = JSON.parse(run('npm', ['pack', '--json', '--silent', '--pack-destination', target])) as [
    { filename: string },
  ];
  return (packed = join(target, filename));
}

let folder: string | undefined;

/** The folder of the checkers of deploy/. */
export const toolsFolder = (): string => (folder ??= run('node', ['scripts/deploy-tools.js']).trim());

/** Runs a program of Python among the checkers. */
export function python(args: readonly string[]): { readonly status: number | null; readonly output: string } {
  const env = { ...process.env, PYTHONPATH: toolsFolder() };
  const { status, stdout, stderr } = spawnSync('python3', args, { env, encoding: 'utf8' });
  return { status, output: stdout + stderr };
}
