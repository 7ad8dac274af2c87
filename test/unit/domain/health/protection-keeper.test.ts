import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Catalog } from '../../../../src/catalog/catalog.js';
import { Commits } from '../../../../src/catalog/commits.js';
import { InstanceRecord } from '../../../../src/gen/rollcall/storage/v1/records.js';
import { Health, Liveness, RemovalReason, ReportedState } from '../../../../src/gen/rollcall/v1/instance.js';
import type { Protection as Shown } from '../../../../src/gen/rollcall/v1/protection.js';
import { ProtectionKeeper } from '../../../../src/domain/health/protection-keeper.js';
import type { RollcallError } from '../../../../src/model/errors.js';
import { instanceKey, writeInstance } from '../../../../src/model/instance.js';
import { BARRIER_KEY } from '../../../../src/model/keys.js';
import { EXPIRY_TTLS } from '../../../../src/model/limits.js';
import { protectionKey } from '../../../../src/model/protection.js';
import { matcher } from '../../../../src/domain/registry/filter.js';
import { SimProcess, tallyingTelemetry } from '../../../sim/process.js';
import { World } from '../../../sim/world.js';
import { MemoryStore } from '../../../support/memory-store.js';
import { Stage } from '../../../support/stage.js';

const TTL_S = 2;
const TTL_MS = TTL_S * 1_000;
/** A verdict, the record that protects, and what the store takes for both. */
const SOON_MS = 600;
const LEAVE_AFTER_MS = 5_000;
const MINUTE_MS = 60_000;
/** After a listing every ttl begins anew. */
const GRACE_MS = 30_000;
/** Every id beats so often. */
const BEAT_MS = 500;

const idsFrom = (first: number, count: number): string[] => Array.from({ length: count }, (_, i) => `p${first + i}`);

/** A service of so many instances, of which the first `beating` are kept alive by beats that `rest` can end. */
class Service {
  readonly ids: string[];
  beating: Set<string>;

  private constructor(
    readonly stage: Stage,
    count: number,
    beating: number,
  ) {
    this.ids = idsFrom(0, count);
    this.beating = new Set(idsFrom(0, beating));
  }

  static async of(count: number, beating: number, stage?: Stage): Promise<Service> {
    const service = new Service(stage ?? (await Stage.ready()), count, beating);
    await service.stage.until(Promise.all(service.ids.map((id) => service.stage.register({ id, ttlS: TTL_S }))));
    const beat = (): void => {
      for (const id of service.beating) void service.stage.beat({ id });
      service.stage.world.in(BEAT_MS, beat);
    };
    beat();
    return service;
  }

  /** What Discover answers. */
  get discovered(): { ids: string[]; hidden: number; protection: Shown | undefined } {
    const { instances, hiddenCount, protection } = this.stage.replica.discovery.discover(
      'default',
      'pay',
      matcher(undefined),
      undefined,
    );
    return { ids: instances.map(({ id }) => id), hidden: hiddenCount, protection };
  }

  get isProtected(): boolean {
    return this.discovered.protection !== undefined;
  }

  get silentCount(): number {
    return this.ids.filter((id) => this.stage.isSilent(id)).length;
  }

  get liveCount(): number {
    return this.ids.filter((id) => this.stage.instance(id)).length;
  }

  release(author = 'ops'): Promise<bigint> {
    return this.stage.replica.protection.release('default', 'pay', author);
  }
}

test('E4: when more than half of a service falls silent, Discover and watches go on showing it and say so', async () => {
  const service = await Service.of(8, 3);
  const { stage } = service;
  const reader = stage.watch();
  await stage.untilTrue(() => service.isProtected, TTL_MS + SOON_MS);
  await stage.turns();
  assert.equal(service.silentCount, 5);
  assert.deepEqual([service.discovered.ids, service.discovered.hidden], [service.ids, 0]);
  const { revision, unhealthyCount, totalCount } = service.discovered.protection!;
  assert.deepEqual([unhealthyCount, totalCount], [5, 8]);
  assert.equal(stage.instance('p7')?.health, Health.HEALTH_UNHEALTHY, 'recorded truthfully all the same');

  assert.deepEqual([...reader.view.keys()].sort(), service.ids);
  const note = reader.last.services.find((one) => one.service === 'pay');
  assert.deepEqual([note?.protection?.revision, note?.protection?.unhealthyCount, note?.hiddenCount], [revision, 5, 0]);
  assert.ok(reader.last.revision >= revision);
  assert.deepEqual([stage.count('protections_entered'), stage.count('PROTECTION')], [1, 1]);
});

test('E4: neither half of a service nor three of it are enough', async () => {
  for (const [count, beating] of [
    [8, 4],
    [3, 0],
    [4, 1],
  ] as const) {
    const service = await Service.of(count, beating);
    const silent = count - beating;
    await service.stage.untilTrue(() => service.silentCount === silent, TTL_MS + SOON_MS);
    await service.stage.pass(2_000);
    assert.equal(service.isProtected, false, `${silent} of ${count}`);
    assert.equal(service.discovered.hidden, silent);
  }
});

test('E4: what starts or drains is neither counted as unhealthy nor shown', async () => {
  const service = await Service.of(5, 1);
  const { stage } = service;
  const report = async (id: string, state: ReportedState): Promise<void> => {
    const beat = { namespace: 'default', service: 'pay', id, incarnation: undefined, reported: { state, note: '' } };
    await stage.until(Promise.resolve(stage.replica.heartbeats.receive([beat])));
  };
  for (const id of service.ids) await report(id, ReportedState.REPORTED_STATE_STARTING);
  assert.equal(service.discovered.hidden, 5);
  assert.equal(service.isProtected, false, 'a deployment is no disaster');
  await report('p0', ReportedState.REPORTED_STATE_DRAINING);
  await stage.untilTrue(() => service.isProtected, TTL_MS + SOON_MS);
  assert.deepEqual(service.discovered.ids, ['p1', 'p2', 'p3', 'p4']);
  assert.equal(service.discovered.hidden, 1);
});

test('E4: a protection ends when few enough have been unhealthy for 5 s, and watches hide the rest', async () => {
  const service = await Service.of(8, 2);
  const { stage } = service;
  const reader = stage.watch();
  await stage.untilTrue(() => service.isProtected, TTL_MS + SOON_MS);
  // Four of eight are below where it begins, and not below where it ends.
  service.beating = new Set(idsFrom(0, 4));
  await stage.pass(3 * LEAVE_AFTER_MS);
  assert.deepEqual([service.silentCount, service.isProtected], [4, true]);
  service.beating = new Set(idsFrom(0, 6));
  await stage.untilTrue(() => service.silentCount === 2, SOON_MS + BEAT_MS);
  const endedAfter = await stage.untilTrue(() => !service.isProtected, LEAVE_AFTER_MS + SOON_MS);
  assert.ok(endedAfter >= LEAVE_AFTER_MS - 10, `after ${endedAfter} ms`);
  await stage.turns();
  assert.deepEqual(service.discovered, { ids: idsFrom(0, 6), hidden: 2, protection: undefined });
  assert.deepEqual([...reader.view.keys()].sort(), idsFrom(0, 6));
  const [note] = reader.last.services;
  assert.deepEqual([note?.protection, note?.hiddenCount], [undefined, 2]);
  assert.deepEqual([stage.count('protections_released'), stage.count('PROTECTION cleared')], [1, 1]);
});

test('E4: a relapse within the 5 s begins them again', async () => {
  const service = await Service.of(8, 2);
  const { stage } = service;
  await stage.untilTrue(() => service.isProtected, TTL_MS + SOON_MS);
  for (let i = 0; i < 3; i++) {
    service.beating = new Set(service.ids);
    await stage.untilTrue(() => service.silentCount === 0, SOON_MS + BEAT_MS);
    service.beating = new Set(idsFrom(0, 2));
    await stage.untilTrue(() => service.silentCount === 6, TTL_MS + BEAT_MS + SOON_MS);
  }
  assert.equal(service.isProtected, true);
  assert.deepEqual([stage.count('protections_entered'), stage.count('protections_released')], [1, 0]);
});

test('E4: a protection outlives a restart, and ends when its instances are gone', async () => {
  const service = await Service.of(5, 0);
  const { stage } = service;
  await stage.untilTrue(() => service.isProtected, TTL_MS + SOON_MS);
  const { revision } = service.discovered.protection!;
  await stage.start();
  assert.equal(service.discovered.protection?.revision, revision);
  assert.deepEqual(service.discovered.ids, service.ids);
  for (const id of service.ids) await stage.until(stage.deregister({ id }));
  assert.equal(service.liveCount, 0, 'an explicit Deregister works while protected');
  await stage.untilTrue(() => ![...stage.replica.catalog.protections.live()].length, LEAVE_AFTER_MS + SOON_MS);
});

test('E4: a record that the store did not take is written again, and so is one that cannot be read', async () => {
  const service = await Service.of(8, 3);
  const { stage } = service;
  await stage.pass(TTL_MS / 2);
  await stage.write({ kind: 'put', key: protectionKey('default', 'pay'), value: new Uint8Array([0xff]) });
  const commit = stage.store.commit.bind(stage.store);
  let failures = 0;
  stage.store.commit = (txn) => {
    const isProtection = txn.writes.some(({ key }) => key === protectionKey('default', 'pay'));
    if (!isProtection || failures++ > 2) return commit(txn);
    return Promise.reject(new Error('the store does not answer'));
  };
  await stage.untilTrue(() => service.isProtected, TTL_MS + 10_000);
  assert.ok(failures > 2);
});

test('E4: a record of a protection that cannot be read does not keep the dead', async () => {
  const service = await Service.of(8, 7);
  await service.stage.write({ kind: 'put', key: protectionKey('default', 'pay'), value: new Uint8Array([0xff]) });
  await service.stage.untilTrue(() => service.liveCount === 7, TTL_MS * (1 + EXPIRY_TTLS) + SOON_MS);
});

test('E4: a record of a protection that could not be read, and is gone, does not keep the dead either', async () => {
  const service = await Service.of(8, 7);
  const { stage } = service;
  const key = protectionKey('default', 'pay');
  await stage.write({ kind: 'put', key, value: new Uint8Array([0xff]) });
  await stage.pass(100);
  assert.equal(stage.count('BAD_RECORD'), 1);
  const release = stage.holdWatch();
  await stage.write({ kind: 'put', key: BARRIER_KEY, value: new Uint8Array() });
  await stage.write({ kind: 'delete', key });
  stage.store.compactAll(); // it is listed anew, and nobody is told of the deletion
  release();
  await stage.untilTrue(() => stage.count('BAD_RECORD cleared') === 1, 1_000);
  await stage.untilTrue(() => service.liveCount === 7, GRACE_MS + TTL_MS * (1 + EXPIRY_TTLS) + SOON_MS);
});

/** What decides about protection, over a catalog that holds so many instances of one kind, and what it has written. */
function overInstances(count: number, instance: object, judges: () => boolean): { writes: () => number; world: World } {
  const world = new World();
  const process = new SimProcess(world);
  const store = new MemoryStore(process.clock);
  const telemetry = tallyingTelemetry(new Map());
  const catalog = new Catalog({ clock: process.clock, telemetry });
  const random = { id: () => 'w', fraction: () => 0.5 };
  const commits = new Commits({ store, catalog, clock: process.clock, random, counters: telemetry.counters });
  new ProtectionKeeper({ catalog, commits, clock: process.clock, telemetry, judges }).start();
  let writes = 0;
  store.onCommit = () => void writes++;
  const entries = idsFrom(0, count).map((id, i) => ({
    key: instanceKey('default', 'pay', id),
    value: writeInstance(
      InstanceRecord.fromPartial({ writeId: 'w', instance: { namespace: 'default', service: 'pay', id, ...instance } }),
    ),
    ...{ modRevision: BigInt(i + 1), createRevision: BigInt(i + 1) },
  }));
  catalog.replace(BigInt(count), entries);
  return { writes: () => writes, world };
}

const UNHEALTHY = { reported: { state: ReportedState.REPORTED_STATE_UNHEALTHY, note: '' } };

test('E4: only the judge of a service writes for it, and a new judge does so at once', async () => {
  let judges = false;
  const { writes, world } = overInstances(4, UNHEALTHY, () => judges);
  await world.run(10_000);
  assert.equal(writes(), 0);
  judges = true;
  await world.run(10_500);
  assert.equal(writes(), 1);
});

test('E4: STATIC instances do not count, as they send no heartbeats', async () => {
  const { writes, world } = overInstances(9, { ...UNHEALTHY, liveness: Liveness.LIVENESS_STATIC }, () => true);
  await world.run(10_000);
  assert.equal(writes(), 0);
});

test('E4: an operator releases a protection, and it does not begin again before the service was below the threshold', async () => {
  const service = await Service.of(8, 3);
  const { stage } = service;
  await stage.untilTrue(() => service.isProtected, TTL_MS + SOON_MS);
  const revision = await stage.until(service.release());
  assert.equal(service.isProtected, false);
  assert.deepEqual([service.discovered.ids, service.discovered.hidden], [idsFrom(0, 3), 5]);
  assert.equal(await stage.until(service.release()), revision, 'a repeat is answered as the first');
  await stage.pass(2_000);
  // Also not in another process, nor when one more falls silent.
  await stage.start();
  await stage.pass(2 * BEAT_MS);
  service.beating = new Set(idsFrom(0, 2));
  await stage.untilTrue(() => service.silentCount === 6, TTL_MS + BEAT_MS + SOON_MS);
  await stage.pass(1_000);
  assert.equal(service.isProtected, false);
  service.beating = new Set(idsFrom(0, 4));
  await stage.untilTrue(() => service.silentCount === 4, SOON_MS + BEAT_MS);
  await stage.pass(1_000);
  const error = await stage.until(service.release().catch((err: unknown) => err as RollcallError));
  assert.equal((error as RollcallError).reason, 'NOT_PROTECTED');
  service.beating = new Set(idsFrom(0, 3));
  await stage.untilTrue(() => service.isProtected, TTL_MS + BEAT_MS + SOON_MS);
});

test('E4: nothing of a protected service is removed for its silence before the time that is set, and then little by little', async () => {
  const set = new Stage();
  set.protectedRemovalMs = 60 * MINUTE_MS;
  await set.start();
  const service = await Service.of(6, 0, set);
  const { stage } = service;
  await stage.untilTrue(() => service.isProtected, TTL_MS + SOON_MS);
  await stage.pass(59 * MINUTE_MS);
  assert.deepEqual([service.liveCount, stage.count('removals_held')], [6, 6]);
  await stage.untilTrue(() => service.liveCount === 5, 2 * MINUTE_MS);
  await stage.pass(MINUTE_MS - 2_000);
  assert.equal(service.liveCount, 5);
  await stage.untilTrue(() => service.liveCount === 4, 4_000);
  assert.equal(service.isProtected, true);
});

test('E4: what was allowed to be removed before the store was restored counts for nothing afterwards', async () => {
  const service = await Service.of(6, 3);
  const { stage } = service;
  await stage.untilTrue(() => service.silentCount === 3, TTL_MS + SOON_MS);
  const backup = stage.store.backup();
  await stage.untilTrue(() => service.liveCount === 4, 2 * MINUTE_MS);
  stage.store.restore(backup);
  await stage.untilTrue(() => service.liveCount === 6, 5_000);
  await stage.untilTrue(() => service.liveCount === 5, MINUTE_MS);
  await stage.pass(MINUTE_MS - 1_500);
  assert.equal(service.liveCount, 5);
});

test('E4: of a service at most 15 %, or one instance, is removed per minute', async () => {
  for (const [count, silent, perMinute] of [
    [6, 3, 1],
    [27, 9, 4],
  ] as const) {
    const service = await Service.of(count, count - silent);
    const { stage } = service;
    await stage.untilTrue(() => service.liveCount === count - perMinute, 6 * TTL_MS + SOON_MS);
    await stage.pass(MINUTE_MS - 1_500);
    assert.equal(service.liveCount, count - perMinute, `of ${count}`);
    await stage.untilTrue(() => service.liveCount < count - perMinute, 3_000);
    await stage.pass(3 * MINUTE_MS);
    assert.equal(service.liveCount, count - silent, 'all of them in the end');
    const [tombstone] = stage.replica.catalog.instances.tombstones();
    assert.equal(tombstone?.removalReason, RemovalReason.REMOVAL_REASON_EXPIRED);
  }
});

test('E4: the limit outlives a restart: what was removed just before counts', async () => {
  const service = await Service.of(8, 5);
  const { stage } = service;
  await stage.untilTrue(() => service.liveCount === 7, 6 * TTL_MS + SOON_MS);
  await stage.start();
  await stage.pass(MINUTE_MS - 2_000);
  assert.equal(service.liveCount, 7);
  await stage.untilTrue(() => service.liveCount === 6, 10_000);
});

test('E4: a removal that the store did not take has not used up the minute', async () => {
  const service = await Service.of(6, 4);
  const { stage } = service;
  const commitEach = stage.store.commitEach.bind(stage.store);
  await stage.untilTrue(() => service.silentCount === 2, TTL_MS + SOON_MS);
  let refused = 0;
  stage.store.commitEach = (guard, txns) =>
    refused++ < 3 ? Promise.reject(new Error('the store does not answer')) : commitEach(guard, txns);
  await stage.untilTrue(() => service.liveCount === 5, 5 * TTL_MS + 3_000);
  assert.ok(refused > 3);
});
