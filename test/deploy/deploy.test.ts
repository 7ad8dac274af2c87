import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { eventually, temporaryFolder } from '../support/server.js';
import { DEPLOY, packageFile, python, ROOT, run, toolsFolder } from './tools.js';

const SETTINGS_SCHEMA = join(ROOT, 'docs/reference/settings.schema.json');

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
  const read = (file: string): { properties: Record<string, object> } =>
    JSON.parse(readFileSync(file, 'utf8')) as { properties: Record<string, object> };
  const { properties } = read(join(DEPLOY, 'helm/rollcall/values.schema.json'));
  assert.deepEqual(
    properties['settings'],
    { type: 'object', propertyNames: { enum: Object.keys(read(SETTINGS_SCHEMA).properties).sort() } },
    'the chart refuses names that are none',
  );
});

test('the unit of systemd is whole and keeps the process in', () => {
  const unit = join(DEPLOY, 'systemd/rollcall.service');
  const verified = spawnSync('systemd-analyze', ['verify', unit], { encoding: 'utf8' });
  assert.deepEqual([verified.status, verified.stdout, verified.stderr], [0, '', '']);
  const text = run('systemd-analyze', ['security', '--offline=true', '--no-pager', unit]);
  const exposure = Number(/Overall exposure level for rollcall.service: ([\d.]+)/.exec(text)![1]);
  assert.ok(exposure <= 3, `${exposure}`);
});
