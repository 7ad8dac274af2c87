import assert from 'node:assert/strict';
import { constants } from 'node:http2';
import { test } from 'node:test';
import { credentials, status } from '@grpc/grpc-js';
import { WatchConfigRequest } from '../../src/gen/rollcall/v1/config_service.js';
import { DiscoverRequest, DiscoverResponse } from '../../src/gen/rollcall/v1/registry_service.js';
import { LIMITS } from '../../src/model/limits.js';
import { RegistryServiceClient } from '../support/clients.js';
import { discover, getStatus, publishConfig, register, text } from '../support/client.js';
import {
  detailsOf,
  eventually,
  memoryOf,
  type ServerProcess,
  startServer,
  startWith,
  temporaryFolder,
} from '../support/server.js';
import { framed, openSession } from '../support/wire.js';

/** A watch that notes how far it came. */
function watch(client: RegistryServiceClient): { state: string; cancel(): void } {
  const stream = client.watchServices({ namespace: '', services: ['pay'], all: false, resumeToken: '' } as never);
  const opened = { state: 'opening', cancel: () => stream.cancel() };
  stream.on('data', () => (opened.state = 'open'));
  stream.on('error', (error) => (opened.state = detailsOf(error as never).reason ?? error.message));
  return opened;
}

/** A client with a connection of its own. */
function channel(server: ServerProcess): RegistryServiceClient {
  return new RegistryServiceClient(server.address, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
}

test('a connection full of watches refuses further ones, answers unary calls, and another one takes them', async (t) => {
  const server = await startServer(t);
  const first = channel(server);
  const second = channel(server);
  t.after(() => (first.close(), second.close()));
  const watches = Array.from({ length: LIMITS.STREAMS_PER_CONNECTION.value }, () => watch(first));
  await eventually(() => watches.every(({ state }) => state === 'open'), 20_000);
  const refused = watch(first);
  await eventually(() => refused.state !== 'opening');
  assert.equal(refused.state, 'TOO_MANY_WATCHES');
  await discover({ ...server, registry: first }, { service: 'pay' });
  const elsewhere = watch(second);
  await eventually(() => elsewhere.state === 'open');
  watches[0]!.cancel();
  // The server notices the end a moment later.
  await eventually(async () => {
    const again = watch(first);
    await eventually(() => again.state !== 'opening');
    return again.state === 'open';
  });
  for (const one of [...watches, elsewhere]) one.cancel();
});

test('a client that reads nothing is cut soon after its streams have ended, and its connection has room again', async (t) => {
  const server = await startWith(t, ['--data-dir', temporaryFolder(), '--stream-age-seconds', '10'], []);
  const content = text('x'.repeat(LIMITS.PUBLISH_BYTES.value - 1_000));
  for (let i = 0; i < 4; i++) await publishConfig(server, { configs: [{ key: `k${i}.txt`, content }] });
  const session = openSession(t, server.address);
  const codes: (number | undefined)[] = [];
  const streams = 100;
  for (let i = 0; i < streams; i++) {
    const stream = session.request({
      ...{ ':method': 'POST', ':path': '/rollcall.v1.ConfigService/WatchConfig' },
      ...{ 'content-type': 'application/grpc', te: 'trailers' },
    });
    stream.on('error', () => undefined);
    stream.on('close', () => codes.push(stream.rstCode));
    stream.pause();
    stream.end(framed(WatchConfigRequest.encode(WatchConfigRequest.fromPartial({ all: true })).finish()));
  }
  const open = async (): Promise<number> => (await getStatus(server)).counts!.watches;
  await eventually(async () => (await open()) === streams, 20_000);
  await eventually(async () => (await open()) === 0, 20_000);
  assert.equal(codes.length, 0, 'a reader has some time for the last bytes');
  await eventually(() => codes.length === streams, 20_000);
  assert.deepEqual(new Set(codes), new Set([constants.NGHTTP2_CANCEL]));
});

const MIB = 1_024 * 1_024;

/** Registers instances whose answer has about 2.7 MB. */
async function fill(server: ServerProcess): Promise<void> {
  const metadata = new Map(Array.from({ length: 6 }, (_, i) => [`k${i}`, 'x'.repeat(1_000)]));
  await Promise.all(
    Array.from({ length: 430 }, (_, i) =>
      register(server, { instance: { service: 'large', id: `i${i}`, address: '127.0.0.1', port: 1, metadata } }),
    ),
  );
}

test('2,000 answers of 2.7 MB that nobody reads cost little memory, and others are served meanwhile', async (t) => {
  const server = await startServer(t);
  await fill(server);
  const answerBytes = DiscoverResponse.encode(await discover(server, { service: 'large' })).finish().length;
  assert.ok(answerBytes > 2.5 * MIB, `${answerBytes}`);
  const before = memoryOf(server);
  const session = openSession(t, server.address);
  const request = framed(DiscoverRequest.encode(DiscoverRequest.fromPartial({ service: 'large' })).finish());
  const outcomes = new Map<string, number>();
  const count = (outcome: string): void => void outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  for (let i = 0; i < 2_000; i++) {
    const stream = session.request({
      ...{ ':method': 'POST', ':path': '/rollcall.v1.RegistryService/Discover' },
      ...{ 'content-type': 'application/grpc', te: 'trailers' },
    });
    stream.on('error', () => undefined);
    stream.on('response', (headers) => count(String(headers['grpc-status'] ?? 'begun')));
    stream.pause();
    stream.end(request);
  }
  // The calls that wait are refused after 10 s. Meanwhile another client is answered at once.
  const slowest = { ms: 0 };
  await eventually(async () => {
    const since = performance.now();
    await discover(server, { service: 'other' });
    slowest.ms = Math.max(slowest.ms, performance.now() - since);
    return (outcomes.get(String(status.RESOURCE_EXHAUSTED)) ?? 0) > 1_900;
  }, 25_000);
  const grown = memoryOf(server) - before;
  assert.ok(grown < 200 * MIB, `${grown} bytes`);
  assert.ok(slowest.ms < 5_000, `${slowest.ms} ms`);
  const answered = outcomes.get('begun')!;
  assert.equal(answered, Math.ceil((16 * MIB) / answerBytes));
  session.destroy();
  await eventually(async () => (await discover(server, { service: 'large' })).instances.length === 430);
});
