import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RejectionReason } from '../../../../src/gen/rollcall/v1/heartbeat.js';
import { RollcallError } from '../../../../src/model/errors.js';
import { fromTimestamp } from '../../../../src/model/time.js';
import type { Registered } from '../../../../src/domain/registry/registrations.js';
import { Stage } from '../../../support/stage.js';

const refusal =
  (reason: string, metadata: Record<string, string> = {}) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof RollcallError);
    assert.equal(error.reason, reason);
    for (const [name, value] of Object.entries(metadata)) assert.equal(error.metadata[name], value, name);
    return true;
  };

test('C1: a Register and a Deregister are answered once this replica shows them, or after 1 s', async () => {
  const stage = await Stage.ready();
  const release = stage.holdWatch();
  let answered = false;
  const first = stage.register().then((registered) => ((answered = true), registered));
  await stage.pass(500);
  assert.equal(answered, false, 'committed, and not yet visible');
  release();
  const { revision } = await stage.until(first);
  assert.ok(stage.replica.catalog.has(revision));

  stage.holdWatch();
  const from = stage.world.now;
  const removal = await stage.until(stage.deregister());
  assert.ok(stage.world.now - from >= 1_000 && stage.world.now - from < 1_100, 'a late catalog holds nobody up');
  assert.equal(stage.replica.catalog.has(removal), false);
  assert.equal((await stage.store.get('w/i/default/pay/p1')).revision, removal);
});

test('I1: the same Register again has the same revision, and other content has another', async () => {
  const stage = await Stage.ready();
  const first = await stage.until(
    stage.register({
      incarnation: 'a',
      metadata: new Map([
        ['x', '1'],
        ['y', '2'],
      ]),
    }),
  );
  await stage.pass(1_000);
  const again = await stage.until(
    stage.register({
      incarnation: 'a',
      metadata: new Map([
        ['y', '2'],
        ['x', '1'],
      ]),
    }),
  );
  const times = ({ instance }: Registered): number[] =>
    [instance.registerTime, instance.changeTime].map((time) => fromTimestamp(time!));
  assert.deepEqual([again.revision, times(again)], [first.revision, times(first)]);
  assert.equal(stage.instance()!.revision, first.revision);
  const changed = await stage.until(stage.register({ incarnation: 'a', version: '2' }));
  assert.ok(changed.revision > first.revision);
  assert.equal(times(changed)[0], times(first)[0]);
});

test('I1: a Register whose reply was lost may be sent again', async () => {
  const stage = await Stage.ready();
  stage.store.setOutage('lost-reply');
  await assert.rejects(stage.until(stage.register({ incarnation: 'a' })), refusal('STORE_UNAVAILABLE'));
  stage.store.setOutage(undefined);
  await stage.pass(100);
  const { revision } = stage.instance()!;
  assert.equal((await stage.until(stage.register({ incarnation: 'a' }))).revision, revision);
});

test('I1: a Register without incarnation keeps the current one', async () => {
  const stage = await Stage.ready();
  const first = await stage.until(stage.register({ incarnation: 'a' }));
  await assert.rejects(stage.until(stage.register({ version: '2' })), refusal('INCARNATION_REQUIRED'));
  const change = { version: '2', replacesRevision: first.revision };
  const typed = await stage.until(stage.register(change));
  assert.equal(typed.instance.incarnation, 'a');
  assert.equal(await stage.until(stage.beat({ incarnation: 'a' })), undefined);
  await stage.until(stage.deregister());
  assert.notEqual((await stage.until(stage.register())).instance.incarnation, 'a');
});

test('I1: a repeat of the first Register does not take a process back to STARTING, also after it has expired', async () => {
  const stage = await Stage.ready();
  const [HEALTHY, STARTING] = [1, 2];
  const first = { incarnation: 'a', reported: { state: STARTING, note: '' } };
  await stage.until(stage.register(first));
  await stage.until(stage.beat({ incarnation: 'a', reported: { state: HEALTHY, note: '' } }));
  assert.equal((await stage.until(stage.register(first))).instance.reported?.state, HEALTHY);
  await stage.untilTrue(() => stage.instance() === undefined, 60_000);
  assert.equal((await stage.until(stage.register(first))).instance.reported?.state, HEALTHY);
  assert.equal((await stage.until(stage.register({ ...first, incarnation: 'b' }))).instance.reported?.state, STARTING);
});

test('I2: the newest incarnation holds the id, and the older one gets SUPERSEDED', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  await stage.until(stage.register({ incarnation: 'b' }));
  assert.equal(await stage.until(stage.beat({ incarnation: 'a' })), RejectionReason.REJECTION_REASON_SUPERSEDED);
  assert.equal(await stage.until(stage.beat({ incarnation: 'b' })), undefined);
  assert.equal(await stage.until(stage.beat()), undefined, 'without an incarnation nothing is fenced');
});

test('I2: beats of an older incarnation do not keep the newer one alive', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  await stage.until(stage.register({ incarnation: 'b' }));
  for (let i = 0; i < 6; i++) {
    await stage.until(stage.beat({ incarnation: 'a' }));
    await stage.pass(1_000);
  }
  assert.equal(stage.isSilent(), true);
});

test('I2: another incarnation cannot deregister what it does not hold', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  await assert.rejects(
    stage.until(stage.deregister({ incarnation: 'b' })),
    refusal('INCARNATION_MISMATCH', { incarnation: 'a' }),
  );
  assert.ok(stage.instance());
  await stage.until(stage.deregister({ incarnation: 'a' }));
  assert.equal(stage.instance(), undefined);
});

test('I2: replaces_revision keeps a delayed Register from taking the id back', async () => {
  const stage = await Stage.ready();
  const first = await stage.until(stage.register({ incarnation: 'a', replacesRevision: 0n }));
  const second = await stage.until(stage.register({ incarnation: 'b', replacesRevision: first.revision }));
  const standing = { revision: String(second.revision), incarnation: 'b', state: 'REGISTERED' };
  for (const replacesRevision of [0n, first.revision]) {
    await assert.rejects(
      stage.until(stage.register({ incarnation: 'a', replacesRevision })),
      refusal('REVISION_MISMATCH', standing),
    );
  }
  const removal = await stage.until(stage.deregister({ incarnation: 'b' }));
  await assert.rejects(
    stage.until(stage.register({ incarnation: 'a', replacesRevision: second.revision })),
    refusal('REVISION_MISMATCH', { state: 'REMOVED' }),
  );
  await stage.until(stage.register({ incarnation: 'c', replacesRevision: removal }));
  assert.equal(stage.instance()?.incarnation, 'c');
});

test('I2: replaces_revision is held against the store when this replica is behind', async () => {
  const stage = await Stage.ready();
  stage.holdWatch();
  const first = await stage.until(stage.register({ incarnation: 'a' }));
  const second = await stage.until(stage.register({ incarnation: 'b', replacesRevision: first.revision }));
  assert.equal(stage.instance(), undefined, 'not yet visible here');
  await assert.rejects(
    stage.until(stage.register({ incarnation: 'c', replacesRevision: first.revision })),
    refusal('REVISION_MISMATCH', { revision: String(second.revision), incarnation: 'b' }),
  );
});

test('I2: replaces_revision is not refused by what this replica shows when that is old', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  stage.holdWatch();
  const { revision } = await stage.until(stage.register({ incarnation: 'b' }));
  assert.equal(stage.instance()?.incarnation, 'a', 'not yet visible here');
  const third = await stage.until(stage.register({ incarnation: 'c', replacesRevision: revision }));
  assert.equal(third.instance.incarnation, 'c');
});

test('I2: of two that take the id at once the later one at the store holds it, and both learn the outcome', async () => {
  const stage = await Stage.ready();
  stage.store.latencyMs = () => 20;
  await stage.until(stage.register({ incarnation: 'a' }));
  const both = await stage.until(
    Promise.all([stage.register({ incarnation: 'b' }), stage.register({ incarnation: 'c' })]),
  );
  const [b, c] = both.map(({ revision }) => revision) as [bigint, bigint];
  await stage.pass(100);
  const holder = b > c ? 'b' : 'c';
  assert.notEqual(b, c);
  assert.equal(stage.instance()?.incarnation, holder);
});

test('I2: a beat of the newest incarnation is neither NOT_REGISTERED nor SUPERSEDED where the catalog is late', async () => {
  const stage = await Stage.ready();
  stage.holdWatch();
  for (const incarnation of ['a', 'b']) {
    await stage.until(stage.register({ incarnation }));
    assert.equal(stage.instance(), undefined, 'not yet visible here');
    assert.equal(await stage.until(stage.beat({ incarnation })), undefined);
  }
});

test('I3: after a Deregister no beat brings the instance back, and none is acknowledged', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  const late = stage.beat({ incarnation: 'a' });
  await stage.until(stage.deregister({ incarnation: 'a' }));
  await stage.until(late);
  const said = (incarnation?: string): Promise<unknown> =>
    stage.until(stage.beat({ ...(incarnation !== undefined && { incarnation }) }));
  assert.equal(await said('a'), RejectionReason.REJECTION_REASON_DEREGISTERED);
  assert.equal(await said(), RejectionReason.REJECTION_REASON_NOT_REGISTERED);
  await assert.rejects(stage.until(stage.register({ incarnation: 'a' })), refusal('DEREGISTERED'));
  await stage.pass(60_000);
  assert.equal(stage.instance(), undefined);
});

test('I3: a beat never creates an instance', async () => {
  const stage = await Stage.ready();
  assert.equal(await stage.until(stage.beat()), RejectionReason.REJECTION_REASON_NOT_REGISTERED);
  assert.equal((await stage.store.get('w/i/default/pay/p1')).entry, undefined);
});

test('I3: a beat that heals and a Deregister at once end with the instance removed', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  await stage.pass(6_000);
  assert.equal(stage.isSilent(), true);
  stage.store.latencyMs = () => 20;
  const beat = stage.beat({ incarnation: 'a' });
  await stage.until(stage.deregister({ incarnation: 'a' }));
  await stage.until(beat);
  await stage.pass(1_000);
  assert.equal(stage.instance(), undefined);
});

test('a Deregister repeated is answered with the same revision, and one of what never was is refused', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register());
  const first = await stage.until(stage.deregister());
  assert.equal(await stage.until(stage.deregister()), first);
  await assert.rejects(stage.until(stage.deregister({ id: 'never' })), refusal('INSTANCE_NOT_FOUND'));
});

test('a beat that the store cannot settle now is told RETRY, and never a rejection', async () => {
  const stage = await Stage.ready();
  for (const outage of ['refuse', 'hang'] as const) {
    stage.store.setOutage(outage);
    assert.equal(await stage.until(stage.beat()), RejectionReason.REJECTION_REASON_RETRY, outage);
    stage.store.setOutage(undefined);
    await stage.pass(100);
  }
});
