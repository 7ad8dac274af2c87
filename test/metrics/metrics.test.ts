import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ALL_ALARMS } from '../../src/instruments.js';
import { discover, forgetMember, getStatus, register, watchServices } from '../support/client.js';
import { startEtcd } from '../support/etcd.js';
import {
  detailsOf,
  eventually,
  failure,
  type ServerProcess,
  startServer,
  startServerOn,
  temporaryFolder,
} from '../support/server.js';

const pathOf = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const promtool = execFileSync(process.execPath, [pathOf('scripts/promtool.js')], { encoding: 'utf8' }).trim();
/** Runs promtool, and returns what it printed. Throws if it finds fault. */
const check = (args: readonly string[], options: { input?: string; cwd?: string } = {}): string =>
  execFileSync(promtool, args, { encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'], ...options });

const RULES = pathOf('deploy/prometheus/rules.yaml');
const rules = readFileSync(RULES, 'utf8');

/** Every expression of the dashboard, with a width in place of the one that Grafana fills in. */
const expressions = [
  ...readFileSync(pathOf('deploy/grafana/rollcall.json'), 'utf8').matchAll(/"expr": ("(?:[^"\\]|\\.)*")/g),
]
  .map(([, text]) => JSON.parse(text!) as string)
  .map((text) => text.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*'));

const scrape = async ({ url }: ServerProcess): Promise<string> => (await fetch(`${url}/metrics`)).text();
const namesIn = (text: string): Set<string> => new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name!));
const withoutSuffix = (name: string): string => name.replace(/_(bucket|sum|count)$/, '');

/** A server of a cluster that has done some of everything. */
async function busyServer(t: TestContext): Promise<ServerProcess> {
  const etcd = await startEtcd(t);
  const [server] = await Promise.all([startServerOn(t, etcd.endpoints), startServerOn(t, etcd.endpoints)]);
  await register(server, { instance: { service: 'pay', id: 'a', address: '10.0.0.1', port: 80 } });
  await discover(server, { service: 'pay' });
  await discover(server, { service: '-' }).catch(() => undefined);
  const watch = watchServices(server, { services: ['pay'] });
  t.after(() => watch.close());
  return server;
}

test('a scrape of a busy server passes promtool, has every name that rules and dashboard use, and shows propagation', async (t) => {
  const server = await busyServer(t);
  // A member asks the others every 10 s.
  await eventually(
    async () =>
      / [1-9]/.exec(/rollcall_propagation_seconds_count{place="peer"}.*/.exec(await scrape(server))?.[0] ?? ''),
    30_000,
  );
  const text = await scrape(server);
  assert.equal(check(['check', 'metrics'], { input: text }), '');
  for (const place of ['catalog', 'watch'])
    assert.match(text, new RegExp(`rollcall_propagation_seconds_count{place="${place}"} [1-9]`));
  assert.match(text, /^rollcall_members 2$/m);
  assert.match(text, /^rollcall_member{state="IN"} 1$/m);
  assert.match(text, /^rollcall_watches 1$/m);
  const shown = namesIn(text);
  const used = [...expressions, ...rules.split('\n')]
    .join('\n')
    .match(/\b(rollcall|grpc_server|nodejs|process)_[a-z0-9_]+/g)!;
  for (const name of new Set(used))
    assert.ok(shown.has(name) || shown.has(withoutSuffix(name)), `${name} is not shown`);
});

test('the metrics of a server on the embedded store pass promtool', async (t) => {
  assert.equal(check(['check', 'metrics'], { input: await scrape(await startServer(t)) }), '');
});

test('every alarm has a rule, and the rules fire when they should', () => {
  for (const { name } of ALL_ALARMS) assert.ok(rules.includes(`rollcall_alarm{name="${name}"} == 1`), name);
  assert.match(check(['check', 'rules', RULES]), /SUCCESS/);
  assert.match(check(['test', 'rules', 'rules.test.yaml'], { cwd: pathOf('deploy/prometheus') }), /SUCCESS/);
});

test('the dashboard has only expressions that Prometheus can read', () => {
  assert.ok(expressions.length > 30, `${expressions.length}`);
  const records = expressions.map((expr, i) => `      - record: r:${i}\n        expr: ${JSON.stringify(expr)}\n`);
  const file = join(temporaryFolder(), 'dashboard.yaml');
  writeFileSync(file, `groups:\n  - name: dashboard\n    rules:\n${records.join('')}`);
  assert.match(check(['check', 'rules', file]), new RegExp(`SUCCESS: ${expressions.length} rules found`));
});

test('a server that is killed is shown as lost, by alarm, status and metric, until an operator has it forgotten', async (t) => {
  const etcd = await startEtcd(t);
  const [server, other] = await Promise.all([
    startServerOn(t, etcd.endpoints, '--node', 'a'),
    startServerOn(t, etcd.endpoints, '--node', 'b'),
  ]);
  await other.kill();
  const raised = /^rollcall_alarm{name="MEMBER_LOST"} 1$/m;
  // The lease, 30 s of absence, and two looks.
  await eventually(async () => raised.test(await scrape(server)), 80_000);
  const { alarms, cluster } = await getStatus(server);
  assert.match(alarms.find(({ name }) => name === 'MEMBER_LOST')!.message, /node b at 20/);
  assert.deepEqual(
    cluster!.lostMembers.map(({ node }) => node),
    ['b'],
  );
  assert.equal(detailsOf(await failure(forgetMember(server, { node: 'a' }))).reason, 'NODE_IS_MEMBER');
  assert.deepEqual(detailsOf(await failure(forgetMember(server, {}))).fields, ['node']);
  await forgetMember(server, { node: 'b' });
  assert.doesNotMatch(await scrape(server), raised);
  assert.equal(detailsOf(await failure(forgetMember(server, { node: 'b' }))).reason, 'NODE_NOT_FOUND');
});
