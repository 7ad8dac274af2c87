// Builds dist/ from src/ and proto/: `npm run build`. If dist/ was made from the same sources, nothing is done. dist/ is replaced in one step, as
// servers may be running from it.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const path = (...parts) => join(root, ...parts);
/** Everything that decides what is built. */
const SOURCES = [
  ...['src', 'proto', 'tsconfig.json', 'tsconfig.build.json', 'buf.yaml', 'buf.gen.yaml', 'package.json'],
  ...['package-lock.json', 'scripts/build.js', 'scripts/generate.js'],
];
/** The hash of the sources that dist/ was made from. It is in no package. */
const STAMP = 'dist/.built';
const STAGE = '.cache/dist';

const run = (program, ...args) => execFileSync(program, args, { cwd: root, stdio: 'inherit' });

function filesIn(name) {
  if (!statSync(path(name)).isDirectory()) return [name];
  return readdirSync(path(name))
    .map((one) => `${name}/${one}`)
    .filter((one) => one !== 'src/gen')
    .sort()
    .flatMap(filesIn);
}

function hashOfSources() {
  const hash = createHash('sha256').update(process.version);
  for (const file of SOURCES.flatMap(filesIn)) {
    const content = readFileSync(path(file));
    hash.update(`${file} ${content.length}\n`).update(content);
  }
  return hash.digest('hex');
}

const hash = hashOfSources();
const built = existsSync(path(STAMP)) && existsSync(path('src/gen')) ? readFileSync(path(STAMP), 'utf8') : '';
if (built !== hash) {
  run(process.execPath, path('scripts/generate.js'));
  rmSync(path(STAGE), { recursive: true, force: true });
  run(process.execPath, path('node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--outDir', STAGE);
  for (const name of ['image.binpb', 'protos'])
    cpSync(path('src/gen', name), path(STAGE, 'gen', name), { recursive: true });
  chmodSync(path(STAGE, 'main.js'), 0o755);
  writeFileSync(path(STAGE, '.built'), hash);
  rmSync(path('dist'), { recursive: true, force: true });
  renameSync(path(STAGE), path('dist'));
}
