import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { credentials, type ServiceError } from '@grpc/grpc-js';
import type { GetStatusResponse } from '../../src/gen/rollcall/v1/admin_service.js';
import {
  GetStoreStatusRequest,
  HandOverRequest,
  LastHeardRequest,
  PeerServiceDefinition,
} from '../../src/gen/rollcall/peer/v1/peer_service.js';
import { Health } from '../../src/gen/rollcall/v1/instance.js';
import { getInstance, getStatus, heartbeat, register } from '../support/client.js';
import { startEtcd } from '../support/etcd.js';
import { clientOf } from '../support/grpc-client.js';
import {
  call,
  detailsOf,
  eventually,
  failure,
  onEtcd,
  type ServerProcess,
  startServerOn,
  startWith,
} from '../support/server.js';

const WITHOUT_PROOFS = new URL('../support/without-proofs.js', import.meta.url).pathname;
/** The grace after an unclean departure, the lease, the ttl, and what a busy machine is granted. */
const FOUND_MS = 120_000;
const PAY = { service: 'pay', id: 'p1' };
const PeerServiceClient = clientOf(PeerServiceDefinition);

const healthOf = async (server: ServerProcess): Promise<Health> => (await getInstance(server, PAY)).instance!.health;

const statusOf = async (server: ServerProcess): Promise<NonNullable<GetStatusResponse['cluster']>> =>
  (await getStatus(server)).cluster!;

const registerPay = (server: ServerProcess): Promise<unknown> =>
  register(server, { instance: { ...PAY, address: '10.0.0.1', port: 1, ttl: { seconds: 2n, nanos: 0 } } });

test('A1: no client may ask what members ask one another, and what it sends is not noted', async (t) => {
  const etcd = await startEtcd(t);
  const servers = [await startServerOn(t, etcd.endpoints), await startServerOn(t, etcd.endpoints)];
  const [first] = servers as [ServerProcess];
  await registerPay(first);
  const { self, replicas } = await statusOf(first);
  const { epoch } = replicas.find(({ id }) => id === self)!;
  const to = { id: self, epoch };
  const client = new PeerServiceClient(first.address, credentials.createInsecure());
  t.after(() => client.close());
  const note = { namespace: 'default', ...PAY, incarnation: 'x', revision: 1n };
  const asked: [string, object][] = [
    ['lastHeard', LastHeardRequest.fromPartial({ to, queries: [], promise: true })],
    ['handOver', HandOverRequest.fromPartial({ to, notes: [note] })],
    ['getStoreStatus', GetStoreStatusRequest.fromPartial({ to, from: self })],
  ];
  for (const [method, request] of asked) {
    const error: ServiceError = await failure(call(client, method, request));
    assert.deepEqual([method, error.code, detailsOf(error).reason], [method, 16, 'PEER_NOT_PROVEN']);
  }
  for (const server of servers)
    await eventually(async () => (await healthOf(server)) === Health.HEALTH_UNHEALTHY, FOUND_MS);
});

async function startOld(t: TestContext, endpoints: readonly string[]): Promise<ServerProcess> {
  // `env` puts the flag of Node before the program.
  return startWith(t, onEtcd(endpoints), ['env', `NODE_OPTIONS=--import=${WITHOUT_PROOFS}`]);
}

test('A1: beside a server of a version without proofs nobody expires, and verdicts flow when it has been replaced', async (t) => {
  const etcd = await startEtcd(t);
  const [first, second] = [await startServerOn(t, etcd.endpoints), await startServerOn(t, etcd.endpoints)];
  const old = await startOld(t, etcd.endpoints);
  await registerPay(first);
  await heartbeat(old, { instances: [PAY] });
  for (const server of [first, second])
    await eventually(async () => (await statusOf(server)).replicas.some(({ unreachable }) => unreachable), FOUND_MS);
  // The ttl has passed, and the judge has asked in vain.
  const unanswered = async ({ url }: ServerProcess): Promise<number> => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    return Number(/^rollcall_rounds_unanswered_total (\d+)$/m.exec(metrics)?.[1] ?? 0);
  };
  await eventually(
    async () => (await unanswered(first)) + (await unanswered(second)) + (await unanswered(old)) > 3,
    FOUND_MS,
  );
  assert.deepEqual([await healthOf(first), await healthOf(second)], [Health.HEALTH_HEALTHY, Health.HEALTH_HEALTHY]);
  await old.stop();
  await startServerOn(t, etcd.endpoints);
  for (const server of [first, second])
    await eventually(async () => (await healthOf(server)) === Health.HEALTH_UNHEALTHY, FOUND_MS);
});
