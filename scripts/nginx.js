// Finds an nginx to test with, and prints where it is: `node scripts/nginx.js`.
//
// The one that ROLLCALL_TEST_NGINX names, the one on PATH, or Debian's package, which is unpacked into the cache folder of
// the project (no root needed).
import { join } from 'node:path';
import { filled, printProgram, unpackDebian } from './cached.js';

printProgram({ name: 'nginx', variable: 'ROLLCALL_TEST_NGINX', flag: '-v' }, () => {
  const folder = filled('nginx-debian', (work) => unpackDebian(work, 'nginx'));
  return join(folder, 'usr/sbin/nginx');
});
