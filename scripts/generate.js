// Makes src/gen from proto/ and from the third-party protos that npm packages ship, without network:
// TypeScript for our own protos and google.rpc's error details, and one descriptor image of everything
// the server speaks, which reflection serves byte for byte.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const buf = join(root, 'node_modules/.bin/buf');
const require = createRequire(import.meta.url);
const packageFolder = (name) => dirname(require.resolve(`${name}/package.json`));

/** Third-party protos: where they are in an npm package, and the path they import each other by. */
const thirdParty = [
  [join(packageFolder('grpc-health-check'), 'proto/health/v1/health.proto'), 'grpc/health/v1/health.proto'],
  [
    join(packageFolder('@grpc/reflection'), 'build/proto/grpc/reflection/v1/reflection.proto'),
    'grpc/reflection/v1/reflection.proto',
  ],
  [
    join(packageFolder('@grpc/reflection'), 'build/proto/grpc/reflection/v1alpha/reflection.proto'),
    'grpc/reflection/v1alpha/reflection.proto',
  ],
  [join(packageFolder('google-proto-files'), 'google/rpc/status.proto'), 'google/rpc/status.proto'],
  [join(packageFolder('google-proto-files'), 'google/rpc/error_details.proto'), 'google/rpc/error_details.proto'],
];

/**
 * Unknown fields are kept, for records that newer programs wrote. The plugin gives each message an object for them, which
 * with 100,000 instances are half a million objects for nothing: they are made only when there is something to keep.
 */
function leanUnknownFields(name) {
  const file = join(root, 'src/gen', name);
  if (!name.endsWith('.ts')) return;
  const text = readFileSync(file, 'utf8');
  const lean = text
    .replaceAll(/,?\s*_unknownFields: \{\},?(?=\s*\})/g, '')
    .replaceAll('const list = message._unknownFields![tag];', 'const list = (message._unknownFields ??= {})[tag];');
  if (/_unknownFields: \{\}/.test(lean)) throw new Error(`${name} makes objects for unknown fields`);
  writeFileSync(file, lean);
}

const work = mkdtempSync(join(tmpdir(), 'rollcall-generate-'));
try {
  const all = join(work, 'all');
  const rpc = join(work, 'rpc');
  for (const [from, to] of thirdParty) {
    for (const folder of to.startsWith('google/') ? [all, rpc] : [all]) {
      mkdirSync(dirname(join(folder, to)), { recursive: true });
      cpSync(from, join(folder, to));
    }
  }
  cpSync(join(root, 'proto'), all, { recursive: true });
  for (const folder of [all, rpc]) writeFileSync(join(folder, 'buf.yaml'), 'version: v2\n');

  rmSync(join(root, 'src/gen'), { recursive: true, force: true });
  const run = (...args) => execFileSync(buf, args, { cwd: root, stdio: 'inherit' });
  run('generate', 'proto');
  run('generate', rpc);
  run('build', all, '--as-file-descriptor-set', '-o', 'src/gen/image.binpb');
  readdirSync(join(root, 'src/gen'), { recursive: true }).forEach(leanUnknownFields);
  // The protos for `rollcall proto export`: the public ones, and what their errors need.
  const protos = join(root, 'src/gen/protos');
  cpSync(join(root, 'proto/rollcall/v1'), join(protos, 'rollcall/v1'), { recursive: true });
  cpSync(join(rpc, 'google'), join(protos, 'google'), { recursive: true });
} finally {
  rmSync(work, { recursive: true, force: true });
}
