import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessFile, callBy, callerWith, startWithAccess, waysTo } from '../support/access.js';
import { eventually, type ServerProcess } from '../support/server.js';

test('A7: one tenant that uses up its quota slows no other, and beats without a limit are never refused', async (t) => {
  const role = '{ role: admin, namespaces: ["*"] }';
  const [busy, quiet, watcher] = [callerWith('busy', role), callerWith('quiet', role), callerWith('watcher', role)];
  const quotas = `anonymous: [{ role: discoverer, namespaces: ["*"] }]
quotas:
  - { callers: ["token:busy"], calls-per-second: 20 }
  - { callers: ["token:watcher"], watches: 2, beats-per-second: 5 }
  - { callers: [anonymous], calls-per-second: 10 }
`;
  const server = await startWithAccess(t, accessFile([busy, quiet, watcher], quotas));
  const ways = waysTo(server, server);
  const instance = { service: 'pay', id: 'i', address: '10.0.0.1', port: 1, ttl: '60s' };
  assert.equal((await callBy(ways['Connect']!, 'Register', { instance }, quiet.token)).reason, '');
  for (const way of [ways['gRPC, lean']!, ways['Connect']!, ways['gRPC-web']!]) {
    const busily = await Promise.all(
      Array.from({ length: 200 }, () => callBy(way, 'Discover', { service: 'pay' }, busy.token)),
    );
    assert.ok(busily.some(({ reason }) => reason === 'RATE_LIMITED'));
    assert.equal((await callBy(way, 'Discover', { service: 'pay' }, quiet.token)).reason, '');
    const beats = await Promise.all(
      Array.from({ length: 100 }, () =>
        callBy(way, 'Heartbeat', { instances: [{ service: 'pay', id: 'i' }] }, busy.token),
      ),
    );
    assert.deepEqual(
      new Set(beats.map(({ reason, answer }) => reason + JSON.stringify(answer['rejected'] ?? ''))),
      new Set(['""']),
    );
    const strangers = await Promise.all(
      Array.from({ length: 100 }, () => callBy(way, 'Discover', { service: 'pay' }, undefined)),
    );
    assert.ok(strangers.some(({ reason }) => reason === 'RATE_LIMITED'));
  }
  const limited = await Promise.all(
    Array.from({ length: 30 }, () =>
      callBy(ways['Connect']!, 'Heartbeat', { instances: [{ service: 'pay', id: 'i' }] }, watcher.token),
    ),
  );
  const counted = limited.filter(({ reason }) => reason === '').length;
  assert.ok(counted >= 10 && counted < 30, String(counted));
  const watches = await Promise.all(
    Array.from({ length: 5 }, async () =>
      callBy(ways['gRPC, lean']!, 'WatchServices', { services: ['pay'] }, watcher.token),
    ),
  );
  assert.ok(watches.some(({ reason }) => reason === '') && watches.some(({ reason }) => reason === 'RATE_LIMITED'));
  await eventually(async () => {
    const { reason } = await callBy(ways['gRPC, lean']!, 'WatchServices', { services: ['pay'] }, watcher.token);
    return reason === '';
  });
  const refused = await eventually(async () => {
    const response = await fetch(`${server.url}/v1/services`, { headers: { authorization: `Bearer ${busy.token}` } });
    return response.status === 429 ? response : undefined;
  });
  assert.equal(refused.headers.get('retry-after'), '1');
});

test('A7: behind a proxy that is trusted each client has its own quota, and no client can pass for another', async (t) => {
  const root = callerWith('root', '{ role: admin, namespaces: ["*"] }');
  const quotas = `anonymous: [{ role: discoverer, namespaces: ["*"] }]
quotas: [{ callers: [anonymous], calls-per-second: 1 }]
`;
  const file = accessFile([root], quotas);
  const behind = await startWithAccess(t, file, '--trusted-proxies', '127.0.0.0/8');
  const alone = await startWithAccess(t, file);
  const ask = (server: ServerProcess, client: string): Promise<number> =>
    fetch(`${server.url}/v1/services`, { headers: { 'x-forwarded-for': client } }).then(({ status }) => status);
  const many = (server: ServerProcess, clientOf: (i: number) => string): Promise<number[]> =>
    Promise.all(Array.from({ length: 20 }, (_, i) => ask(server, clientOf(i))));
  assert.deepEqual(new Set(await many(behind, (i) => `192.0.2.${i}`)), new Set([200]));
  assert.ok((await many(behind, (i) => `192.0.2.${i}, 203.0.113.1`)).includes(429), 'the proxy saw one client');
  assert.ok((await many(alone, (i) => `192.0.2.${i}`)).includes(429), 'no proxy is trusted');
  const overGrpc = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      callBy(waysTo(behind, behind)['gRPC, lean']!, 'Discover', { service: 'a' }, undefined, {
        'x-forwarded-for': `198.51.100.${i}`,
      }),
    ),
  );
  assert.deepEqual(new Set(overGrpc.map(({ reason }) => reason)), new Set(['']));
});
