import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:http2';
import { connect as connectSocket, type Socket } from 'node:net';
import { test, type TestContext } from 'node:test';
import { credentials } from '@grpc/grpc-js';
import { accessFile, callBy, callerWith, startWithAccess, waysTo } from '../support/access.js';
import { Fleet } from '../support/fleet.js';
import { eventually, pause, type ServerProcess } from '../support/server.js';

const SERVICES = 5;
const PER_SERVICE = 20;
const TTL_MS = 3_000;
/** How long a flood lasts at least: beyond the time after which an instance that is not heard counts as silent. */
const FLOOD_MS = 2 * TTL_MS;
const STREAMS_TOGETHER = 500;
const IDLE_CONNECTIONS = 2_000;

const root = callerWith('root', '{ role: admin, namespaces: ["*"] }');

/** A server with instances that beat. */
async function stage(t: TestContext): Promise<{ server: ServerProcess; allAreShown: () => Promise<void> }> {
  const quotas = 'anonymous: [{ role: service, namespaces: ["*"], services: ["*"] }]\n';
  const server = await startWithAccess(t, accessFile([root], quotas));
  const fleet = new Fleet([{ address: server.address, creds: credentials.createInsecure() }], {
    services: SERVICES,
    perService: PER_SERVICE,
    ttlMs: TTL_MS,
    choice: 'sticky',
  });
  t.after(() => fleet.close());
  await fleet.start();
  const allAreShown = async (): Promise<void> => {
    assert.deepEqual(fleet.rejected, []);
    for (const service of fleet.services) {
      const { answer } = await callBy(waysTo(server, server)['Connect']!, 'Discover', { service }, root.token);
      assert.equal((answer['instances'] as unknown[]).length, PER_SERVICE);
    }
    const headers = { authorization: `Bearer ${root.token}` };
    const metrics = await (await fetch(`${server.url}/metrics`, { headers })).text();
    assert.match(metrics, /^rollcall_verdicts_total 0$/m);
  };
  return { server, allAreShown };
}

/** Opens a connection and sends the preface of HTTP/2 with empty settings. */
async function rawHttp2({ address }: ServerProcess): Promise<Socket> {
  const [host, port] = address.split(':');
  const socket = connectSocket(Number(port), host);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.resume();
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(frame(SETTINGS, 0, 0, Buffer.alloc(0)));
  return socket;
}

/** Types of frames: RFC 9113, section 6. */
const [HEADERS, SETTINGS, CONTINUATION] = [1, 4, 9];

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

test('A7: streams that are opened and reset at once do not keep others from beating', async (t) => {
  const { server, allAreShown } = await stage(t);
  const until = performance.now() + FLOOD_MS;
  let opened = 0;
  while (performance.now() < until) {
    const session = connect(`http://${server.address}`);
    session.on('error', () => undefined);
    await once(session, 'connect');
    for (let i = 0; i < STREAMS_TOGETHER && !session.destroyed && !session.closed; i++, opened++) {
      const stream = session.request({ ':method': 'POST', ':path': '/rollcall.v1.RegistryService/Discover' });
      stream.on('error', () => undefined);
      stream.close(8); // CANCEL
    }
    await pause(5);
    session.destroy();
  }
  assert.ok(opened > 10 * STREAMS_TOGETHER, String(opened));
  await allAreShown();
});

test('A7: headers that do not end are cut off, and others go on beating', async (t) => {
  const { server, allAreShown } = await stage(t);
  const until = performance.now() + FLOOD_MS;
  let cut = 0;
  while (performance.now() < until) {
    const socket = await rawHttp2(server);
    // ":method: POST" from the table of HPACK, and then endless headers of random names.
    socket.write(frame(HEADERS, 0, 1, Buffer.from([0x83])));
    while (!socket.destroyed && socket.writable) {
      if (!socket.write(frame(CONTINUATION, 0, 1, Buffer.concat(HEADER_LINES)))) await pause(1);
      if (performance.now() > until + FLOOD_MS) break;
    }
    assert.ok(socket.destroyed || !socket.writable, 'the connection was cut');
    cut++;
  }
  assert.ok(cut > 0);
  await allAreShown();
});

/** Literal headers without indexing, each with a name and a value of 20 bytes. */
const HEADER_LINES = Array.from({ length: 100 }, (_, i) => {
  const text = Buffer.from(`x-${String(i).padStart(18, '0')}`);
  return Buffer.concat([Buffer.from([0, text.length]), text, Buffer.from([text.length]), text]);
});

test('A7: thousands of connections that say nothing keep nobody from beating', async (t) => {
  const { server, allAreShown } = await stage(t);
  const sockets: Socket[] = [];
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  for (let i = 0; i < IDLE_CONNECTIONS; i++) sockets.push(await rawHttp2(server));
  await pause(FLOOD_MS);
  await allAreShown();
  sockets.splice(0).forEach((socket) => socket.destroy());
  await eventually(async () => {
    const headers = { authorization: `Bearer ${root.token}` };
    const text = await (await fetch(`${server.url}/metrics`, { headers })).text();
    return Number(/^rollcall_grpc_connections (\d+)$/m.exec(text)?.[1]) < 10;
  });
});
