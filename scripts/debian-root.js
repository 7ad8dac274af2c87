// Debian 12 as node:20-bookworm-slim has it, for the test of the image: puts its root folder into the cache folder of the project, by
// debootstrap, and prints where it is. Needs root, and Debian's package debootstrap.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { filled, quiet } from './cached.js';

/** The package of a library that Node needs, and that not every Debian has. */
const PACKAGES = 'libstdc++6';

console.log(
  filled('debian-root-1', (work) => {
    execFileSync('debootstrap', ['--variant=minbase', `--include=${PACKAGES}`, 'bookworm', work], quiet);
    for (const rest of ['var/cache/apt/archives', 'var/lib/apt/lists']) rmSync(join(work, rest), { recursive: true });
  }),
);
