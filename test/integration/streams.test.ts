import assert from 'node:assert/strict';
import { constants } from 'node:http2';
import { test } from 'node:test';
import { credentials } from '@grpc/grpc-js';
import { WatchConfigRequest } from '../../src/gen/rollcall/v1/config_service.js';
import { LIMITS } from '../../src/model/limits.js';
import { RegistryServiceClient } from '../support/clients.js';
import { discover, getStatus, publishConfig, text } from '../support/client.js';
import {
  detailsOf,
  eventually,
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
