// Finds promtool, which checks metrics and rules, and prints where it is: `node scripts/promtool.js`.
//
// The one that ROLLCALL_TEST_PROMTOOL names, the one on PATH, or that of Debian's package prometheus, which is unpacked
// into the cache folder of the project (no root needed).
import { join } from 'node:path';
import { filled, printProgram, unpackDebian } from './cached.js';

printProgram({ name: 'promtool', variable: 'ROLLCALL_TEST_PROMTOOL', flag: '--version' }, () => {
  const folder = filled('prometheus-debian', (work) => unpackDebian(work, 'prometheus'));
  return join(folder, 'usr/bin/promtool');
});
