import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RollcallError } from '../../../src/model/errors.js';
import { Stage } from '../../support/stage.js';

const BARRIER = { minRevision: 0n, barrier: true };

/** A stage on which every call to the store takes 40 ms, and how many barriers were written. */
async function slow(): Promise<{ stage: Stage; written: () => number }> {
  const stage = await Stage.ready();
  await stage.until(stage.register({ ttlS: 600 }));
  let barriers = 0;
  stage.store.onCommit = ({ changes }) => {
    barriers += changes.filter((change) => change.kind === 'put' && change.entry.key === 'w/barrier').length;
  };
  stage.store.latencyMs = () => 40;
  return { stage, written: () => barriers };
}

test('C2: a read without conditions, or of a revision that was seen, waits for nothing', async () => {
  const stage = await Stage.ready();
  const { revision } = stage.replica.catalog;
  assert.equal(stage.replica.freshness.ready({ minRevision: 0n, barrier: false }), undefined);
  assert.equal(stage.replica.freshness.ready({ minRevision: revision, barrier: false }), undefined);
});

test('C2: min_revision waits until that revision has been seen here', async () => {
  const stage = await Stage.ready();
  const release = stage.holdWatch();
  const { revision } = await stage.write({ kind: 'put', key: 'w/i/x', value: new Uint8Array() });
  let ready = false;
  const read = stage.replica.freshness.ready({ minRevision: revision, barrier: false })!.then(() => (ready = true));
  await stage.pass(1_000);
  assert.equal(ready, false);
  release();
  await stage.until(read);
  assert.ok(stage.replica.catalog.has(revision));
});

test('C2: a min_revision that is not seen within 2 s fails with the revision that was seen', async () => {
  const stage = await Stage.ready();
  const { revision } = stage.replica.catalog;
  const from = stage.world.now;
  await assert.rejects(
    stage.until(stage.replica.freshness.ready({ minRevision: revision + 1n, barrier: false })!),
    (error: unknown) => {
      assert.ok(error instanceof RollcallError);
      assert.equal(error.reason, 'REVISION_NOT_REACHED');
      assert.deepEqual(error.metadata, { revision: String(revision + 1n), seen: String(revision) });
      return true;
    },
  );
  assert.ok(stage.world.now - from >= 2_000 && stage.world.now - from < 2_100);
});

test('C2: a barrier sees what another replica has committed before it, also when the watch is late', async () => {
  const { stage } = await slow();
  const release = stage.holdWatch();
  const { revision } = await stage.until(
    stage.write(
      { kind: 'delete', key: 'w/i/default/pay/none' },
      { kind: 'put', key: 'w/i/y', value: new Uint8Array() },
    ),
  );
  let ready = false;
  const read = stage.replica.freshness.ready(BARRIER)!.then(() => (ready = true));
  await stage.pass(500);
  assert.equal(ready, false);
  release();
  await stage.until(read);
  assert.ok(stage.replica.catalog.has(revision + 1n));
});

test('C2: callers share the next barrier, and none shares one that was on its way before it came', async () => {
  const { stage, written } = await slow();
  const { freshness, catalog } = stage.replica;
  const first = freshness.ready(BARRIER)!;
  await stage.pass(30); // it stands in the store, and the answer is on its way back
  assert.equal(written(), 1);
  const { revision } = catalog;
  const later = Promise.all(Array.from({ length: 100 }, () => freshness.ready(BARRIER)!));
  let showed = 0n;
  void later.then(() => (showed = catalog.revision));
  await stage.until(first);
  await stage.until(later);
  assert.equal(written(), 2);
  assert.equal(showed, revision + 1n, 'a barrier of their own');
});

test('C2: a barrier that failed is not the answer to the next one', async () => {
  const { stage } = await slow();
  stage.store.setOutage('refuse');
  await assert.rejects(stage.until(stage.replica.freshness.ready(BARRIER)!), { reason: 'STORE_UNAVAILABLE' });
  stage.store.setOutage(undefined);
  await stage.until(stage.replica.freshness.ready(BARRIER)!);
  assert.equal(stage.replica.freshness.ready({ minRevision: 0n, barrier: false }), undefined);
});

test('C2: an answer says how old it may be while the store is out of reach, and only then', async () => {
  const stage = await Stage.ready();
  const { revision } = stage.replica.catalog;
  assert.deepEqual(stage.replica.freshness.stamp(), { revision, staleForMs: undefined });
  stage.store.setOutage('refuse');
  await stage.pass(7_000);
  assert.deepEqual(stage.replica.freshness.stamp(), { revision, staleForMs: 7_000 });
  stage.store.setOutage(undefined);
  assert.deepEqual(stage.replica.freshness.stamp(), { revision, staleForMs: undefined });
});
