import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { Health } from '../../src/gen/rollcall/v1/instance.js';
import {
  deregister,
  discover,
  getStatus,
  heartbeat,
  listServices,
  register,
  releaseProtection,
  ServicesView,
  watchServices,
} from '../support/client.js';
import { detailsOf, eventually, failure, type ServerProcess, startServer } from '../support/server.js';

const IDS = ['p0', 'p1', 'p2', 'p3', 'p4', 'p5'];
const beat = (server: ServerProcess, ids: readonly string[]): ReturnType<typeof heartbeat> =>
  heartbeat(server, { instances: ids.map((id) => ({ service: 'pay', id })) });

/** A server with a service that has just fallen silent as a whole. */
async function withSilentService(t: Parameters<typeof startServer>[0]): Promise<ServerProcess> {
  const server = await startServer(t);
  for (const id of IDS)
    await register(server, { instance: { service: 'pay', id, address: '10.0.0.7', ttl: { seconds: 2n, nanos: 0 } } });
  return server;
}

/** The ids that a watch shows after everything that has come on it. */
function viewOf({ messages }: ReturnType<typeof watchServices>): string[] {
  const view = new ServicesView();
  for (const message of messages) view.apply(message);
  return [...view.instances.values()].map(({ id }) => id).sort();
}

test('E4: a service that falls silent as a whole is still discovered, says so everywhere, and heals', async (t) => {
  const server = await withSilentService(t);
  const watch = watchServices(server, { services: ['pay'] });
  const noted = await watch.seen(({ services }) => services.some(({ protection }) => protection !== undefined));
  await watch.reached(noted.services[0]!.protection!.revision);
  assert.deepEqual(viewOf(watch), IDS);

  // The last of them may fall silent a moment after the protection began.
  const found = await eventually(async () => {
    const answer = await discover(server, { service: 'pay' });
    return answer.protection?.unhealthyCount === IDS.length ? answer : undefined;
  });
  assert.deepEqual([found.instances.map(({ id }) => id), found.hiddenCount], [IDS, 0]);
  for (const { health } of found.instances) assert.equal(health, Health.HEALTH_UNHEALTHY);
  const { revision, since, unhealthyCount, totalCount } = found.protection!;
  assert.deepEqual([unhealthyCount, totalCount], [6, 6]);
  assert.ok(revision > found.instances[0]!.revision && since!.seconds > 0n);
  const asked = await discover(server, { service: 'pay', filter: { healthStates: [Health.HEALTH_HEALTHY] } });
  assert.deepEqual([asked.instances, asked.hiddenCount, asked.protection?.revision], [[], 6, revision]);

  const [summary] = (await listServices(server)).services;
  assert.deepEqual([summary?.unhealthyCount, summary?.protection?.revision], [6, revision]);
  const { protectedServices, counts, alarms } = await getStatus(server);
  assert.deepEqual([protectedServices.map(({ service }) => service), counts?.protectedServices], [['pay'], 1]);
  assert.equal(alarms.find(({ name }) => name === 'PROTECTION')?.message.includes('default/pay'), true);

  // A watch that resumes from before it gets the instances and the note as well.
  const resumed = watchServices(server, { services: ['pay'], resumeToken: watch.messages[0]!.resumeToken });
  await resumed.seen(({ services }) => services[0]?.protection?.revision === revision);

  const beating = setInterval(() => void beat(server, IDS), 500);
  t.after(() => clearInterval(beating));
  const ended = await eventually(async () => {
    const answer = await discover(server, { service: 'pay' });
    return answer.protection === undefined ? answer : undefined;
  });
  assert.deepEqual(
    ended.instances.map(({ health }) => health),
    IDS.map(() => Health.HEALTH_HEALTHY),
  );
  await watch.reached(ended.revision);
  const last = watch.messages.findLast(({ services }) => services.length > 0)!;
  assert.deepEqual([last.services[0]?.protection, viewOf(watch)], [undefined, IDS]);
  const { protectedServices: none, alarms: cleared } = await getStatus(server);
  assert.deepEqual([none, cleared], [[], []]);
  watch.close();
  resumed.close();
});

test('E4: ReleaseProtection hides what is UNHEALTHY again, and Deregister works while protected', async (t) => {
  const server = await withSilentService(t);
  const early = await failure(releaseProtection(server, { service: 'pay' }));
  assert.deepEqual([early.code, detailsOf(early).reason], [status.FAILED_PRECONDITION, 'NOT_PROTECTED']);
  await eventually(async () => (await discover(server, { service: 'pay' })).protection);
  await deregister(server, { service: 'pay', id: 'p5' });
  const left = IDS.slice(0, 5);
  const before = await discover(server, { service: 'pay' });
  assert.deepEqual([before.instances.map(({ id }) => id), before.protection?.totalCount], [left, 5]);

  const watch = watchServices(server, { services: ['pay'] });
  await watch.reached(before.revision);
  const { revision } = await releaseProtection(server, { service: 'pay', author: 'ops' });
  const after = await discover(server, { service: 'pay', minRevision: revision });
  assert.deepEqual([after.instances, after.hiddenCount, after.protection], [[], 5, undefined]);
  await watch.reached(revision);
  assert.deepEqual(viewOf(watch), []);
  assert.equal((await releaseProtection(server, { service: 'pay' })).revision, revision);
  assert.deepEqual((await getStatus(server)).alarms, []);
  watch.close();
});
