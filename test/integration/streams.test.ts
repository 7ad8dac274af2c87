import assert from 'node:assert/strict';
import { test } from 'node:test';
import { credentials } from '@grpc/grpc-js';
import { LIMITS } from '../../src/model/limits.js';
import { RegistryServiceClient } from '../support/clients.js';
import { discover } from '../support/client.js';
import { detailsOf, eventually, type ServerProcess, startServer } from '../support/server.js';

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
