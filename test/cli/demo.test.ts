import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { CommandLine } from '../support/cli.js';
import { freePorts } from '../support/etcd.js';
import { eventually } from '../support/server.js';

const DEMO = new URL('../../demo/main.ts', import.meta.url).pathname;
/** Three members of etcd and three servers start on two cores. */
const START_MAX_MS = 60_000;

/** A demo that runs, and what it has printed. */
interface Demo {
  readonly process: ChildProcess;
  readonly lines: string[];
  /** The variables that it says reach its servers. */
  readonly variables: NodeJS.ProcessEnv;
}

async function startDemo(t: TestContext, ...args: readonly string[]): Promise<Demo> {
  const [port] = await freePorts(1);
  const child = spawn(process.execPath, ['--import', 'tsx', DEMO, '--grpc-port', String(port), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGTERM'));
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  await eventually(() => lines.some((line) => line.includes('have come')), START_MAX_MS);
  const exports = lines.flatMap((line) => [.../^ {2}export (\w+)=(.*)$/g[Symbol.matchAll](line)]);
  return { process: child, lines, variables: Object.fromEntries(exports.map(([, name, value]) => [name!, value!])) };
}

/** Runs a command as the demo says, and returns what it prints. */
async function ask(t: TestContext, { variables }: Demo, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await new CommandLine(t, variables['ROLLCALL_CLI_SERVER']!, variables).run(args);
  assert.equal(code, 0, stderr);
  return stdout;
}

test('the demo shows instances that come, die and drain, and a config that changes; nothing of it is left', async (t) => {
  const demo = await startDemo(t, '--tls');
  const { variables } = demo;
  assert.ok(existsSync(variables['ROLLCALL_CLI_CA']!));
  assert.match(await ask(t, demo, 'instances', 'users'), /users-8.*HEALTHY/);
  assert.match(await ask(t, demo, 'config', 'get', 'limits.yaml'), /requests_per_second/);
  await eventually(() => demo.lines.some((line) => / dies: /.test(line)), 30_000);
  await eventually(async () => /UNHEALTHY/.test(await ask(t, demo, 'instances', 'pay')), 10_000);
  demo.process.kill('SIGINT');
  assert.deepEqual(await once(demo.process, 'exit'), [0, null]);
  assert.ok(!existsSync(variables['ROLLCALL_CLI_CA']!));
});

test('the servers of the cluster demo are killed, stopped and started by name, and the others go on', async (t) => {
  const demo = await startDemo(t, '--cluster');
  const say = async (command: string, answer: RegExp): Promise<void> => {
    const after = demo.lines.length;
    demo.process.stdin!.write(`${command}\n`);
    await eventually(() => demo.lines.slice(after).some((line) => answer.test(line)), START_MAX_MS);
  };
  await say('kill server2', /server2 is down/);
  await say('stop etcd3', /etcd3 is down/);
  await say('list', /server2 is down, server3 runs/);
  assert.match(await ask(t, demo, 'instances', 'users'), /users-8/);
  await say('start etcd3', /etcd3 runs/);
  await say('stop server3', /server3 is down/);
  await say('start server3', /server3 runs/);
  await say('kill nothing', /no program is named "nothing"/);
  await say('explode server1', /ends a program at once/);
  await say('quit', /ending/);
  assert.deepEqual(await once(demo.process, 'exit'), [0, null]);
});
