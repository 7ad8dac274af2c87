import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startServer, temporaryFolder } from '../support/server.js';

const ROOT = new URL('../..', import.meta.url).pathname;
const PACKAGE = join(ROOT, 'clients', 'node');
/** CommonJS can require modules from this minor version of Node 20 on, and in all later majors. */
const REQUIRES_MODULES = /^v(20\.(19|[2-9]\d)|2[2-9]|[3-9]\d)\./.test(process.version);

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

const manifestAt = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;

/** Packs the client, and puts it into a project of its own as npm would. Returns the folder of the project. */
function installed(): string {
  const project = temporaryFolder();
  const pack = ['pack', '--silent', '--pack-destination', project];
  const file = execFileSync('npm', pack, { cwd: PACKAGE, encoding: 'utf8' }).trim().split('\n').at(-1)!;
  const target = join(project, 'node_modules', 'rollcall-client');
  mkdirSync(target, { recursive: true });
  execFileSync('tar', ['-xzf', join(project, file), '-C', target, '--strip-components=1']);
  for (const scope of ['@grpc', '@bufbuild'])
    symlinkSync(join(ROOT, 'node_modules', scope), join(project, 'node_modules', scope));
  writeFileSync(join(project, 'package.json'), '{}');
  return project;
}

const run = (project: string, name: string, program: string): string => {
  writeFileSync(join(project, name), program);
  return execFileSync(process.execPath, [name], {
    cwd: project,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
};

test('the packed client works by import and by require, with nothing of the server', async (t) => {
  const { address } = await startServer(t);
  const project = installed();
  const use = `
    const client = new Client({ addresses: ['${address}'] });
    const registration = await client.register({ service: 'pay', id: 'a', address: '10.0.0.1', port: 1 });
    const view = await client.viewServices({ services: ['pay'] }).ready();
    console.log(view.instances().map(({ id, health }) => id + ' ' + Health[health]).join());
    await client.close();
    console.log(String((await new Client({ addresses: ['${address}'] }).discover('pay')).length));
  `;
  const expected = 'a HEALTH_HEALTHY\n0\n';
  const exit = 'process.exit(0);';
  assert.equal(run(project, 'app.mjs', `import { Client, Health } from 'rollcall-client';${use}${exit}`), expected);
  if (!REQUIRES_MODULES) return;
  const required = `const { Client, Health } = require('rollcall-client'); (async () => {${use}${exit}})();`;
  assert.equal(run(project, 'app.cjs', required), expected);
});

test('the package of the client has the version and the libraries of the server', () => {
  const [server, client] = [manifestAt(ROOT), manifestAt(PACKAGE)];
  assert.equal(client.version, server.version);
  for (const [name, version] of Object.entries(client.dependencies)) assert.equal(version, server.dependencies[name]);
});
