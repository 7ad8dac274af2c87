import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { JsonObject } from '@bufbuild/protobuf';
import { accessFile, callBy, callerWith, waysTo } from '../support/access.js';
import { startEtcd } from '../support/etcd.js';
import { eventually, onEtcd, type ServerProcess, startWith, temporaryFolder } from '../support/server.js';

const pay = callerWith('pay', '{ role: service, namespaces: [shop], services: [pay] }');
const alice = callerWith('alice', '{ role: publisher, namespaces: [shop] }');
const ops = callerWith('ops', '{ role: operator, namespaces: ["*"] }');
const ALL = [pay, alice, ops];

interface Stage {
  readonly server: ServerProcess;
  readonly log: string;
  readonly ask: (name: string, request: JsonObject, caller: { token: string } | undefined) => ReturnType<typeof callBy>;
}

async function stage(
  t: TestContext,
  args: readonly string[] = [],
  store = ['--data-dir', temporaryFolder()],
): Promise<Stage> {
  const log = join(temporaryFolder(), 'audit.log');
  const server = await startWith(t, [...store, '--access', accessFile(ALL), '--audit-log', log, ...args], []);
  const way = waysTo(server, server)['Connect']!;
  return { server, log, ask: (name, request, caller) => callBy(way, name, request, caller?.token) };
}

const linesOf = (path: string): Record<string, unknown>[] =>
  existsSync(path)
    ? readFileSync(path, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>)
    : [];
const publish = {
  namespace: 'shop',
  author: 'boss',
  comment: 'raise the limit',
  configs: [{ key: 'limits.yaml', text: 'max: 4242' }],
};
const instance = { namespace: 'shop', service: 'pay', id: 'i', address: '10.0.0.1', port: 1 };

test('A6: the audit has writes, deregistrations, decisions and refusals, in its file and in the list, and no content', async (t) => {
  const { server, log, ask } = await stage(t);
  await ask('Register', { instance }, pay);
  await ask('PublishConfig', { ...publish, validateOnly: true }, alice);
  const published = await ask('PublishConfig', publish, alice);
  await ask('PublishConfig', publish, pay);
  await ask('DeleteConfig', { namespace: 'shop', key: 'none' }, alice);
  await ask('Deregister', { namespace: 'shop', service: 'pay', id: 'i', comment: 'bye' }, pay);
  await ask('ReleaseProtection', { namespace: 'shop', service: 'pay' }, ops);
  await ask('Heartbeat', { instances: [{ namespace: 'shop', service: 'cart', id: 'i' }] }, pay);
  await ask('Discover', { namespace: 'shop', service: 'pay' }, undefined);
  await ask('Discover', { namespace: 'shop', service: 'pay' }, { token: 'rc_wrong' });
  await ask('Discover', { namespace: 'shop', service: 'pay' }, pay);
  assert.equal((await fetch(`${server.url}/metrics`)).status, 401);
  const lines = await eventually(() => (linesOf(log).length === 9 ? linesOf(log) : undefined));
  const short = ({ principal, method, resources, outcome }: Record<string, unknown>): unknown[] => [
    principal,
    String(method).split('/').pop(),
    ...(resources as string[]),
    outcome,
  ];
  assert.deepEqual(lines.map(short), [
    ['token:alice', 'PublishConfig', 'shop/default/limits.yaml', 'OK'],
    ['token:pay', 'PublishConfig', 'shop/default/limits.yaml', 'NOT_ALLOWED'],
    ['token:alice', 'DeleteConfig', 'shop/default/none', 'CONFIG_NOT_FOUND'],
    ['token:pay', 'Deregister', 'shop/pay/i', 'OK'],
    ['token:ops', 'ReleaseProtection', 'shop/pay', 'NOT_PROTECTED'],
    ['token:pay', 'Heartbeat', 'shop/cart', 'NOT_ALLOWED'],
    ['anonymous', 'Discover', 'CREDENTIAL_REQUIRED'],
    ['anonymous', 'Discover', 'TOKEN_REFUSED'],
    ['anonymous', 'metrics', 'CREDENTIAL_REQUIRED'],
  ]);
  const [first] = lines;
  assert.equal(first!['claimed_author'], 'boss');
  assert.equal(first!['comment'], 'raise the limit');
  assert.equal(String(first!['revision']), published.answer['revision']);
  assert.ok(!readFileSync(log, 'utf8').includes('4242'), 'no content');
  for (const { token } of ALL) assert.ok(!readFileSync(log, 'utf8').includes(token.slice(3)), 'no token');
  assert.equal(statSync(log).mode & 0o777, 0o600);

  const events = async (request: JsonObject): Promise<JsonObject[]> =>
    ((await ask('ListAuditEvents', request, ops)).answer['events'] ?? []) as JsonObject[];
  const all = await events({});
  assert.deepEqual(
    all.map(({ id }) => id),
    lines.map(({ id }) => id).reverse(),
  );
  assert.deepEqual(
    (await events({ principal: 'token:alice', failuresOnly: true })).map(({ outcome }) => outcome),
    ['CONFIG_NOT_FOUND'],
  );
  assert.equal((await events({ method: 'Deregister', resource: 'shop/p' })).length, 1);
  assert.equal((await events({ resource: 'other/' })).length, 0);
  const paged: unknown[] = [];
  for (let pageToken = ''; ;) {
    const { answer } = await ask('ListAuditEvents', { pageSize: 3, pageToken }, ops);
    paged.push(...(answer['events'] as JsonObject[]).map(({ id }) => id));
    pageToken = (answer['nextPageToken'] ?? '') as string;
    if (pageToken === '') break;
  }
  assert.deepEqual(
    paged,
    all.map(({ id }) => id),
  );
  assert.equal((await ask('ListAuditEvents', {}, alice)).reason, 'NOT_ALLOWED');

  renameSync(log, `${log}.1`);
  server.process.kill('SIGHUP');
  await eventually(() => existsSync(log));
  await ask('PublishConfig', { ...publish, configs: [{ key: 'other', text: 'x' }] }, alice);
  await eventually(() => linesOf(log).some(({ method }) => String(method).endsWith('PublishConfig')));
  assert.ok(linesOf(`${log}.1`).length >= 8);
});

test('A6: with --audit all a Register is an event, too', async (t) => {
  const { log, ask } = await stage(t, ['--audit', 'all']);
  await ask('Register', { instance }, pay);
  const [line] = await eventually(() => (linesOf(log).length === 1 ? linesOf(log) : undefined));
  assert.deepEqual([line!['principal'], line!['resources'], line!['outcome']], ['token:pay', ['shop/pay/i'], 'OK']);
  assert.ok(Number(line!['revision']) > 0);
});

for (const required of [false, true]) {
  test(`A6: a full disk ${required ? 'refuses decisions where the audit is required' : 'stops no call'}, and what waited is written when there is room`, async (t) => {
    const folder = temporaryFolder();
    const log = join(folder, 'audit.log');
    symlinkSync('/dev/full', log);
    const args = ['--audit-log', log, ...(required ? ['--audit-required'] : [])];
    const { server, ask } = await stage(t, args);
    const alarms = async (): Promise<unknown[]> =>
      (((await ask('GetStatus', {}, ops)).answer['alarms'] ?? []) as JsonObject[]).map(({ name }) => name);
    await ask('PublishConfig', publish, alice);
    await eventually(async () => (await alarms()).includes('AUDIT_LOST'));
    const refused = required ? 'AUDIT_UNAVAILABLE' : '';
    const next = { ...publish, configs: [{ key: 'other', text: 'x' }] };
    assert.equal((await ask('PublishConfig', next, alice)).reason, refused);
    assert.equal(
      (await ask('ReleaseProtection', { namespace: 'shop', service: 'pay' }, ops)).reason,
      refused || 'NOT_PROTECTED',
    );
    assert.equal((await ask('Register', { instance }, pay)).reason, '');
    const beat = await ask('Heartbeat', { instances: [{ namespace: 'shop', service: 'pay', id: 'i' }] }, pay);
    assert.deepEqual([beat.reason, beat.answer['rejected']], ['', undefined]);
    assert.equal((await ask('Deregister', { namespace: 'shop', service: 'pay', id: 'i' }, pay)).reason, '');
    assert.equal((await ask('Discover', { namespace: 'shop', service: 'pay' }, pay)).reason, '');
    rmSync(log);
    server.process.kill('SIGHUP');
    const methods = (): unknown[] => linesOf(log).map(({ method }) => String(method).split('/').pop());
    await eventually(() => methods().includes('Deregister'));
    assert.equal(methods()[0], 'PublishConfig', 'what waited is written, in its order');
    await eventually(async () => !(await alarms()).includes('AUDIT_LOST'));
    assert.equal(
      (await ask('PublishConfig', { ...publish, configs: [{ key: 'third', text: 'x' }] }, alice)).reason,
      '',
    );
  });
}

test('A6: the list has the events of all servers, and names those that do not answer', async (t) => {
  const etcd = await startEtcd(t);
  const store = onEtcd(etcd.endpoints);
  const [one, two] = await Promise.all([stage(t, ['--node', 'rc-1'], store), stage(t, ['--node', 'rc-2'], store)]);
  await one.ask('DeleteConfig', { namespace: 'shop', key: 'one' }, alice);
  await two.ask('DeleteConfig', { namespace: 'shop', key: 'two' }, alice);
  const list = async (): Promise<JsonObject> =>
    (await one.ask('ListAuditEvents', { method: 'DeleteConfig' }, ops)).answer;
  const answer = await eventually(async () => {
    const seen = await list();
    return (seen['events'] as JsonObject[]).length === 2 ? seen : undefined;
  });
  const resources = (answer['events'] as JsonObject[]).flatMap((event) => event['resources'] as string[]);
  assert.deepEqual(resources, ['shop/default/two', 'shop/default/one']);
  assert.equal(answer['unanswered'], undefined);
  two.server.process.kill('SIGSTOP');
  t.after(() => two.server.process.kill('SIGCONT'));
  const alone = await list();
  assert.deepEqual(alone['unanswered'], ['rc-2']);
  assert.equal((alone['events'] as JsonObject[]).length, 1);
});
