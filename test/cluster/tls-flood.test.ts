import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { get } from 'node:https';
import { test } from 'node:test';
import { credentials } from '@grpc/grpc-js';
import { authority } from '../support/certificates.js';
import { heartbeat, register } from '../support/client.js';
import { clientsOf, closeClients, startWith, temporaryFolder } from '../support/server.js';

const INSTANCES = 2_000;
const HANDSHAKES = 2_000;
const PER_BEAT = 500;
const TTL_SECONDS = 4;
const BEAT_EVERY_MS = 1_000;

/** Opens that many connections of TLS at once, and prints the number of handshakes that were finished. */
const FLOOD = `
const { connect } = require('node:tls');
const [port, count] = process.argv.slice(1).map(Number);
let finished = 0;
let over = 0;
const end = () => { if (++over === count) { console.log(finished); process.exit(0); } };
for (let i = 0; i < count; i++) {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] }, () => {
    finished++;
    socket.destroy();
  });
  socket.on('error', () => undefined);
  socket.on('close', end);
}`;

test(`while ${HANDSHAKES} handshakes come at once, ${INSTANCES} instances beat, and none of them expires`, async (t) => {
  const ca = await authority('flood');
  const pair = await ca.issue('server');
  const tls = ['--tls-cert', pair.certFile, '--tls-key', pair.keyFile];
  const server = await startWith(t, ['--data-dir', temporaryFolder(), ...tls], []);
  const clients = clientsOf(server.address, credentials.createSsl(Buffer.from(ca.cert)));
  t.after(() => closeClients(clients));
  const names = Array.from({ length: INSTANCES }, (_, i) => ({ service: `s${i % 50}`, id: `i${i}` }));
  const ttl = { seconds: BigInt(TTL_SECONDS), nanos: 0 };
  await Promise.all(
    names.map((name) => register(clients, { instance: { ...name, address: '10.0.0.1', port: 1, ttl } })),
  );
  const beats = Array.from({ length: INSTANCES / PER_BEAT }, (_, i) => names.slice(i * PER_BEAT, (i + 1) * PER_BEAT));
  let worstMs = 0;
  const beat = async (): Promise<void> => {
    const began = performance.now();
    const answers = await Promise.all(beats.map((instances) => heartbeat(clients, { instances })));
    worstMs = Math.max(worstMs, performance.now() - began);
    for (const { rejected } of answers) assert.deepEqual(rejected, []);
  };
  let over = false;
  const beating = (async () => {
    while (!over) {
      await beat();
      await new Promise((resolve) => setTimeout(resolve, BEAT_EVERY_MS));
    }
  })();
  const flood = spawn(process.execPath, ['-e', FLOOD, server.address.split(':')[1]!, String(HANDSHAKES)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let finished = '';
  flood.stdout.on('data', (chunk: Buffer) => (finished += chunk.toString()));
  await once(flood, 'exit');
  // What a stall of the server did would be seen once every ttl has passed.
  await new Promise((resolve) => setTimeout(resolve, TTL_SECONDS * 2_000));
  over = true;
  await beating;
  t.diagnostic(`${finished.trim()} handshakes; the slowest round of heartbeats took ${Math.round(worstMs)} ms`);
  assert.equal(Number(finished), HANDSHAKES);
  const metrics = await new Promise<string>((resolve, reject) => {
    get(`${server.url.replace('http:', 'https:')}/metrics`, { ca: ca.cert }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve(text));
    }).on('error', reject);
  });
  const [, verdicts] = /^rollcall_verdicts_total (\d+)$/m.exec(metrics)!;
  assert.equal(verdicts, '0');
});
