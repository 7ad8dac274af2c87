// Runs the conformance suite of Connect against the edges: `npm run test:conformance`. Needs Go, which builds the suite.
// https://github.com/connectrpc/conformance
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { filled, quiet } from './cached.js';

const MODULE = 'connectrpc.com/conformance';
const VERSION = 'v1.0.7';
const path = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));

const folder = filled(`conformance-${VERSION}`, (work) => {
  const env = { ...process.env, GOBIN: work };
  execFileSync('go', ['install', `${MODULE}/cmd/connectconformance@${VERSION}`], { ...quiet, env });
  // The protos of the suite come with its module.
  const { Dir } = JSON.parse(execFileSync('go', ['mod', 'download', '-json', `${MODULE}@${VERSION}`], quiet));
  execFileSync(path('node_modules/.bin/buf'), ['build', join(Dir, 'proto'), '-o', join(work, 'image.binpb')], quiet);
});

const server = [process.execPath, '--import', 'tsx', path('test/conformance/server.ts'), join(folder, 'image.binpb')];
for (const config of ['http1.yaml', 'http2.yaml']) {
  const args = ['--mode', 'server', '--conf', path(`test/conformance/${config}`), '--', ...server];
  const { status } = spawnSync(join(folder, 'connectconformance'), args, { stdio: 'inherit', cwd: path('.') });
  if (status !== 0) process.exit(status ?? 1);
}
