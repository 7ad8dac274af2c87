import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { credentials } from '@grpc/grpc-js';
import { Health } from '../../src/gen/rollcall/v1/instance.js';
import { authority, type Certificate, type TestAuthority } from '../support/certificates.js';
import { getInstance, getStatus, heartbeat, register } from '../support/client.js';
import { type EtcdCluster, startEtcd } from '../support/etcd.js';
import { type Clients, clientsOf, closeClients, eventually, startServerOn } from '../support/server.js';

const TTL_MS = 3_000;
/** The grace after the start of the servers, the ttl, and what a busy machine is granted. */
const FOUND_MS = 90_000;
const PAY = { service: 'pay', id: 'p1' };

async function start(
  t: TestContext,
  etcd: EtcdCluster,
  ca: TestAuthority,
  pair: Certificate,
  ...args: string[]
): Promise<Clients> {
  const tls = ['--tls-cert', pair.certFile, '--tls-key', pair.keyFile, '--tls-client-ca', ca.certFile];
  const { address } = await startServerOn(t, etcd.endpoints, ...tls, ...args);
  // The tests reach each server by its address, whatever names its certificate has.
  const creds = credentials.createSsl(Buffer.from(pair.trust), null, null, { checkServerIdentity: () => undefined });
  const clients = clientsOf(address, creds);
  t.after(() => closeClients(clients));
  return clients;
}

const registerPay = (server: Clients): Promise<unknown> => {
  const ttl = { seconds: BigInt(TTL_MS / 1_000), nanos: 0 };
  return register(server, { instance: { ...PAY, address: '10.0.0.1', port: 1, ttl } });
};

const healthOf = async (server: Clients): Promise<Health> => (await getInstance(server, PAY)).instance!.health;

const unreachableOf = async (server: Clients): Promise<number> =>
  (await getStatus(server)).cluster!.replicas.filter(({ unreachable }) => unreachable).length;

for (const name of [undefined, 'rollcall.test'])
  test(`members that verify one another by ${name ?? 'the advertised host'} find a dead instance, over TLS to etcd too`, async (t) => {
    const ca = await authority('cluster');
    const etcd = await startEtcd(t, { tls: { ca, own: await ca.issue('etcd') } });
    const alternatives = name === undefined ? undefined : [{ type: 'dns' as const, value: name }];
    const pairs = await Promise.all(
      [1, 2, 3].map((n) => ca.issue(`server-${n}`, { ...(alternatives && { alternatives }) })),
    );
    const toEtcd = await ca.issue('to-etcd');
    const args = ['--etcd-ca', ca.certFile, '--etcd-cert', toEtcd.certFile, '--etcd-key', toEtcd.keyFile];
    const more = name === undefined ? [] : ['--peer-name', name];
    const members = await Promise.all(pairs.map((pair) => start(t, etcd, ca, pair, ...args, ...more)));
    await registerPay(members[0]!);
    for (const member of members)
      await eventually(async () => (await healthOf(member)) === Health.HEALTH_UNHEALTHY, FOUND_MS);
    assert.deepEqual(await Promise.all(members.map(unreachableOf)), [0, 0, 0]);
  });

test('a member with the certificate of another authority counts as one that does not answer: nobody expires', async (t) => {
  const ca = await authority('cluster');
  const stranger = await authority('stranger');
  const etcd = await startEtcd(t);
  const first = await start(t, etcd, ca, await ca.issue('server-1'));
  await start(t, etcd, ca, await stranger.issue('server-2'));
  await registerPay(first);
  await heartbeat(first, { instances: [PAY] });
  await eventually(async () => (await unreachableOf(first)) === 1, FOUND_MS);
  // Beyond the time at which it would have been found: one ttl, and the rounds of the judge.
  await new Promise((resolve) => setTimeout(resolve, 2 * TTL_MS));
  assert.equal(await healthOf(first), Health.HEALTH_HEALTHY);
});
