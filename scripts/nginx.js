// Finds an nginx to test with, and prints where it is: `node scripts/nginx.js`.
//
// The one that ROLLCALL_TEST_NGINX names, the one on PATH, or Debian's package, which is unpacked into the cache folder of
// the project (no root needed).
import { join } from 'node:path';
import { filled, runs, unpackDebian } from './cached.js';

function find() {
  const named = process.env.ROLLCALL_TEST_NGINX;
  if (named) return named;
  if (runs('nginx', '-v')) return 'nginx';
  const folder = filled('nginx-debian', (work) => unpackDebian(work, 'nginx'));
  const program = join(folder, 'usr/sbin/nginx');
  if (!runs(program, '-v')) throw new Error(`${program} does not run`);
  return program;
}

try {
  console.log(find());
} catch (error) {
  console.error(`nginx is needed; name it in ROLLCALL_TEST_NGINX (${String(error.stderr || error.message).trim()})`);
  process.exit(1);
}
