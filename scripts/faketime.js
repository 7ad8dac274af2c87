// Finds the library that moves the wall clock of one process, and prints where it is: `node scripts/faketime.js`.
//
// The one that ROLLCALL_TEST_FAKETIME names, or that of Debian's package libfaketime, which is unpacked into the cache
// folder of the project (no root needed).
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { filled, unpackDebian } from './cached.js';

const NAME = 'libfaketimeMT.so.1';

try {
  const named = process.env.ROLLCALL_TEST_FAKETIME;
  const folder = named ? '' : filled('faketime-debian', (work) => unpackDebian(work, 'libfaketime'));
  const inside = named ?? readdirSync(folder, { recursive: true }).find((file) => file.endsWith(NAME));
  if (!inside) throw new Error(`there is no ${NAME} in the package`);
  console.log(join(folder, inside));
} catch (error) {
  console.error(
    `libfaketime is needed; name it in ROLLCALL_TEST_FAKETIME (${String(error.stderr || error.message).trim()})`,
  );
  process.exit(1);
}
