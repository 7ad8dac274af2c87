import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { DiscoverRequest } from '../../src/gen/rollcall/v1/registry_service.js';
import { freePorts } from '../support/etcd.js';
import { eventually, type ServerProcess, startWith, temporaryFolder } from '../support/server.js';
import { framed, openSession, sendRaw } from '../support/wire.js';

interface SpanSeen {
  readonly traceId: string;
  readonly id: string;
  readonly parent: string;
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/** The fields of a message by number: bytes where they are bytes. */
function fieldsOf(bytes: Uint8Array): Map<number, Uint8Array[]> {
  const reader = new BinaryReader(bytes);
  const fields = new Map<number, Uint8Array[]>();
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (wireType === WireType.LengthDelimited) fields.set(field, [...(fields.get(field) ?? []), reader.bytes()]);
    else reader.skip(wireType, field);
  }
  return fields;
}

const inField = (messages: readonly Uint8Array[], field: number): Uint8Array[] =>
  messages.flatMap((message) => fieldsOf(message).get(field) ?? []);
const textOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();
const hexOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('hex');

/** The spans of an export request of OTLP: resource spans, scope spans, spans. */
function spansIn(request: Uint8Array): SpanSeen[] {
  return inField(inField(inField([request], 1), 2), 2).map((span) => {
    const fields = fieldsOf(span);
    const attributes = (fields.get(9) ?? []).map((pair): [string, string] => {
      const { 0: key, 1: value } = [fieldsOf(pair).get(1)?.[0], inField(fieldsOf(pair).get(2) ?? [], 1)[0]];
      return [textOf(key), textOf(value)];
    });
    const [traceId, id, parent] = [1, 2, 4].map((field) => hexOf(fields.get(field)?.[0])) as [string, string, string];
    return { traceId, id, parent, name: textOf(fields.get(5)?.[0]), attributes: Object.fromEntries(attributes) };
  });
}

/** A collector that takes OTLP over HTTP. */
async function startCollector(t: TestContext): Promise<{ url: string; spans: SpanSeen[]; paths: Set<string> }> {
  const spans: SpanSeen[] = [];
  const paths = new Set<string>();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      paths.add(request.url!);
      spans.push(...spansIn(Buffer.concat(chunks)));
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.closeAllConnections());
  t.after(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, spans, paths };
}

const traced = (t: TestContext, url: string, share: string): Promise<ServerProcess> =>
  startWith(t, ['--data-dir', temporaryFolder(), '--otlp-endpoint', url, '--trace-share', share], []);

const post = async ({ url }: ServerProcess, method: string, body: object, headers = {}): Promise<number> => {
  const response = await fetch(`${url}/rollcall.v1.RegistryService/${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  await response.arrayBuffer();
  return response.status;
};

const INSTANCE = { service: 'pay', id: 'a', address: '10.0.0.1', port: 80 };
const BEAT = { instances: [{ service: 'pay', id: 'a' }] };
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT = 'b7ad6b7169203331';
const parentOf = (flags: string): { traceparent: string } => ({ traceparent: `00-${TRACE}-${PARENT}-${flags}` });

test('calls are exported with the commits of the store below them, under the trace of their caller if there is one', async (t) => {
  const collector = await startCollector(t);
  const server = await traced(t, collector.url, '1');
  assert.equal(await post(server, 'Register', { instance: INSTANCE }), 200);
  assert.equal(await post(server, 'Discover', { service: 'pay' }, parentOf('01')), 200);
  assert.equal(await post(server, 'Discover', { service: '-' }), 400);
  await server.stop();
  assert.deepEqual([...collector.paths], ['/v1/traces']);
  const named = (name: string): SpanSeen[] => collector.spans.filter((span) => span.name === name);
  const [register] = named('rollcall.v1.RegistryService/Register');
  assert.equal(register!.parent, '');
  assert.deepEqual(
    named('store commit').map(({ traceId, parent }) => [traceId, parent]),
    [[register!.traceId, register!.id]],
  );
  const [under, failed] = named('rollcall.v1.RegistryService/Discover');
  assert.deepEqual([under!.traceId, under!.parent], [TRACE, PARENT]);
  assert.equal(under!.attributes['rpc.response.status_code'], '0');
  assert.notEqual(failed!.traceId, TRACE);
  assert.equal(failed!.attributes['error.type'], 'INVALID_REQUEST');
});

test('a heartbeat is recorded only in a recorded trace, and a call of a trace that is not recorded is not, over both protocols', async (t) => {
  const collector = await startCollector(t);
  const server = await traced(t, collector.url, '1');
  const session = openSession(t, server.address);
  const discover = framed(DiscoverRequest.encode(DiscoverRequest.fromPartial({ service: 'pay' })).finish());
  const overGrpc = (headers: object): Promise<unknown> =>
    sendRaw(session, { ':path': '/rollcall.v1.RegistryService/Discover', ...headers }, discover);
  await post(server, 'Register', { instance: INSTANCE }, parentOf('00'));
  await post(server, 'Heartbeat', BEAT);
  await post(server, 'Heartbeat', BEAT, parentOf('00'));
  await overGrpc(parentOf('00'));
  await post(server, 'Heartbeat', BEAT, parentOf('01'));
  await overGrpc(parentOf('01'));
  await server.stop();
  assert.deepEqual(
    collector.spans.map(({ name, attributes }) => [name.split('/')[1], attributes['rpc.system.name']]).sort(),
    [
      ['Discover', 'grpc'],
      ['Heartbeat', 'connectrpc'],
    ],
  );
});

test('of the calls without a trace, a share is recorded', async (t) => {
  const collector = await startCollector(t);
  const server = await traced(t, collector.url, '0.5');
  for (let i = 0; i < 200; i++) await post(server, 'Discover', { service: 'pay' });
  await server.stop();
  const { length } = collector.spans;
  assert.ok(length > 60 && length < 140, `${length} of 200`);
});

test('a collector that is away ends nothing, and holds up no end', async (t) => {
  const [port] = await freePorts(1);
  const server = await traced(t, `http://127.0.0.1:${port}`, '1');
  for (let i = 0; i < 20; i++) assert.equal(await post(server, 'Discover', { service: 'pay' }), 200);
  const lines = (): string[] => server.log.filter((line) => line.includes('traces cannot be exported'));
  await eventually(() => lines().length > 0, 20_000);
  assert.equal(await post(server, 'Discover', { service: 'pay' }), 200);
  const since = performance.now();
  assert.equal(await server.stop(), 0);
  assert.ok(performance.now() - since < 10_000);
  assert.equal(lines().length, 1, lines().join('\n'));
});
