import assert from 'node:assert/strict';
import { createServer } from 'node:http2';
import { test } from 'node:test';
import { Server } from '@grpc/grpc-js';
import { systemClock } from '../../../../src/base/clock.js';
import { systemRandom } from '../../../../src/base/random.js';
import { http2ServersOf } from '../../../../src/edges/grpc/http2-servers.js';
import { TrustedProxies } from '../../../../src/edges/wire/trusted-proxies.js';
import { LeanUnary } from '../../../../src/edges/grpc/lean-unary.js';

const lean = (): LeanUnary =>
  new LeanUnary({
    clock: systemClock,
    random: systemRandom,
    proxies: new TrustedProxies([]),
    dispatcher: undefined as never,
  });

test('grpc-js keeps its HTTP/2 servers where they are looked for, and a version that does not is left alone', () => {
  const server = new Server();
  assert.deepEqual(http2ServersOf(server), [], 'none before it listens');
  assert.ok((server as unknown as { http2Servers: unknown }).http2Servers instanceof Map);
  assert.deepEqual(http2ServersOf({} as Server), []);
  assert.deepEqual(http2ServersOf({ http2Servers: [1] } as unknown as Server), []);
});

test('a server that listens otherwise than expected is left to grpc-js', () => {
  const http2Server = createServer();
  assert.equal(lean().takeOver(http2Server), false, 'no listener');
  const [first, second] = [() => undefined, () => undefined];
  http2Server.on('stream', first);
  http2Server.on('stream', second);
  assert.equal(lean().takeOver(http2Server), false, 'two listeners');
  assert.deepEqual(http2Server.listeners('stream'), [first, second]);
  http2Server.removeListener('stream', second);
  assert.equal(lean().takeOver(http2Server), true);
  assert.equal(http2Server.listeners('stream').length, 1);
  assert.notEqual(http2Server.listeners('stream')[0], first);
});
