import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OVERRIDE } from '../../../../src/catalog/kinds.js';
import type { Overridden } from '../../../../src/domain/overrides/overrides.js';
import { Health, HealthReason, type Instance, ReportedState } from '../../../../src/gen/rollcall/v1/instance.js';
import { OverrideEnd, OverrideState } from '../../../../src/gen/rollcall/v1/override.js';
import { UNSIGNED } from '../../../../src/model/actor.js';
import { RollcallError } from '../../../../src/model/errors.js';
import { type OverrideItem } from '../../../../src/model/override.js';
import { DAY_MS } from '../../../../src/model/time.js';
import { Stage } from '../../../support/stage.js';

const DRAIN = OverrideState.OVERRIDE_STATE_DRAIN;
const DISABLE = OverrideState.OVERRIDE_STATE_DISABLE;
const TTL_MS = 5_000;
const SOON_MS = 3_000;

interface Given {
  readonly id?: string;
  readonly state?: OverrideState;
  readonly weight?: number;
  readonly incarnation?: string;
  readonly expireAfterMs?: number;
  readonly expectedRevision?: bigint;
  readonly force?: boolean;
}

const names = (id = 'p1') => ({ namespace: 'default', service: 'pay', id });

function set(stage: Stage, given: Given = {}): Promise<Overridden> {
  const { id, state = 0, weight, incarnation = '', expireAfterMs, expectedRevision, force = true } = given;
  const decision = { state, weight, incarnation, expireAfterMs };
  return stage.until(
    stage.replica.overrides.set(
      { ...names(id), decision, expectedRevision, force },
      { ...UNSIGNED, author: 'ops', comment: 'test' },
    ),
  );
}

const clear = (stage: Stage, id = 'p1', expected?: bigint): Promise<Overridden> =>
  stage.until(stage.replica.overrides.clear(names(id), expected, UNSIGNED));

const override = (stage: Stage, id = 'p1'): OverrideItem | undefined =>
  stage.replica.catalog.of(OVERRIDE).get('default', 'pay', id);

const endOf = (stage: Stage): OverrideEnd | undefined => override(stage)?.record.end;

/** A stage with instances p1 to p3, all of incarnation "a". */
async function registered(...ids: readonly string[]): Promise<Stage> {
  const stage = await Stage.ready();
  for (const id of ids.length > 0 ? ids : ['p1', 'p2', 'p3'])
    await stage.until(stage.register({ id, incarnation: 'a' }));
  return stage;
}

const stateOf = (instance: Instance | undefined): string =>
  instance
    ? `${Health[instance.health]} ${HealthReason[instance.healthReason]}`.replace(/HEALTH_(REASON_)?/g, '')
    : '-';

const reasonOf = async (call: Promise<unknown>): Promise<string> => {
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return error instanceof RollcallError ? error.reason : String(error);
};

test('O1: an override lies over the registration, and its end uncovers it at once', async () => {
  const stage = await registered();
  const before = stage.instance()!;
  const { instance, revision } = await set(stage, { state: DISABLE, weight: 7 });
  assert.equal(stateOf(instance), 'UNHEALTHY DISABLED');
  assert.deepEqual([instance!.weight, instance!.revision], [7, revision]);
  assert.equal(instance!.registrationRevision, before.revision, 'what replaces_revision compares stays');
  assert.deepEqual(instance!.changeTime, override(stage)!.record.setTime);
  const { instance: after, revision: ended } = await clear(stage);
  assert.equal(stateOf(after), 'HEALTHY UNSPECIFIED');
  assert.deepEqual([after!.weight, after!.revision], [before.weight, ended]);
  assert.deepEqual((await clear(stage)).revision, ended, 'a repeat changes nothing');
});

test('O2: disabled outweighs silent, silent a report, and a bad report a drain', async () => {
  const stage = await registered();
  await set(stage, { state: DRAIN });
  assert.equal(stateOf(stage.instance()), 'DRAINING DRAINED');
  await stage.until(
    stage.beat({ incarnation: 'a', reported: { state: ReportedState.REPORTED_STATE_DEGRADED, note: '' } }),
  );
  assert.equal(stateOf(stage.instance()), 'DRAINING DRAINED');
  await stage.until(
    stage.beat({ incarnation: 'a', reported: { state: ReportedState.REPORTED_STATE_UNHEALTHY, note: '' } }),
  );
  assert.equal(stateOf(stage.instance()), 'UNHEALTHY REPORTED');
  await stage.untilTrue(() => stage.isSilent(), TTL_MS + SOON_MS);
  assert.equal(stateOf(stage.instance()), 'UNHEALTHY SILENT');
  await set(stage, { state: DISABLE });
  assert.equal(stateOf(stage.instance()), 'UNHEALTHY DISABLED');
  assert.equal(await stage.until(stage.beat({ incarnation: 'a' })), undefined, 'it heals underneath');
  assert.equal(stage.isSilent(), false);
  assert.equal(stateOf(stage.instance()), 'UNHEALTHY DISABLED');
});

test('O1: an override of an id holds for every process, also after a restart, an expiry and a takeover', async () => {
  const stage = await registered();
  await set(stage, { state: DISABLE });
  await stage.until(stage.register({ incarnation: 'b' }));
  assert.equal(stateOf(stage.instance()), 'UNHEALTHY DISABLED', 'another process');
  await stage.start();
  assert.equal(stateOf(stage.instance()), 'UNHEALTHY DISABLED', 'after a restart');
  await stage.untilTrue(() => stage.instance() === undefined, 20 * 60_000);
  await stage.until(stage.register({ incarnation: 'b' }));
  assert.equal(stateOf(stage.instance()), 'UNHEALTHY DISABLED', 'it expired, and is back');
  await stage.until(stage.deregister({ incarnation: 'b' }));
  const { instance } = await stage.until(stage.register({ incarnation: 'c' }));
  assert.equal(stateOf(instance), 'UNHEALTHY DISABLED', 'the answer to Register says so');
});

test('O1: an override of one run ends when another process registers with the id', async () => {
  const stage = await registered();
  await set(stage, { state: DRAIN, incarnation: 'a' });
  await stage.untilTrue(() => stage.isSilent(), TTL_MS + SOON_MS);
  await stage.until(stage.register({ incarnation: 'a' }));
  assert.equal(stateOf(stage.instance()), 'DRAINING DRAINED', 'the same run');
  await stage.until(stage.register({ incarnation: 'b' }));
  assert.equal(stateOf(stage.instance()), 'HEALTHY UNSPECIFIED', 'at once');
  await stage.untilTrue(() => endOf(stage) === OverrideEnd.OVERRIDE_END_NEW_RUN, SOON_MS);
  await stage.until(stage.register({ incarnation: 'a' }));
  assert.equal(stateOf(stage.instance()), 'HEALTHY UNSPECIFIED', 'it does not come back');
});

test('O1: an override ends by its time, at least a second late, and not while the clocks are not trusted', async () => {
  const stage = await registered();
  const from = stage.world.now;
  await set(stage, { state: DISABLE, expireAfterMs: 10_000 });
  await stage.pass(10_900);
  assert.equal(stateOf(stage.instance()), 'UNHEALTHY DISABLED');
  await stage.untilTrue(() => endOf(stage) === OverrideEnd.OVERRIDE_END_EXPIRED, SOON_MS);
  assert.ok(stage.world.now - from >= 11_000);
  assert.equal(stateOf(stage.instance()).includes('DISABLED'), false);
  await set(stage, { state: DISABLE, expireAfterMs: 10_000 });
  stage.fencedBecause = 'CLOCK_SUSPENDED';
  stage.wallOffMs = DAY_MS;
  await stage.pass(SOON_MS);
  assert.equal(endOf(stage), OverrideEnd.OVERRIDE_END_UNSPECIFIED, 'the clock has jumped, and is not trusted');
  stage.wallOffMs = 0;
  stage.fencedBecause = undefined;
  await stage.pass(SOON_MS);
  assert.equal(endOf(stage), OverrideEnd.OVERRIDE_END_UNSPECIFIED);
});

test('O1: an override of an instance that is gone is kept for a day, and collected after it', async () => {
  const stage = await registered();
  await set(stage, { state: DISABLE });
  await stage.until(stage.deregister({ incarnation: 'a' }));
  const gone = (): boolean => stage.replica.catalog.instances.get('default', 'pay', 'p1') === undefined;
  await stage.untilTrue(gone, 20 * 60_000);
  assert.equal(endOf(stage), OverrideEnd.OVERRIDE_END_UNSPECIFIED);
  stage.wallOffMs = DAY_MS;
  await stage.untilTrue(() => endOf(stage) === OverrideEnd.OVERRIDE_END_FORGOTTEN, SOON_MS);
  await stage.untilTrue(() => override(stage) === undefined, 20 * 60_000);
});

test('O1: an ended override stays as long as its instance, so that every replica derives the same revision', async () => {
  const stage = await registered();
  await set(stage, { state: DISABLE });
  const { revision } = await clear(stage);
  for (let passed = 0; passed < 20 * 60_000; passed += 2_000) {
    await stage.pass(2_000);
    await stage.until(stage.beat({ incarnation: 'a' }));
  }
  assert.equal(stage.replica.catalog.of(OVERRIDE).liveCount, 0, 'it does not count in the limit');
  assert.equal(stage.instance()!.revision, revision);
  await stage.start();
  assert.equal(stage.instance()!.revision, revision, 'the listing of another replica says the same');
});

test('O3: a watch and a listing agree about overrides, and the same tokens go on', async () => {
  const stage = await registered();
  const reader = stage.watch();
  await stage.turns();
  await set(stage, { state: DISABLE });
  await stage.turns();
  assert.deepEqual([...reader.view.keys()].sort(), ['p2', 'p3']);
  const token = reader.token;
  await stage.start();
  const resumed = stage.watch(token, reader);
  await stage.turns();
  assert.deepEqual([...resumed.view.keys()].sort(), ['p2', 'p3']);
  await clear(stage);
  await stage.turns();
  assert.deepEqual([...resumed.view.keys()].sort(), ['p1', 'p2', 'p3']);
});

test('an override must leave enough of a service up, unless it is forced', async () => {
  const stage = await registered();
  await set(stage, { id: 'p1', state: DISABLE, force: false });
  await set(stage, { id: 'p2', state: DRAIN, force: false });
  assert.equal(await reasonOf(set(stage, { id: 'p3', state: DISABLE, force: false })), 'WOULD_EMPTY');
  assert.equal(stateOf(stage.instance('p3')), 'HEALTHY UNSPECIFIED');
  assert.equal(
    await reasonOf(set(stage, { id: 'p3', weight: 0, force: false })),
    'WOULD_EMPTY',
    'nobody calls it then',
  );
  await set(stage, { id: 'p3', weight: 1, force: false });
  await set(stage, { id: 'p1', state: DRAIN, force: false });
  await set(stage, { id: 'p3', state: DISABLE });
  assert.equal(stateOf(stage.instance('p3')), 'UNHEALTHY DISABLED');
});

test('an override is set for what stands, and changed only where it is as expected', async () => {
  const stage = await registered();
  assert.equal(await reasonOf(set(stage, { id: 'nobody', state: DRAIN })), 'INSTANCE_NOT_FOUND');
  assert.equal(await reasonOf(set(stage, { state: DRAIN, incarnation: 'b' })), 'INCARNATION_MISMATCH');
  assert.equal(await reasonOf(clear(stage)), 'OVERRIDE_NOT_FOUND');
  const { revision } = await set(stage, { state: DRAIN, expectedRevision: 0n });
  assert.equal(await reasonOf(set(stage, { state: DISABLE, expectedRevision: 0n })), 'OVERRIDE_CHANGED');
  assert.equal(await reasonOf(clear(stage, 'p1', revision - 1n)), 'OVERRIDE_CHANGED');
  await set(stage, { state: DISABLE, expectedRevision: revision });
  assert.equal(stateOf(stage.instance()), 'UNHEALTHY DISABLED');
});

test('an override without an end raises an alarm after a week', async () => {
  const stage = await registered();
  await set(stage, { state: DISABLE });
  stage.wallOffMs = 8 * DAY_MS;
  await stage.pass(SOON_MS);
  assert.equal(stage.count('OVERRIDE_OLD'), 1);
  await clear(stage);
  await stage.pass(SOON_MS);
  assert.equal(stage.count('OVERRIDE_OLD cleared'), 1);
});

test('decisions about one service that come at once are taken one after the other, and do not empty it', async () => {
  const stage = await registered();
  const outcomes = await Promise.allSettled(
    ['p1', 'p2', 'p3'].map((id) => set(stage, { id, state: DRAIN, force: false })),
  );
  const reasons = outcomes.map((one) => (one.status === 'rejected' ? (one.reason as RollcallError).reason : 'set'));
  assert.deepEqual(reasons, ['set', 'set', 'WOULD_EMPTY']);
});
