import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { eventually, temporaryFolder } from '../support/server.js';
import { DEPLOY, python, ROOT, run, toolsFolder } from './tools.js';

/** The user of the image, whom no machine knows. */
const USER = 65_532;

let packed: string | undefined;

/** The package, as it would be published. It is made once. */
function packageFile(): string {
  if (packed) return packed;
  const folder = temporaryFolder();
  const [{ filename }] = JSON.parse(run('npm', ['pack', '--json', '--silent', '--pack-destination', folder])) as [
    { filename: string },
  ];
  return (packed = join(folder, filename));
}

/** Waits until a server that logs to standard error answers over HTTP, and returns its URL. */
async function answering(t: TestContext, server: ChildProcess): Promise<string> {
  const log: string[] = [];
  server.stderr!.on('data', (text: Buffer) => log.push(text.toString()));
  t.after(() => server.kill('SIGKILL'));
  const exited = once(server, 'exit').then(() => log.join(''));
  const port = await Promise.race([
    eventually(() => /"httpPort":(\d+)/.exec(log.join(''))?.[1], 30_000),
    exited.then((text) => Promise.reject(new Error(`it ended: ${text}`))),
  ]);
  const url = `http://127.0.0.1:${port}`;
  await eventually(async () => (await fetch(`${url}/readyz`)).status === 200);
  return url;
}

async function stopped(server: ChildProcess): Promise<number | null> {
  const exited = once(server, 'exit');
  server.kill('SIGTERM');
  const [code] = (await exited) as [number | null];
  return code;
}

test('the package has what a server needs and nothing else, and runs where it is installed', async (t) => {
  const file = packageFile();
  const names = run('tar', ['-tzf', file]).trim().split('\n');
  const tops = new Set(names.map((name) => name.split('/')[1]!));
  assert.deepEqual([...tops].sort(), [
    ...['CHANGELOG.md', 'LICENSE', 'README.md', 'README.zh.md', 'dist', 'npm-shrinkwrap.json', 'package.json', 'proto'],
  ]);
  for (const name of names) assert.doesNotMatch(name, /\.test\.|\/(test|bench|demo)\//);
  assert.ok(statSync(file).size < 3_000_000, `${statSync(file).size} bytes`);
  assert.ok(!existsSync(join(ROOT, 'npm-shrinkwrap.json')), 'it is in the package alone');
  const folder = temporaryFolder();
  run('npm', ['install', '--no-audit', '--no-fund', '--silent', file], folder);
  const rollcall = join(folder, 'node_modules/.bin/rollcall');
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  assert.equal(run(rollcall, ['version'], folder).trim(), version);
  const server = spawn(rollcall, ['serve', '--grpc-port', '0'], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  const url = await answering(t, server);
  assert.deepEqual(await (await fetch(`${url}/version`)).json(), { version });
  assert.equal(await stopped(server), 0);
  assert.ok(existsSync(join(folder, 'data/data.mdb')));
});

test('an image serves as a user of its own from a root that cannot be written', async (t) => {
  const folder = temporaryFolder();
  chmodSync(folder, 0o755);
  const installed = join(folder, 'opt/rollcall');
  run(join(DEPLOY, 'image/install.sh'), [packageFile(), installed]);
  const found = readdirSync(installed).sort();
  assert.deepEqual(found, [
    ...['CHANGELOG.md', 'LICENSE', 'README.md', 'README.zh.md', 'dist', 'node_modules', 'npm-shrinkwrap.json'],
    ...['package.json', 'proto'],
  ]);
  const modules = readdirSync(join(installed, 'node_modules'));
  for (const tool of ['typescript', 'eslint', 'tsx', 'esbuild']) assert.ok(!modules.includes(tool), tool);
  const all = readdirSync(installed, { recursive: true, encoding: 'utf8' });
  assert.deepEqual(
    all.filter((name) => /\.(map|d\.ts)$/.test(name)),
    [],
  );
  // The machine's own libraries stand for those of the base image. Everything is read-only but /data.
  for (const name of ['usr', 'proc', 'dev', 'data', 'tmp', 'etc']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'etc/hosts'), '127.0.0.1 localhost\n');
  const script = `set -eu
    mount --bind "$1" "$1" && cd "$1"
    for name in bin sbin lib lib64; do [ -e /$name ] && ln -s usr/$name $name; done
    mount --bind /usr usr && mount -o remount,bind,ro usr
    mount --bind /dev dev && mount -t proc proc proc
    mount -t tmpfs -o uid=${USER},gid=${USER},mode=0700 tmpfs data
    mount -o remount,bind,ro .
    exec chroot --userspec=${USER}:${USER} . /usr/bin/env -i ROLLCALL_DATA_DIR=/data "$2" --max-semi-space-size=32 \\
      /opt/rollcall/dist/main.js serve --grpc-port 0`;
  const node = process.execPath;
  if (!node.startsWith('/usr/')) throw new Error(`node lies at ${node}, and the image of this test has /usr alone`);
  const server = spawn('unshare', ['--mount', 'sh', '-c', script, 'sh', folder, node], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  await answering(t, server);
  const status = readFileSync(`/proc/${server.pid}/status`, 'utf8');
  assert.match(status, new RegExp(`^Uid:\\s+${USER}\\s+${USER}\\s`, 'm'));
  assert.equal(await stopped(server), 0);
});

test('the Dockerfile and the compose file are as their checkers want them', () => {
  const tools = toolsFolder();
  assert.equal(run(join(tools, 'bin/hadolint'), [join(DEPLOY, 'image/Dockerfile')]), '');
  const program = `
import json, sys, yaml, jsonschema
schema = json.load(open(sys.argv[1])); document = yaml.safe_load(open(sys.argv[2]))
jsonschema.validate(document, schema)
print(" ".join(sorted(document["services"])))`;
  const schema = join(tools, 'compose/config/compose_spec.json');
  const { output } = python(['-c', program, schema, join(DEPLOY, 'compose/compose.yaml')]);
  assert.equal(output.trim(), 'etcd-1 etcd-2 etcd-3 rollcall-1 rollcall-2 rollcall-3');
});

test('every setting that a file of deploy/ names is one', () => {
  const settings = new Set(
    [...run('node', ['dist/main.js', 'serve', '--help']).matchAll(/^ {2}--([a-z0-9-]+)/gm)].map(([, name]) => name!),
  );
  const named: string[] = [];
  for (const file of readdirSync(DEPLOY, { recursive: true, encoding: 'utf8' })) {
    const path = join(DEPLOY, file);
    if (!statSync(path).isFile()) continue;
    const text = readFileSync(path, 'utf8').replaceAll(/^\s*#.*$/gm, '');
    for (const [, variable] of text.matchAll(/\bROLLCALL_([A-Z0-9_]+)\b/g))
      named.push(variable!.toLowerCase().replaceAll('_', '-'));
  }
  assert.ok(named.length > 0);
  for (const name of named) assert.ok(settings.has(name), name);
});

test('the unit of systemd is whole and keeps the process in', () => {
  const unit = join(DEPLOY, 'systemd/rollcall.service');
  const verified = spawnSync('systemd-analyze', ['verify', unit], { encoding: 'utf8' });
  assert.deepEqual([verified.status, verified.stdout, verified.stderr], [0, '', '']);
  const text = run('systemd-analyze', ['security', '--offline=true', '--no-pager', unit]);
  const exposure = Number(/Overall exposure level for rollcall.service: ([\d.]+)/.exec(text)![1]);
  assert.ok(exposure <= 3, `${exposure}`);
});
