import assert from 'node:assert/strict';
import http from 'node:http';
import { test, type TestContext } from 'node:test';
import { Dispatcher } from '../../../../src/api/call/dispatcher.js';
import { Readiness } from '../../../../src/api/readiness.js';
import { systemRandom } from '../../../../src/base/random.js';
import { HttpEdge } from '../../../../src/edges/http/http-edge.js';
import { TrustedProxies } from '../../../../src/edges/wire/trusted-proxies.js';
import { processTelemetry } from '../../../../src/telemetry/telemetry.js';
import { ShiftedClock } from '../../../support/shifted-clock.js';

async function edgeOn(t: TestContext, clock: ShiftedClock): Promise<number> {
  const parts = { clock, random: systemRandom, telemetry: processTelemetry('warn', clock) };
  const edge = new HttpEdge({
    ...parts,
    dispatcher: new Dispatcher({ ...parts, streamAgeMs: 600_000, gates: [], observers: [] }),
    readiness: new Readiness({}),
    metrics: { contentType: 'text/plain', text: () => Promise.resolve('') },
    tls: undefined,
    proxies: new TrustedProxies([]),
    guard: { loopback: true, hosts: [], origins: [] },
    image: new Uint8Array(),
    version: '1',
  });
  t.after(() => edge.close());
  return edge.listen('127.0.0.1', 0);
}

test('the client of a connection that is half an hour old is asked to open another', async (t) => {
  const clock = new ShiftedClock();
  const port = await edgeOn(t, clock);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const ask = (): Promise<{ readonly local: number | undefined; readonly connection: string | undefined }> =>
    new Promise((resolve, reject) => {
      const request = http.get({ port, host: '127.0.0.1', path: '/version', agent }, (response) => {
        const { localPort: local } = response.socket;
        response.resume().on('end', () => resolve({ local, connection: response.headers.connection }));
      });
      request.on('error', reject);
    });
  const first = await ask();
  assert.equal(first.connection, 'keep-alive');
  clock.shiftMs = 1_700_000;
  assert.deepEqual(await ask(), first);
  clock.shiftMs = 1_900_000;
  assert.deepEqual(await ask(), { ...first, connection: 'close' });
  const next = await ask();
  assert.equal(next.connection, 'keep-alive');
  assert.notEqual(next.local, first.local);
});
