import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect as connectSocket, type Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { createFileRegistry, type DescService, fromBinary, type JsonObject } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Code, type ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { EventSource } from 'eventsource';
import { LIMITS } from '../../src/model/limits.js';
import { publishConfig, register, text } from '../support/client.js';
import {
  eventually,
  launchServer,
  memoryOf,
  onEtcd,
  type ServerProcess,
  startServer,
  startWith,
  temporaryFolder,
} from '../support/server.js';

const run = promisify(execFile);
/** The client that everybody has. */
const curl = async (...args: string[]): Promise<string> =>
  (await run('curl', ['-sS', '--max-time', '20', ...args])).stdout;
const REGISTRY = 'rollcall.v1.RegistryService';

const image = readFileSync(new URL('../../src/gen/image.binpb', import.meta.url));
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
const service = (name: string): DescService => registry.getService(`rollcall.v1.${name}`)!;

const json = async (response: Response): Promise<JsonObject> => (await response.json()) as JsonObject;
/** The message of an error as plain JSON or as Connect writes it. */
const messageOf = async (response: Response): Promise<string> =>
  ((await response.json()) as { message: string }).message;
const post = (server: ServerProcess, method: string, body: unknown, headers = {}): Promise<Response> =>
  fetch(`${server.url}/${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });

const PAY = { service: 'pay', id: 'p1', address: '10.0.0.7', port: 8080, ttl: '60s', tags: ['blue'] };
const registerPay = (server: ServerProcess): Promise<Response> =>
  post(server, `${REGISTRY}/Register`, { instance: PAY });

/** Sends a request whose headers fetch does not allow, and resolves to status and body. */
function raw(url: string, headers: Record<string, string>, method = 'GET'): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(url, { method, headers, setHost: !('host' in headers) }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (body += chunk));
      response.on('end', () => resolve({ status: response.statusCode!, body }));
    });
    sent.on('error', reject);
    sent.end();
  });
}

test('with curl alone: register, beat, discover, watch, publish and read', async (t) => {
  const server = await startServer(t);
  const { url } = server;
  const rpc = (method: string, body: object): Promise<string> =>
    curl('-H', 'content-type: application/json', '-d', JSON.stringify(body), `${url}/${method}`);
  assert.match(await rpc(`${REGISTRY}/Register`, { instance: PAY }), /"heartbeatInterval":"20s"/);
  assert.equal(
    (await rpc(`${REGISTRY}/Heartbeat`, { instances: [PAY].map(({ service, id }) => ({ service, id })) })).trim(),
    '{"heartbeatInterval":"20s"}',
  );
  const found = JSON.parse(await curl(`${url}/v1/services/pay`)) as { instances: { id: string }[] };
  assert.deepEqual(
    found.instances.map(({ id }) => id),
    ['p1'],
  );
  assert.match(
    await curl('-X', 'PUT', '--data-binary', 'debug: true', `${url}/v1/configs/app.yaml?author=ann`),
    /"version":"1"/,
  );
  assert.equal(await curl(`${url}/v1/configs/app.yaml`), 'debug: true');
  const events = (
    await run('curl', [
      '-sN',
      '--max-time',
      '1',
      '-H',
      'accept: text/event-stream',
      `${url}/v1/watch/services/pay`,
    ]).catch((error: { stdout: string }) => error)
  ).stdout;
  assert.match(events, /^retry: 1000\n\nid: \S+\ndata: \{"upserted":\[\{.*"id":"p1"/);
  const lines = (
    await run('curl', ['-sN', '--max-time', '1', `${url}/v1/services/pay/watch`]).catch(
      (error: { stdout: string }) => error,
    )
  ).stdout;
  assert.match(lines, /^\{"result":\{"upserted":\[.*\}\}\n$/);
});

for (const [name, make] of [
  ['Connect with proto', (baseUrl: string) => createConnectTransport({ baseUrl, httpVersion: '1.1' })],
  [
    'Connect with JSON',
    (baseUrl: string) => createConnectTransport({ baseUrl, httpVersion: '1.1', useBinaryFormat: false }),
  ],
  ['Connect with GET', (baseUrl: string) => createConnectTransport({ baseUrl, httpVersion: '1.1', useHttpGet: true })],
  ['gRPC-web', (baseUrl: string) => createGrpcWebTransport({ baseUrl, httpVersion: '1.1' })],
] as [string, (baseUrl: string) => Transport][]) {
  test(`${name}: a stock client calls, watches, and reads the details of errors`, async (t) => {
    const server = await startServer(t);
    const client = createClient(service('RegistryService'), make(server.url)) as unknown as Record<
      string,
      (request: object, options?: object) => Promise<JsonObject> & AsyncIterable<JsonObject>
    >;
    await client.register!({ instance: { ...PAY, ttl: { seconds: 60n } } });
    const { instances } = (await client.discover!({ service: 'pay' })) as unknown as { instances: { id: string }[] };
    assert.deepEqual(
      instances.map(({ id }) => id),
      ['p1'],
    );
    const stop = new AbortController();
    for await (const message of client.watchServices!({ services: ['pay'] }, { signal: stop.signal })) {
      const { upserted } = message as unknown as { upserted: { id: string }[] };
      assert.deepEqual(
        upserted.map(({ id }) => id),
        ['p1'],
      );
      break;
    }
    stop.abort();
    await assert.rejects(client.discover!({ service: 'p ay' }), (error: ConnectError) => {
      assert.equal(error.code, Code.InvalidArgument);
      const details = error.findDetails(registry) as unknown as {
        reason?: string;
        fieldViolations?: { field: string }[];
      }[];
      assert.deepEqual([details[0]?.reason, details[1]?.fieldViolations?.[0]?.field], ['INVALID_REQUEST', 'service']);
      return true;
    });
    await assert.rejects(
      client.getInstance!({ service: 'pay', id: 'no' }),
      (error: ConnectError) => error.code === Code.NotFound,
    );
  });
}

test('an EventSource goes on by itself where it was cut, and learns what changed meanwhile', async (t) => {
  const folder = temporaryFolder();
  const server = await startServer(t, folder);
  await registerPay(server);
  const source = new EventSource(`${server.url}/v1/watch/services/pay`);
  t.after(() => source.close());
  const messages: { upserted?: { id: string }[]; progress: { kind: string } }[] = [];
  source.onmessage = ({ data }) => void messages.push(JSON.parse(data as string) as (typeof messages)[0]);
  await eventually(() => messages.length === 1);
  const { port } = new URL(server.url);
  await server.kill();
  const again = await startWith(t, ['--data-dir', folder, '--http-port', port], []);
  await post(again, `${REGISTRY}/Register`, { instance: { ...PAY, id: 'p2' } });
  await eventually(() => messages.some(({ upserted }) => upserted?.some(({ id }) => id === 'p2')));
  assert.deepEqual(
    messages
      .slice(1)
      .map(({ progress }) => progress.kind)
      .filter((kind) => kind === 'WATCH_KIND_SNAPSHOT'),
    [],
    'no second snapshot',
  );
});

test('a config is served bare, with an ETag that answers 304, in each of its versions', async (t) => {
  const server = await startServer(t);
  const at = `${server.url}/v1/configs/${encodeURIComponent('a/配置.json')}`;
  const put = (body: string | Uint8Array, query = ''): Promise<Response> =>
    fetch(`${at}${query}`, { method: 'PUT', body });
  assert.equal((await put('{"a":1}', '?labels.team=x&comment=first')).status, 200);
  assert.equal((await put('{"a":2}', '?expected_version=1')).status, 200);
  const refused = await put('{"a":3}', '?expected_version=1');
  assert.deepEqual([refused.status, (await json(refused)).reason], [409, 'VERSION_MISMATCH']);
  const broken = await put('{"a":');
  assert.equal(broken.status, 400);
  assert.match(await messageOf(broken), /configs\[0\]\.text: .*line 1, column 6/);
  const now = await fetch(at);
  assert.deepEqual([await now.text(), now.headers.get('content-type')], ['{"a":2}', 'application/json']);
  const etag = now.headers.get('etag')!;
  const same = await fetch(at, { headers: { 'if-none-match': `"x", ${etag}` } });
  assert.deepEqual([same.status, await same.text()], [304, '']);
  assert.equal(await (await fetch(`${at}?version=1`, { headers: { 'if-none-match': etag } })).text(), '{"a":1}');
  assert.equal((await fetch(`${at}?version=9`)).status, 404);
  const bytes = new Uint8Array([0, 255, 1]);
  const binary = `${server.url}/v1/configs/icon.bin`;
  assert.equal((await fetch(binary, { method: 'PUT', body: bytes })).status, 200);
  const answer = await fetch(binary);
  assert.deepEqual(
    [new Uint8Array(await answer.arrayBuffer()), answer.headers.get('content-type')],
    [bytes, 'application/octet-stream'],
  );
});

test('parameters of a URL are fields, and one that is not is refused by name', async (t) => {
  const server = await startServer(t);
  await registerPay(server);
  await post(server, `${REGISTRY}/Register`, {
    instance: { ...PAY, id: 'p2', tags: ['blue', 'v2'], metadata: { 'a.b': 'c' } },
  });
  const ids = async (query: string): Promise<unknown> => {
    const { instances = [] } = await json(await fetch(`${server.url}/v1/services/pay?${query}`));
    return (instances as { id: string }[]).map(({ id }) => id);
  };
  assert.deepEqual(await ids('filter.tags=blue&filter.tags=v2'), ['p2']);
  assert.deepEqual(await ids('filter.metadata.a.b=c'), ['p2']);
  assert.deepEqual(await ids('barrier&minRevision=1'), ['p1', 'p2']);
  const wrong = await json(
    await fetch(`${server.url}/${REGISTRY}/Discover?service=pay&sevice=x&filter=1&barrier=maybe&constructor=1`),
  );
  assert.equal(
    wrong.message,
    'sevice: is not a field of DiscoverRequest; filter: is a message: give its fields, such as filter.tags; barrier: must be true or false; constructor: is not a field of DiscoverRequest',
  );
  for (const [query, message] of [
    ['service=a&service=b', /service: is given twice/],
    ['min_revision=x', /min_revision/],
  ] as const)
    assert.match(await messageOf(await fetch(`${server.url}/${REGISTRY}/Discover?${query}`)), message);
});

test('Prometheus finds every instance, and gets an error rather than an empty list', async (t) => {
  const server = await startServer(t);
  await register(server, {
    instance: { ...PAY, ttl: { seconds: 60n, nanos: 0 }, metadata: new Map([['team-x', 'y']]) },
  });
  await register(server, { instance: { namespace: 'prod', service: 'cart', id: 'c', address: '::1', port: 1 } });
  await register(server, { instance: { service: 'job', id: 'j', address: '10.0.0.8' } });
  const found = (await (await fetch(`${server.url}/v1/sd/prometheus`)).json()) as {
    targets: string[];
    labels: Record<string, string>;
  }[];
  assert.deepEqual(
    found.map(({ targets }) => targets),
    [['10.0.0.7:8080'], ['[::1]:1']],
    'an instance without a port is no target',
  );
  assert.deepEqual(
    [found[0]?.labels.__meta_rollcall_tags, found[0]?.labels.__meta_rollcall_metadata_team_x],
    [',blue,', 'y'],
  );
  assert.equal(((await (await fetch(`${server.url}/v1/sd/prometheus?namespace=prod`)).json()) as unknown[]).length, 1);
  assert.equal((await fetch(`${server.url}/v1/sd/prometheus?namspace=prod`)).status, 400);
});

test('a request for nothing, of a wrong method or type, or of one message too few says what is wrong', async (t) => {
  const server = await startServer(t);
  const rpc = `${server.url}/${REGISTRY}`;
  const attempts: [string, RequestInit, number, RegExp][] = [
    ['/v1/nothing', {}, 404, /there is nothing at/],
    ['/rollcall.peer.v1.PeerService/LastHeard', { method: 'POST' }, 404, /nothing at/],
    ['/v1/services', { method: 'DELETE' }, 405, /use GET/],
    ['/v1/watch/services/pay', { method: 'POST' }, 405, /use GET$|use GET"/],
    [`/${REGISTRY}/Discover?encoding=json&connect=v1`, {}, 400, /message is missing/],
    ['/metrics', { method: 'POST' }, 405, /UNKNOWN_METHOD/],
    [`/${REGISTRY}/Register`, {}, 405, /use POST/],
    [`/${REGISTRY}/Discover`, { method: 'POST', body: new URLSearchParams({ a: 'b' }) }, 415, /curl/],
    [`/${REGISTRY}/Discover`, { method: 'POST', body: 'x', headers: { 'content-type': 'text/plain' } }, 415, /curl/],
    [
      `/${REGISTRY}/Discover`,
      { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } },
      400,
      /not JSON/,
    ],
    [
      `/${REGISTRY}/Discover`,
      { method: 'POST', body: '{"servce":1}', headers: { 'content-type': 'application/json' } },
      400,
      /servce/,
    ],
    [
      `/${REGISTRY}/StreamHeartbeats`,
      { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } },
      501,
      /call Heartbeat/,
    ],
    ['/v1/configs/%ff', {}, 400, /percent-encoded/],
    [`/${REGISTRY}/Discover?encoding=constructor&message=`, {}, 400, /encoding must be json or proto/],
    [
      `/${REGISTRY}/Discover`,
      { method: 'POST', body: '{}', headers: { 'content-type': 'application/json', 'content-encoding': 'br' } },
      501,
      /gzip/,
    ],
    [
      `/${REGISTRY}/Discover`,
      { method: 'POST', body: '{}', headers: { 'content-type': 'application/json', 'connect-timeout-ms': 'x' } },
      400,
      /timeout/,
    ],
  ];
  for (const [path, init, status, message] of attempts) {
    const response = await fetch(`${server.url}${path}`, init);
    assert.deepEqual([path, response.status], [path, status]);
    assert.match(await response.text(), message);
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
  }
  const empty = await fetch(`${rpc}/WatchServices`, {
    method: 'POST',
    headers: { 'content-type': 'application/connect+json' },
    body: '',
  });
  assert.match(await empty.text(), /"code":"unimplemented".*exactly one message/);
});

test('JSON that is not of its type is refused with every field, and the form that it takes', async (t) => {
  const { url } = await startServer(t);
  const violationsOf = async (path: string, body?: object, method = 'POST'): Promise<Record<string, string>> => {
    const init = body ? { method, body: JSON.stringify(body), headers: { 'content-type': 'application/json' } } : {};
    const response = await fetch(`${url}${path}`, init);
    assert.equal(response.status, 400);
    interface Violations {
      readonly violations?: { field: string; description: string }[];
      readonly details?: { type: string; debug: { fieldViolations: Violations['violations'] } }[];
    }
    const { violations, details } = (await response.json()) as Violations;
    const listed = violations ?? details!.find(({ type }) => type.endsWith('BadRequest'))!.debug.fieldViolations;
    return Object.fromEntries(listed!.map(({ field, description }) => [field, description]));
  };
  const endpoints = [{ port: 1 }, { port: 'x', host: 'a' }];
  const instance = {
    ttl: 60,
    port: 1.5,
    tags: 'blue',
    metadata: [1],
    reported: { state: 'BAD' },
    endpoints,
    locality: 'a',
  };
  const found = await violationsOf(`/${REGISTRY}/Register`, { instance, replaces_revision: 'abc', extra: 1 });
  assert.deepEqual(Object.keys(found).sort(), [
    ...['extra', 'instance.endpoints[1].host', 'instance.endpoints[1].port', 'instance.locality', 'instance.metadata'],
    ...['instance.port', 'instance.reported.state', 'instance.tags', 'instance.ttl', 'replaces_revision'],
  ]);
  assert.match(found['instance.ttl']!, /a duration such as "60s"/);
  assert.match(found['instance.reported.state']!, /one of .*HEALTHY.*STARTING/);
  assert.match(found['replaces_revision']!, /whole number of 64 bits/);
  assert.deepEqual(await violationsOf('/v1/services/pay?min_revision=x'), {
    min_revision: 'must be a whole number of 64 bits',
  });
  assert.deepEqual(await violationsOf('/v1/services/pay?filter.metadata.a=1&filter.metadata.a=2'), {
    'filter.metadata.a': 'is given twice',
  });
});

test('a config is put compressed, deleted, and never written by a condition that is not kept', async (t) => {
  const { url } = await startServer(t);
  const put = (
    body: string | Uint8Array | undefined,
    headers: Record<string, string> = {},
    query = '',
  ): Promise<Response> =>
    fetch(`${url}/v1/configs/app.yaml${query}`, { method: 'PUT', ...(body !== undefined && { body }), headers });
  assert.equal((await put(gzipSync('debug: true'), { 'content-encoding': 'gzip' }, '?format=yaml')).status, 200);
  const read = await fetch(`${url}/v1/configs/app.yaml`);
  assert.equal(await read.text(), 'debug: true');
  assert.equal(read.headers.get('cache-control'), 'no-cache');
  const known = await fetch(`${url}/v1/configs/app.yaml`, { headers: { 'if-none-match': read.headers.get('etag')! } });
  assert.deepEqual([known.status, known.headers.get('content-length')], [304, null]);
  const refused: [Promise<Response>, number, RegExp][] = [
    [put('a: 1', { 'content-encoding': 'br' }), 501, /UNKNOWN_COMPRESSION/],
    [put('a: 1', { 'content-encoding': 'gzip' }), 400, /marked as compressed with gzip, and is not/],
    [put('a: 1', { 'if-match': '"1-000"' }), 400, /"if-match".*expected_version/],
    [put('a: 1', { 'if-none-match': '*' }), 400, /"if-none-match".*expected_version/],
    [put('x'.repeat(3 * 1_024 * 1_024)), 413, /REQUEST_TOO_LARGE/],
  ];
  for (const [answer, status, text] of refused) {
    const response = await answer;
    assert.equal(response.status, status);
    assert.match(await response.text(), text);
  }
  assert.match(await curl('-X', 'PUT', `${url}/v1/configs/app.yaml`), /content-length: 0/);
  assert.equal(await (await fetch(`${url}/v1/configs/app.yaml`)).text(), 'debug: true');
  const remove = (query: string): Promise<Response> =>
    fetch(`${url}/v1/configs/app.yaml${query}`, { method: 'DELETE' });
  assert.equal((await remove('?expected_version=7')).status, 409);
  assert.equal((await remove('?author=ann')).status, 200);
  assert.equal((await fetch(`${url}/v1/configs/app.yaml`)).status, 404);
});

test('a watch is not asked for its headers alone, which would wait for ever', async (t) => {
  const { url } = await startServer(t);
  for (const path of [
    '/v1/watch/services/pay',
    '/v1/watch/configs/a.yaml',
    `/${REGISTRY}/WatchServices?services=pay`,
  ]) {
    const response = await fetch(`${url}${path}`, { method: 'HEAD' });
    assert.deepEqual([path, response.status, response.headers.get('allow')?.includes('HEAD')], [path, 405, false]);
  }
});

test('browsers: pages of strangers, and names that are not ours, are refused; listed origins are not', async (t) => {
  const server = await startWith(t, ['--data-dir', temporaryFolder(), '--http-cors-origins', 'https://ui.example'], []);
  const at = `${server.url}/v1/services`;
  const { port, host } = new URL(server.url);
  const status = async (headers: Record<string, string>, method = 'GET'): Promise<number> =>
    (await raw(at, headers, method)).status;
  assert.equal(await status({ host: `localhost:${port}` }), 200);
  assert.equal(await status({ host: `[::1]:${port}` }), 200);
  assert.equal(await status({ host: `rebind.example:${port}` }), 403, 'a name that points to loopback');
  assert.equal(await status({ host, origin: 'https://evil.example' }), 403);
  assert.equal(await status({ host, origin: 'null' }), 403);
  assert.equal(await status({ host, 'sec-fetch-site': 'cross-site' }), 403);
  assert.equal(await status({ host, 'sec-fetch-site': 'same-site' }), 403, 'another port of this machine');
  assert.equal(await status({ host, 'sec-fetch-site': 'same-origin', origin: `http://${host}` }), 200);
  assert.equal(await status({ host, 'sec-fetch-site': 'none' }), 200);
  assert.equal(await status({ host, origin: 'https://evil.example' }, 'OPTIONS'), 403);
  const preflight = await fetch(at, {
    method: 'OPTIONS',
    headers: { origin: 'https://ui.example', 'access-control-request-method': 'POST' },
  });
  assert.deepEqual(
    [preflight.status, preflight.headers.get('access-control-allow-origin')],
    [204, 'https://ui.example'],
  );
  const allowed = await fetch(at, { headers: { origin: 'https://ui.example' } });
  assert.deepEqual([allowed.status, allowed.headers.get('access-control-allow-origin')], [200, 'https://ui.example']);
});

test('a request that is too large, or a bomb, is refused, and the process lives', async (t) => {
  const server = await startServer(t);
  const at = `${server.url}/${REGISTRY}/Discover`;
  const headers = { 'content-type': 'application/json' };
  const limit = LIMITS.RECEIVE_BYTES.value;
  const large = await fetch(at, { method: 'POST', headers, body: `{"service":"${'x'.repeat(limit)}"}` }).catch(
    () => undefined,
  );
  // The server may close the connection while the client still sends.
  if (large) assert.deepEqual([large.status, (await json(large)).code], [429, 'resource_exhausted']);
  const bomb = gzipSync(Buffer.alloc(64 * limit));
  const refused = await fetch(at, { method: 'POST', headers: { ...headers, 'content-encoding': 'gzip' }, body: bomb });
  assert.equal(refused.status, 429);
  const zipped = await fetch(at, {
    method: 'POST',
    headers: { ...headers, 'content-encoding': 'gzip' },
    body: gzipSync('{"service":"pay"}'),
  });
  assert.equal(zipped.status, 200);
  const deep = await fetch(at, { method: 'POST', headers, body: `${'['.repeat(500_000)}` });
  assert.equal(deep.status, 400);
  const headersTooLong = await raw(server.url, { 'x-long': 'x'.repeat(20_000) });
  assert.equal(headersTooLong.status, 431);
  assert.equal(await (await fetch(`${server.url}/livez`)).text(), 'ok\n');
});

/** Opens a connection, sends some bytes and waits until the server closes it. */
function sendSlowly(
  t: TestContext,
  server: ServerProcess,
  bytes: string,
): { received: () => string; closed: Promise<void> } {
  const socket = connectSocket(Number(new URL(server.url).port), '127.0.0.1');
  t.after(() => socket.destroy());
  let received = '';
  socket.setEncoding('latin1');
  socket.on('data', (chunk: string) => (received += chunk));
  socket.on('error', () => undefined);
  socket.write(bytes);
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  return { received: () => received, closed };
}

test('buf curl speaks Connect and gRPC-web with the server, and shows the details of errors', async (t) => {
  const server = await startServer(t);
  await registerPay(server);
  const schema = new URL('../../src/gen/image.binpb', import.meta.url).pathname;
  const bufCurl = (protocol: string, request: object): Promise<{ stdout: string }> =>
    run('npx', [
      ...['buf', 'curl', '--schema', schema, '--protocol', protocol, '--data', JSON.stringify(request)],
      `${server.url}/${REGISTRY}/Discover`,
    ]);
  for (const protocol of ['connect', 'grpcweb']) {
    const { instances } = JSON.parse((await bufCurl(protocol, { service: 'pay' })).stdout) as {
      instances: JsonObject[];
    };
    assert.deepEqual(
      instances.map(({ id }) => id),
      ['p1'],
      protocol,
    );
    await assert.rejects(
      bufCurl(protocol, { service: '-' }),
      /"code": "invalid_argument"[^]*"google.rpc.BadRequest"/,
      protocol,
    );
  }
});

test('requests that are sent without waiting are answered in order, and leave nothing behind when their connection ends', async (t) => {
  const server = await startServer(t);
  const metadata = Object.fromEntries(Array.from({ length: 6 }, (_, i) => [`k${i}`, 'x'.repeat(1_000)]));
  for (let i = 0; i < 40; i++)
    await post(server, `${REGISTRY}/Register`, { instance: { ...PAY, id: `p${i}`, metadata } });
  const open = (): Socket => connectSocket(Number(new URL(server.url).port), '127.0.0.1').on('error', () => undefined);
  const get = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`;
  const metric = async (name: string): Promise<number> =>
    Number(new RegExp(`^${name} (.*)$`, 'm').exec(await (await fetch(`${server.url}/metrics`)).text())![1]);

  const inOrder = open();
  let received = '';
  inOrder.on('data', (chunk: Buffer) => (received += chunk.toString()));
  inOrder.write(['/livez', '/version', '/v1/services/none', '/livez'].map(get).join(''));
  await eventually(() => received.split('HTTP/1.1 200').length === 5);
  assert.ok(received.indexOf('"version"') < received.indexOf('"revision"'));
  inOrder.destroy();

  const unread = Array.from({ length: 10 }, open);
  for (const socket of unread) socket.pause().write(get('/v1/services/pay').repeat(100));
  await eventually(async () => (await metric('rollcall_unsent_bytes')) > 0);
  for (const socket of unread) socket.destroy();
  const watching = open();
  watching.pause().write(get('/v1/watch/services/pay').repeat(20));
  await eventually(async () => (await metric('rollcall_watches')) > 0);
  watching.destroy();
  await eventually(
    async () => (await metric('rollcall_unsent_bytes')) === 0 && (await metric('rollcall_watches')) === 0,
  );
});

test('a client that still sends its body gets the answer that was made before, and no reset', async (t) => {
  const server = await startServer(t);
  const port = Number(new URL(server.url).port);
  const socket = connectSocket({ port, host: '127.0.0.1', allowHalfOpen: true });
  let [received, failed] = ['', false];
  socket.on('data', (chunk: Buffer) => (received += chunk.toString()));
  socket.on('error', () => (failed = true));
  socket.write(
    'POST /nothing HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 300000\r\n\r\n',
  );
  await eventually(() => received.includes('\r\n\r\n'));
  assert.match(received, /^HTTP\/1\.1 404 /);
  for (let i = 0; i < 3; i++) await new Promise<void>((resolve) => socket.write('x'.repeat(100_000), () => resolve()));
  await eventually(() => socket.readableEnded);
  socket.end();
  assert.equal(failed, false);
});

test('clients that go away in the middle of their request cost nothing, and the call does not happen', async (t) => {
  const server = await startServer(t);
  const before = memoryOf(server);
  const body = JSON.stringify({ configs: [{ key: 'half.txt', text: 'x'.repeat(500_000) }] });
  const head = `POST /rollcall.v1.ConfigService/PublishConfig HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n`;
  for (let round = 0; round < 4; round++) {
    const sockets = Array.from({ length: 100 }, () => {
      const socket = connectSocket(Number(new URL(server.url).port), '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write(`${head}content-length: ${body.length}\r\n\r\n${body.slice(0, -10)}`);
      return socket;
    });
    await eventually(() =>
      sockets.every(({ bytesWritten, writableLength }) => bytesWritten > 0 && writableLength === 0),
    );
    for (const socket of sockets) socket.destroy();
  }
  const answer = await post(server, 'rollcall.v1.ConfigService/GetConfig', { key: 'half.txt' });
  assert.equal(answer.status, 404);
  // 400 halves of half a megabyte would be 200 MB.
  // The collector of a server that idles comes when it finds the time, which is late on a busy machine.
  await eventually(() => memoryOf(server) - before < 120 * 1_024 * 1_024, 60_000);
});

test('a client that sends its headers slowly loses its connection', async (t) => {
  const server = await startServer(t);
  const slow = sendSlowly(t, server, 'GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: b');
  await slow.closed;
  assert.match(slow.received(), /^(HTTP\/1\.1 408|$)/);
});

test('a reader of events that stops holds a bounded amount and is ended, and the other readers are served', async (t) => {
  const server = await startWith(t, ['--data-dir', temporaryFolder(), '--stream-age-seconds', '10'], []);
  const content = text('x'.repeat(LIMITS.PUBLISH_BYTES.value - 1_000));
  for (let i = 0; i < 12; i++) await publishConfig(server, { configs: [{ key: `k${i}.txt`, content }] });
  const stuck = sendSlowly(
    t,
    server,
    'GET /rollcall.v1.ConfigService/WatchConfig?all HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n',
  );
  // A socket that is not read from: its events are what pauses.
  const socket = connectSocket(Number(new URL(server.url).port), '127.0.0.1');
  t.after(() => socket.destroy());
  socket.pause();
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  socket.write(
    'GET /rollcall.v1.ConfigService/WatchConfig?all HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n',
  );
  await eventually(() => stuck.received().includes('"revision"'), 20_000);
  const watches = async (): Promise<number> =>
    Number(((await json(await fetch(`${server.url}/v1/status`))).counts as JsonObject).watches ?? 0);
  assert.equal(await watches(), 2);
  await eventually(async () => (await watches()) === 0, 20_000);
  socket.resume();
  await Promise.all([closed, stuck.closed]);
  assert.match(stuck.received(), /"reason":"STREAM_AGE"/);
});

test('probes answer while the store is out, and calls get an error with a reason', async (t) => {
  // Nothing listens on the discard port.
  const { log, process: child, exited } = launchServer([...onEtcd(['http://127.0.0.1:9'])], []);
  t.after(async () => (child.kill('SIGKILL'), exited));
  const url = await eventually(() => /"httpPort":(\d+)/.exec(log.join('\n'))?.[1], 10_000).then(
    (port) => `http://127.0.0.1:${port}`,
  );
  assert.equal((await fetch(`${url}/livez`)).status, 200);
  const ready = await fetch(`${url}/readyz?verbose`);
  assert.deepEqual(
    [ready.status, await ready.text()],
    [503, '[-] store: the store has not been read yet\n[-] cluster: the server has not joined yet\nnot ready\n'],
  );
  const call = await fetch(`${url}/v1/services`);
  assert.deepEqual([call.status, (await json(call)).reason, call.headers.get('retry-after')], [503, 'NOT_READY', '1']);
  assert.equal((await fetch(`${url}/v1/sd/prometheus`)).status, 503);
  // Another answer than 200 would end an EventSource for good.
  const events = await fetch(`${url}/v1/watch/services/pay`, { headers: { accept: 'text/event-stream' } });
  assert.equal(events.status, 200);
  assert.match(await events.text(), /^retry: 1000\n[^]*event: status\ndata: \{.*"reason":"NOT_READY"/);
});
