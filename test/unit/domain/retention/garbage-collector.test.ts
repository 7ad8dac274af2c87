import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ResetReason, WatchKind } from '../../../../src/gen/rollcall/v1/watch.js';
import { ProtectionRecord } from '../../../../src/gen/rollcall/storage/v1/records.js';
import { writeProtection } from '../../../../src/model/protection.js';
import { Stage } from '../../../support/stage.js';

const KEPT_MS = 15 * 60_000;
const LOOK_MS = 60_000;
const KEY = 'w/i/default/pay/p1';

/** An instance that was deregistered just now, and the token of a watch that had seen it before that. */
async function withRemoval(): Promise<{ stage: Stage; token: string }> {
  const stage = await Stage.ready();
  await stage.until(stage.register());
  const { token } = stage.watch();
  await stage.until(stage.deregister());
  return { stage, token };
}

test('W3: a removal is remembered for 15 min at least, so that a token older than it is continued', async () => {
  const { stage, token } = await withRemoval();
  await stage.pass(KEPT_MS - 1_000);
  assert.ok((await stage.store.get(KEY)).entry);
  const resumed = stage.watch(token);
  assert.deepEqual(
    [resumed.last.kind, resumed.last.removed.map(({ id }) => id)],
    [WatchKind.WATCH_KIND_CHANGE, ['p1']],
  );
});

test('W3: once a removal is forgotten an older token gets a snapshot, on this replica and on one that starts', async () => {
  const { stage, token } = await withRemoval();
  const { token: fresh } = stage.watch();
  await stage.pass(KEPT_MS + 2 * LOOK_MS);
  assert.equal((await stage.store.get(KEY)).entry, undefined);
  assert.equal(stage.replica.catalog.instances.tombstoneCount, 0);
  assert.equal(stage.count('tombstones_collected'), 1);
  assert.equal(stage.count('foreign_deletes'), 0);
  for (const where of ['here', 'after a start']) {
    const reset = stage.watch(token);
    assert.deepEqual(
      [reset.last.kind, reset.last.resetReason],
      [WatchKind.WATCH_KIND_SNAPSHOT, ResetReason.RESET_REASON_TOKEN_TOO_OLD],
      where,
    );
    const continued = stage.watch(fresh);
    assert.equal(continued.last.resetReason, ResetReason.RESET_REASON_UNSPECIFIED, where);
    await stage.start();
  }
});

test('E2: moving the wall clock makes no removal forgotten early', async () => {
  const { stage } = await withRemoval();
  await stage.pass(LOOK_MS);
  stage.wallOffMs = 365 * 86_400_000;
  await stage.pass(5 * LOOK_MS);
  assert.ok((await stage.store.get(KEY)).entry);
});

test('an instance that is registered again in the meantime is not forgotten', async () => {
  const { stage } = await withRemoval();
  await stage.pass(KEPT_MS - LOOK_MS);
  await stage.until(stage.register({ ttlS: 600 }));
  await stage.pass(3 * LOOK_MS);
  assert.ok(stage.instance());
  assert.ok((await stage.store.get(KEY)).entry);
});

test('a deleted config is forgotten with its versions after 30 days, and not before', async () => {
  const stage = await Stage.ready();
  const request = { namespace: 'default', group: 'default', author: '', comment: '', principal: '', requestId: '' };
  const publish = (value: string) =>
    stage.until(
      stage.replica.publishing.publish(request, [
        {
          key: 'a',
          content: { $case: 'text', value },
          format: 1,
          labels: new Map(),
          expectedVersion: undefined,
        },
      ]),
    );
  await publish('one');
  await publish('two');
  await stage.until(stage.replica.publishing.delete(request, 'a', undefined));
  await stage.pass(KEPT_MS + 2 * LOOK_MS);
  assert.equal((await publish('three')).configs[0]!.version, 4n);
  await stage.until(stage.replica.publishing.delete(request, 'a', undefined));
  stage.wallOffMs = 31 * 86_400_000;
  await stage.pass(KEPT_MS + 2 * LOOK_MS);
  for (const key of ['w/c/default/default/a', 'u/v/default/default/a//0000000000000000001'])
    assert.equal((await stage.store.get(key)).entry, undefined, key);
  assert.equal(stage.replica.catalog.configs.tombstoneCount, 0);
  assert.equal((await publish('four')).configs[0]!.version, 1n);
});

test('a thousand removals are forgotten, whatever one transaction takes', async () => {
  const stage = await Stage.ready();
  const ids = Array.from({ length: 1_000 }, (_, i) => `p${i}`);
  await stage.until(Promise.all(ids.map((id) => stage.register({ id }))));
  await stage.until(Promise.all(ids.map((id) => stage.deregister({ id }))));
  await stage.pass(KEPT_MS + 2 * LOOK_MS);
  assert.equal(stage.replica.catalog.instances.tombstoneCount, 0);
  assert.equal(stage.count('foreign_deletes'), 0);
});

test('W3: what was recorded of the protection of a service that is gone is forgotten, and no sooner than a removal', async () => {
  const key = 'w/p/default/pay';
  const stage = await Stage.ready();
  await stage.until(stage.register());
  await stage.until(stage.deregister());
  // A protection of nothing ends at once, and is newer than every removal of the service.
  const active = ProtectionRecord.fromPartial({ writeId: 'elsewhere', active: true, fromRevision: 1n, before: 4 });
  await stage.write({ kind: 'put', key, value: writeProtection(active) });
  const { token } = stage.watch();
  await stage.untilTrue(() => stage.count('protections_ended_empty') === 1, 1_000);
  await stage.pass(KEPT_MS + 2 * LOOK_MS);
  assert.equal(stage.replica.catalog.instances.tombstoneCount, 0);
  assert.ok((await stage.store.get(key)).entry, 'a watch may still have to be told that it ended');
  const resumed = stage.watch(token);
  assert.deepEqual(
    resumed.last.services.map(({ service, protection }) => [service, protection]),
    [['pay', undefined]],
  );
  await stage.pass(KEPT_MS + 2 * LOOK_MS);
  assert.equal((await stage.store.get(key)).entry, undefined);
  assert.deepEqual([...stage.replica.catalog.protections.all()], []);
  assert.equal(stage.replica.catalog.instances.namespaces().size, 1, 'only because it is watched');
  assert.equal(stage.count('foreign_deletes'), 0);
  assert.equal(stage.watch(token).last.resetReason, ResetReason.RESET_REASON_TOKEN_TOO_OLD);
});
