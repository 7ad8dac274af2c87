import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type IncomingHttpHeaders } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { test } from 'node:test';
import type { JsonObject } from '@bufbuild/protobuf';
import { accessFile, callBy, callerWith, startAlone, startWithAccess, waysTo } from '../support/access.js';
import { runProgram, type ServerProcess, type startServer, temporaryFolder } from '../support/server.js';

const pay = callerWith(
  'pay',
  '{ role: service, namespaces: [shop], services: [pay, "pay-*"], configs: ["default/app*"] }',
);
const cart = callerWith('cart', '{ role: service, namespaces: [shop], services: [cart] }');
const writer = callerWith('writer', '{ role: publisher, namespaces: [shop], configs: ["default/app*"] }');
const second = callerWith('second', '{ role: publisher, namespaces: [shop], configs: ["default/app*"] }');
const narrow = callerWith('narrow', '{ role: discoverer, namespaces: [shop], services: ["pay"] }');
const admin = callerWith('root', '{ role: admin, namespaces: ["*"] }');
const ALL = [pay, cart, writer, second, narrow, admin];

async function stage(t: Parameters<typeof startServer>[0]) {
  const server = await startWithAccess(t, accessFile(ALL));
  const way = waysTo(server, server)['gRPC, lean']!;
  const ask = (name: string, request: JsonObject, { token }: { token: string }) => callBy(way, name, request, token);
  return { server, ask };
}

test('A4: a watch or a list that is wider than the grants is refused, or shows the part', async (t) => {
  const { ask } = await stage(t);
  const shop = (request: JsonObject): JsonObject => ({ namespace: 'shop', ...request });
  for (const [filters, allowed] of [
    [[{ keys: ['app.yaml'] }], true],
    [[{ prefixes: ['app'] }], true],
    [[{ prefixes: ['app/x'] }], true],
    [[{ prefixes: ['ap'] }], false],
    [[{ group: 'default' }], false],
    [[{ group: '' }], false],
    [[{ keys: ['app.yaml'] }, { keys: ['other'] }], false],
    [[{ keys: ['app.yaml'], prefixes: ['b'] }], false],
    [[{ keys: ['app.yaml', 'other'] }], false],
    [[{ group: 'app', keys: ['app.yaml'] }], false],
  ] as const) {
    const { reason } = await ask('WatchConfig', shop({ filters: filters as never }), pay);
    assert.equal(reason, allowed ? '' : 'NOT_ALLOWED', JSON.stringify(filters));
  }
  for (const services of [
    ['pay', 'cart'],
    ['pay', 'zoo'],
  ])
    assert.equal((await ask('WatchServices', shop({ services }), narrow)).reason, 'NOT_ALLOWED');
  assert.equal(
    (await ask('WatchServices', { services: ['pay'] }, narrow)).reason,
    'NOT_ALLOWED',
    'the namespace "default"',
  );
});

test('A4: one foreign item costs neither its neighbors nor their beats, and one foreign config costs the publish', async (t) => {
  const { ask } = await stage(t);
  const instance = { namespace: 'shop', service: 'pay', id: 'i', address: '10.0.0.1', port: 1, ttl: '60s' };
  const registered = await ask('Register', { instance }, pay);
  const { incarnation } = registered.answer['instance'] as { incarnation: string };
  assert.equal((await ask('Register', { instance: { ...instance, service: 'cart' } }, cart)).reason, '');
  const items = Array.from({ length: 999 }, () => ({ namespace: 'shop', service: 'pay', id: 'i', incarnation }));
  const beaten = await ask(
    'Heartbeat',
    { instances: [...items.slice(0, 500), { namespace: 'shop', service: 'cart', id: 'i' }, ...items.slice(500)] },
    pay,
  );
  const rejected = beaten.answer['rejected'] as JsonObject[];
  assert.deepEqual(
    rejected.map(({ index, service, reason }) => [index, service, reason]),
    [[500, 'cart', 'REJECTION_REASON_NOT_ALLOWED']],
  );
  const mixed = await ask(
    'Heartbeat',
    {
      instances: [
        { namespace: 'shop', service: '!', id: 'x' },
        { namespace: 'shop', service: 'cart', id: 'i' },
        { namespace: 'shop', service: 'pay', id: 'gone' },
      ],
    },
    pay,
  );
  assert.deepEqual(
    (mixed.answer['rejected'] as JsonObject[]).map(({ index, reason }) => [index ?? 0, reason]),
    [
      [0, 'REJECTION_REASON_INVALID'],
      [1, 'REJECTION_REASON_NOT_ALLOWED'],
      [2, 'REJECTION_REASON_NOT_REGISTERED'],
    ],
  );
  const configs = Array.from({ length: 35 }, (_, i) => ({ key: `app-${i}`, text: 'x' }));
  const published = await ask(
    'PublishConfig',
    { namespace: 'shop', configs: [...configs, { key: 'other', text: 'x' }] },
    writer,
  );
  assert.equal(published.reason, 'NOT_ALLOWED');
  assert.equal(
    (await ask('ListConfigs', { namespace: 'shop' }, admin)).answer['configs'],
    undefined,
    'nothing was written',
  );
});

test('A4: an error says nothing of things that the caller may not read, whether they exist or not', async (t) => {
  const { ask } = await stage(t);
  const secret = { namespace: 'shop', service: 'vault', id: 'i', address: '10.9.9.9', port: 99 };
  await ask('Register', { instance: secret }, admin);
  await ask('PublishConfig', { namespace: 'shop', configs: [{ key: 'vault', text: 'x' }] }, admin);
  for (const [name, request] of [
    ['GetInstance', { namespace: 'shop', service: 'NAME', id: 'i' }],
    ['Deregister', { namespace: 'shop', service: 'NAME', id: 'i' }],
    ['Register', { instance: { ...secret, service: 'NAME' }, replacesRevision: '1' }],
    ['GetConfig', { namespace: 'shop', key: 'NAME' }],
    ['DeleteConfig', { namespace: 'shop', key: 'NAME', expectedVersion: '7' }],
    ['RollbackConfig', { namespace: 'shop', key: 'NAME', version: '7' }],
    ['ListConfigVersions', { namespace: 'shop', key: 'NAME' }],
    ['ReleaseProtection', { namespace: 'shop', service: 'NAME' }],
  ] as const) {
    const answers = await Promise.all(
      ['vault', 'absen'].map((as) =>
        ask(name, JSON.parse(JSON.stringify(request).replace('NAME', as)) as JsonObject, narrow),
      ),
    );
    const [real, absent] = answers.map(
      ({ reason, message }) => `${reason} ${message.replaceAll(/vault|absen/g, 'NAME')}`,
    );
    assert.match(real!, /^NOT_ALLOWED /, name);
    assert.equal(real, absent, name);
  }
  const near = await ask(
    'Register',
    { instance: { namespace: 'shop', service: 'PAY', id: 'j', address: '10.0.0.2', port: 2 } },
    admin,
  );
  assert.equal(near.reason, '');
  const foreign = callerWith('x', '');
  assert.equal((await ask('Discover', { namespace: 'shop', service: 'pay' }, foreign)).reason, 'TOKEN_REFUSED');
});

test('A4: a warning names no service that the caller may not read', async (t) => {
  const other = callerWith(
    'other',
    '{ role: publisher, namespaces: [none] }',
    '{ role: REG, namespaces: [shop], services: [mine, Vault] }',
  );
  const path = accessFile(
    [admin, { ...other, entry: other.entry.replace('REG', 'registrar') }],
    'roles: { registrar: [register] }\n',
  );
  const server = await startWithAccess(t, path);
  const way = waysTo(server, server)['Connect']!;
  const at = { namespace: 'shop', address: '10.0.0.9', port: 99 };
  await callBy(way, 'Register', { instance: { ...at, service: 'vault', id: 'i' }, incarnation: 'a' }, admin.token);
  for (const service of ['mine', 'Vault']) {
    const request = { instance: { ...at, service, id: 'i' }, incarnation: 'b' };
    const mine = await callBy(way, 'Register', request, other.token);
    assert.equal(mine.reason, '');
    assert.deepEqual(mine.answer['warnings'] ?? [], []);
    const seen = await callBy(way, 'Register', { ...request, incarnation: 'c' }, admin.token);
    assert.match(JSON.stringify(seen.answer['warnings']), /vault/);
  }
});

test('A4: a request_id of another caller gives neither its answer nor its existence', async (t) => {
  const { ask } = await stage(t);
  const publish = (text: string, by: { token: string }) =>
    ask(
      'PublishConfig',
      { namespace: 'shop', requestId: 'r-1', configs: [{ key: 'app', text }], author: 'somebody else' },
      by,
    );
  const first = await publish('one', writer);
  const again = await publish('one', writer);
  assert.deepEqual(again.answer, first.answer, 'the same caller gets its first answer');
  assert.equal((await publish('two', writer)).reason, 'REQUEST_ID_REUSED');
  const others = await publish('two', second);
  assert.equal(others.reason, '');
  const read = await ask('GetConfig', { namespace: 'shop', key: 'app' }, admin);
  const config = read.answer['config'] as JsonObject;
  assert.deepEqual([config['text'], config['version'], config['author']], ['two', '2', 'token:second']);
});

test('A4: a caller that may write configs and not read them cannot ask by validate_only what is there', async (t) => {
  const blind = callerWith('blind', '{ role: blind, namespaces: [shop], configs: ["default/app*"] }');
  const file = accessFile([writer, blind], 'roles: { blind: ["config:write"] }\n');
  const server = await startWithAccess(t, file);
  const way = waysTo(server, server)['gRPC, lean']!;
  const publish = (request: JsonObject, { token }: { token: string }) =>
    callBy(way, 'PublishConfig', { namespace: 'shop', configs: [{ key: 'app', text: 'one' }], ...request }, token);
  assert.equal((await publish({}, blind)).reason, '');
  assert.equal((await publish({ validateOnly: true }, blind)).reason, 'NOT_ALLOWED');
  const { answer, reason } = await publish({ validateOnly: true }, writer);
  assert.deepEqual([reason, (answer['configs'] as JsonObject[])[0]!['version']], ['', '1']);
});

test('A4: page tokens give another caller nothing', async (t) => {
  const { ask } = await stage(t);
  for (const service of ['cart', 'pay', 'pay-1', 'pay-2', 'zoo'])
    await ask('Register', { instance: { namespace: 'shop', service, id: 'i', address: '10.0.0.1', port: 1 } }, admin);
  const names = ({ answer }: { answer: JsonObject }): unknown[] =>
    ((answer['services'] ?? []) as JsonObject[]).map(({ service }) => service);
  const first = await ask('ListServices', { namespace: 'shop', pageSize: 1 }, admin);
  const pageToken = first.answer['nextPageToken'] as string;
  assert.deepEqual(names(await ask('ListServices', { namespace: 'shop', pageToken }, narrow)), ['pay']);
  const all = await ask('ListServices', { namespace: 'shop', pageSize: 1 }, narrow);
  assert.deepEqual(
    [names(all), all.answer['nextPageToken']],
    [['pay'], undefined],
    'nothing follows that the caller may read',
  );
});

/** Calls Discover with raw headers, and resolves to the status of gRPC. */
function rawCall(
  server: ServerProcess,
  path: string,
  headers: readonly (readonly [string, string])[],
): Promise<IncomingHttpHeaders> {
  const session = connect(`http://${server.address}`);
  return new Promise((resolve, reject) => {
    session.on('error', reject);
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...(Object.fromEntries(headers) as Record<string, string>),
    });
    const seen: IncomingHttpHeaders = {};
    stream.on('response', (given) => void Object.assign(seen, given));
    stream.on('trailers', (given) => void Object.assign(seen, given));
    stream.on('error', () => undefined); // a path that HTTP/2 itself refuses
    stream.on('close', () => {
      session.close();
      resolve(seen);
    });
    stream.resume();
    stream.end(Buffer.from([0, 0, 0, 0, 0]));
  });
}

test('A4: a path that is spelled otherwise is no method, and no header stands for a credential', async (t) => {
  const { server } = await stage(t);
  const auth = ['authorization', `Bearer ${admin.token}`] as [string, string];
  const path = '/rollcall.v1.RegistryService/ListNamespaces';
  assert.equal((await rawCall(server, path, [auth]))['grpc-status'], '0');
  for (const other of [
    path.slice(1),
    `/${path}`,
    path.replace('/List', '//List'),
    path.replace('/List', '%2FList'),
    path.toUpperCase(),
    `${path}.`,
    `${path}/`,
    `${path}?a=b`,
  ])
    assert.ok(['12', undefined].includes((await rawCall(server, other, [auth]))['grpc-status'] as string), other);
  for (const name of [
    'x-rollcall-principal',
    'x-forwarded-user',
    'x-forwarded-client-cert',
    'proxy-authorization',
    'cookie',
    'rollcall-peer-from',
  ])
    assert.equal((await rawCall(server, path, [[name, auth[1]]]))['grpc-status'], '16', name);
  for (const query of ['token', 'access_token', 'authorization']) {
    const { status } = await fetch(`${server.url}/v1/namespaces?${query}=${admin.token}`);
    assert.ok(status === 401 || status === 400, `${query} ${status}`);
  }
});

test('A4: two headers are refused on every path', async (t) => {
  const path = accessFile(ALL);
  const [server, library] = await Promise.all([startWithAccess(t, path), startAlone(t, path)]);
  for (const one of [server, library])
    for (const method of ['RegistryService/ListNamespaces', 'RegistryService/WatchServices']) {
      const head = await headersTwice(one, `/rollcall.v1.${method}`);
      assert.match(head, /grpc-status: 16/, method);
      assert.match(head, /must be sent once|must%20be%20sent%20once/, method);
    }
  const response = await httpTwice(server);
  assert.match(response, /^HTTP\/1\.1 401 .*must be sent once/s);
});

/** Sends the header twice over HTTP/2, which curl does and the API of Node does not. Returns the head of the answer. */
async function headersTwice(server: ServerProcess, path: string): Promise<string> {
  const auth = ['-H', `authorization: Bearer ${admin.token}`];
  const grpc = ['-H', 'content-type: application/grpc', '-H', 'te: trailers', '--data-binary', '@-'];
  const child = execFile('curl', [
    '-s',
    '-i',
    '--max-time',
    '10',
    '--http2-prior-knowledge',
    ...auth,
    ...auth,
    ...grpc,
    `http://${server.address}${path}`,
  ]);
  child.stdin!.end(Buffer.from([0, 0, 0, 0, 0]));
  let text = '';
  for await (const chunk of child.stdout!) text += String(chunk);
  return text;
}

/** Sends the header twice over HTTP/1.1. */
async function httpTwice(server: ServerProcess): Promise<string> {
  const { hostname, port } = new URL(server.url);
  const socket = connectSocket(Number(port), hostname);
  const auth = `authorization: Bearer ${admin.token}\r\n`;
  socket.write(`GET /v1/namespaces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${auth}${auth}\r\n`);
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}

test('A7: a caller that is refused does not get its request read', async (t) => {
  const { server } = await stage(t);
  const soon = { signal: AbortSignal.timeout(10_000) };
  for (const headers of [{}, { authorization: `Bearer rc_${'Z'.repeat(43)}` }]) {
    const session = connect(`http://${server.address}`);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/rollcall.v1.ConfigService/PublishConfig',
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    const [answer] = (await once(stream, 'response', soon)) as [IncomingHttpHeaders]; // none of the body is sent
    assert.equal(answer['grpc-status'], '16');
    stream.on('error', () => undefined);
    session.destroy();
    const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const { hostname, port } = new URL(server.url);
    const socket = connectSocket(Number(port), hostname);
    const path = '/rollcall.v1.ConfigService/PublishConfig';
    const json = 'host: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n';
    socket.write(`POST ${path} HTTP/1.1\r\n${json}${head.join('')}\r\n{`);
    const [first] = (await once(socket, 'data', soon)) as [Buffer];
    assert.match(first.toString(), /^HTTP\/1\.1 401 /);
    socket.destroy();
  }
});

test('A4: secrets appear in no log, status, metric or list of processes', async (t) => {
  const { server, ask } = await stage(t);
  const wrong = `rc_${'Z'.repeat(43)}`;
  await callBy(waysTo(server, server)['Connect']!, 'ListNamespaces', {}, wrong);
  await ask('ListNamespaces', {}, pay);
  const status = JSON.stringify((await ask('GetStatus', {}, admin)).answer);
  const metrics = await (
    await fetch(`${server.url}/metrics`, { headers: { authorization: `Bearer ${admin.token}` } })
  ).text();
  const processText = ['cmdline', 'environ']
    .map((file) => readFileSync(`/proc/${server.process.pid}/${file}`, 'utf8'))
    .join();
  for (const secret of [wrong, ...ALL.map(({ token }) => token)])
    for (const [where, text] of Object.entries({ log: server.log.join('\n'), status, metrics, processText }))
      assert.ok(!text.includes(secret.slice(3)), where);
  assert.match(status, /"accessHash":"[0-9a-f]{16}"/);
});

test('A5: an access file that cannot be used keeps a server from starting, and says where', () => {
  const folder = temporaryFolder();
  const bad = accessFile([], 'tokns: []\n');
  const { status, stderr } = runProgram('serve', '--grpc-port', '0', '--data-dir', folder, '--access', bad);
  assert.equal(status, 1, stderr);
  assert.match(stderr, /access\.yaml:2:1: tokns is not known here; did you mean tokens\?/);
  const { status: gone, stderr: text } = runProgram(
    'serve',
    '--grpc-port',
    '0',
    '--data-dir',
    folder,
    '--access',
    '/nowhere',
  );
  assert.equal(gone, 1);
  assert.match(text, /\/nowhere: cannot be read \(ENOENT\)/);
});
