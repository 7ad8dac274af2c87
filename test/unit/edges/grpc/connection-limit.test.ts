import assert from 'node:assert/strict';
import { type EventEmitter, once } from 'node:events';
import { type ClientHttp2Session, connect, createServer, type Http2Server, type IncomingHttpHeaders } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { ConnectionLimit } from '../../../../src/edges/grpc/connection-limit.js';
import { SimProcess } from '../../../sim/process.js';
import { World } from '../../../sim/world.js';
import { eventually } from '../../../support/server.js';

const LIMIT = 2;

/** A server of two connections, whose answers to /peer have the status `status`. */
async function stage(t: TestContext) {
  const world = new World();
  const { clock } = new SimProcess(world);
  const answers = { status: '0' };
  const server: Http2Server = createServer();
  server.on('stream', (stream) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': answers.status }));
    stream.end();
  });
  const limit = new ConnectionLimit({ clock, limit: LIMIT, isForPeers: (path) => path === '/peer' });
  limit.guard(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const open = async (): Promise<ClientHttp2Session> => {
    const before = limit.size;
    const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    session.on('error', () => undefined);
    t.after(() => session.destroy());
    await once(session, 'connect');
    await eventually(() => limit.size === before + 1);
    return session;
  };
  return { world, limit, answers, open };
}

/** Calls a path; returns the status of gRPC, or the code of the error. */
async function call(session: ClientHttp2Session, path: string): Promise<string> {
  const stream = session.request({ ':path': path, ':method': 'POST' });
  let outcome = 'nothing';
  stream.on('trailers', (trailers: IncomingHttpHeaders) => (outcome = String(trailers['grpc-status'])));
  stream.on('error', (error: NodeJS.ErrnoException) => (outcome = error.message));
  stream.resume().end();
  await closed(stream);
  return outcome;
}

/** Waits for an end, whatever errors come with it. */
const closed = (one: EventEmitter): Promise<void> => new Promise((resolve) => void one.once('close', resolve));

test('A7: a connection beyond the limit is ended with its first call, and the others go on', async (t) => {
  const { limit, open } = await stage(t);
  const [first, second] = [await open(), await open()];
  const third = await open();
  assert.match(await call(third, '/client'), /NGHTTP2_REFUSED_STREAM/);
  await eventually(() => third.destroyed);
  await eventually(() => limit.size === LIMIT);
  assert.equal(await call(first, '/client'), '0');
  second.close();
  await eventually(() => limit.size === 1);
  assert.equal(await call(await open(), '/client'), '0', 'there is room again');
});

test('A7: a server of the cluster has its place beyond the limit once it has proven itself', async (t) => {
  const { limit, answers, open } = await stage(t);
  await open();
  await open();
  const peer = await open();
  assert.equal(await call(peer, '/peer'), '0');
  assert.equal(await call(peer, '/peer'), '0');
  answers.status = '16';
  const impostor = await open();
  assert.equal(await call(impostor, '/peer'), '16');
  await eventually(() => impostor.destroyed);
  await eventually(() => limit.size === LIMIT + 1);
});

test('A7: a connection beyond the limit that calls nothing is ended after 5 s', async (t) => {
  const { world, limit, open } = await stage(t);
  await open();
  await open();
  const idle = await open();
  await world.run(world.now + 4_900);
  assert.equal(limit.size, LIMIT + 1);
  await world.run(world.now + 200);
  await eventually(() => idle.destroyed);
  await eventually(() => limit.size === LIMIT);
});
