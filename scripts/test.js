// Runs test files with node's test runner: `node scripts/test.js FOLDER...`. Fails when there is nothing to run.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

const folders = process.argv.slice(2).filter((arg) => !arg.startsWith('--'));
const options = process.argv.slice(2).filter((arg) => arg.startsWith('--'));
const files = folders.flatMap((folder) =>
  folder.endsWith('.test.ts')
    ? [folder]
    : readdirSync(folder, { recursive: true })
        .filter((name) => name.endsWith('.test.ts'))
        .map((name) => join(folder, name))
        .sort(),
);
if (files.length === 0) {
  console.error(`no tests in ${folders.join(', ')}`);
  process.exit(1);
}
const { status } = spawnSync(process.execPath, ['--import', 'tsx', '--test', ...options, ...files], {
  stdio: 'inherit',
});
process.exit(status ?? 1);
