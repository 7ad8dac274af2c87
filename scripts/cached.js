// Keeps tools that tests need, such as etcd, in the cache folder of the project, so that they need no installation.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const cache = fileURLToPath(new URL('../.cache', import.meta.url));

export const quiet = { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' };

/** Returns true if a program can be started. */
export function runs(program, ...args) {
  try {
    execFileSync(program, args, quiet);
    return true;
  } catch {
    return false;
  }
}

/**
 * Prints where a program is: the one that `variable` names, the one on PATH, or the one that `fetch` puts into the cache. It
 * is one that can be started with `flag`. Exits with 1 if there is none.
 */
export function printProgram({ name, variable, flag }, fetch) {
  try {
    console.log(process.env[variable] || (runs(name, flag) ? name : running(fetch(), flag)));
  } catch (error) {
    console.error(`${name} is needed; name it in ${variable} (${String(error.stderr || error.message).trim()})`);
    process.exit(1);
  }
}

function running(program, flag) {
  if (!runs(program, flag)) throw new Error(`${program} does not run`);
  return program;
}

/** Fills a folder of the cache as a whole or not at all: another process may be looking. */
export function filled(name, fill) {
  const folder = join(cache, name);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, `${name}-`));
  try {
    fill(work);
    renameSync(work, folder);
  } catch (error) {
    rmSync(work, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

/** A package of Debian's, with package lists of our own: those of the machine may be empty, and belong to root. */
export function unpackDebian(work, name) {
  mkdirSync(join(work, 'lists/partial'), { recursive: true });
  mkdirSync(join(work, 'archives/partial'), { recursive: true });
  const options = ['-o', `Dir::State::Lists=${work}/lists`, '-o', `Dir::Cache=${work}`, '-o', 'Debug::NoLocking=1'];
  execFileSync('apt-get', [...options, 'update'], { ...quiet, cwd: work });
  execFileSync('apt-get', [...options, 'download', name], { ...quiet, cwd: work });
  const debian = readdirSync(work).find((file) => file.endsWith('.deb'));
  execFileSync('dpkg', ['-x', debian, '.'], { ...quiet, cwd: work });
  for (const rest of ['lists', 'archives', debian]) rmSync(join(work, rest), { recursive: true, force: true });
}
