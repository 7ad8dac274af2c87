import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigFormat } from '../../../../src/gen/rollcall/v1/config.js';
import { recordedProtection } from '../../../../src/catalog/kinds.js';
import { configKey } from '../../../../src/model/config.js';
import { instanceKey } from '../../../../src/model/instance.js';
import { EPOCH_KEY } from '../../../../src/model/store-facts.js';
import { Stage } from '../../../support/stage.js';

const KEY = instanceKey('default', 'pay', 'p1');

test('an instance that somebody else deletes stays, is written back, and goes on like any other', async () => {
  const stage = await Stage.ready();
  const { revision } = await stage.until(stage.register({ incarnation: 'a' }));
  await stage.write({ kind: 'delete', key: KEY });
  await stage.turns();
  assert.equal(stage.instance()?.revision, revision, 'the deletion is not believed');
  assert.equal(stage.count('FOREIGN_DELETE'), 1);
  await stage.pass(2_000);
  const { entry } = await stage.store.get(KEY);
  assert.ok(entry && entry.modRevision > revision);
  assert.equal(stage.instance()?.revision, revision, 'nothing that users see has changed');
  assert.equal(stage.count('FOREIGN_DELETE cleared'), 1);
  assert.equal(await stage.until(stage.beat({ incarnation: 'a' })), undefined);
  await stage.untilTrue(() => stage.isSilent(), 6_000);
  assert.equal(await stage.until(stage.beat({ incarnation: 'a' })), undefined);
  assert.equal(stage.isSilent(), false);
});

test('a config that somebody else deletes is written back with its content and version', async () => {
  const stage = await Stage.ready();
  const request = { namespace: 'default', group: 'default', author: '', comment: '', principal: '', requestId: '' };
  const draft = {
    key: 'a',
    content: { $case: 'text' as const, value: 'one' },
    format: ConfigFormat.CONFIG_FORMAT_TEXT,
    labels: new Map<string, string>(),
    expectedVersion: undefined,
  };
  await stage.until(stage.replica.publishing.publish(request, [draft]));
  const key = configKey('default', 'default', 'a');
  await stage.write({ kind: 'delete', key });
  await stage.pass(2_000);
  assert.ok((await stage.store.get(key)).entry);
  const { configs } = await stage.until(
    stage.replica.publishing.publish(request, [{ ...draft, content: { $case: 'text', value: 'two' } }]),
  );
  assert.equal(configs[0]!.version, 2n);
});

test('what was registered anew in the meantime is not overwritten', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ version: 'old' }));
  const release = stage.holdWatch();
  await stage.write({ kind: 'delete', key: KEY });
  const registering = stage.register({ version: 'new' });
  await stage.pass(100);
  release();
  await stage.until(registering);
  await stage.pass(3_000);
  assert.equal(stage.instance()?.version, 'new');
});

test('a removal that was forgotten while this replica was cut off is no deletion by somebody else', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register());
  const { token } = stage.watch();
  const { revision } = await stage.store.get(KEY);
  stage.process.pause();
  // Another replica removes the instance, and a quarter of an hour later forgets it; the history is compacted.
  const record = stage.removalOf('p1');
  await stage.write({ kind: 'put', key: 'w/barrier', value: new Uint8Array() });
  await stage.write({ kind: 'put', key: KEY, value: record });
  await stage.write(
    { kind: 'put', key: 'w/horizon', value: stage.horizonAt(revision + 2n) },
    { kind: 'delete', key: KEY },
  );
  stage.store.compactAll();
  stage.process.resume();
  await stage.untilTrue(() => stage.instance() === undefined, 5_000);
  await stage.pass(3_000);
  assert.equal((await stage.store.get(KEY)).entry, undefined, 'it is not written back');
  assert.equal(stage.count('FOREIGN_DELETE'), 0);
  assert.equal(stage.watch(token).last.resetReason, 1, 'a token of before gets a snapshot');
});

test('an instance whose record cannot be read is registered anew, and the alarm clears', async () => {
  const stage = await Stage.ready();
  await stage.write({ kind: 'put', key: KEY, value: Buffer.from([255, 255, 255]) });
  await stage.turns();
  assert.equal(stage.count('BAD_RECORD'), 1);
  await stage.until(stage.register({ incarnation: 'a' }));
  assert.ok(stage.instance());
  assert.equal(stage.count('BAD_RECORD cleared'), 1);
  assert.equal(await stage.until(stage.beat({ incarnation: 'a' })), undefined);
});

test('a protection that somebody else deletes is written back as it was', async () => {
  const key = 'w/p/default/pay';
  const stage = await Stage.ready();
  await stage.until(Promise.all(['p1', 'p2', 'p3', 'p4'].map((id) => stage.register({ id, ttlS: 2 }))));
  await stage.start(); // instances that are found count at once
  await stage.untilTrue(() => stage.count('protections_begun_alone') === 1, 35_000);
  await stage.pass(100);
  const { revision } = recordedProtection(stage.replica.catalog.instances.scope('default', 'pay'))!;
  await stage.write({ kind: 'delete', key });
  await stage.pass(2_000);
  const { entry } = await stage.store.get(key);
  assert.ok(entry && entry.modRevision > revision);
  const {
    revision: now,
    modRevision,
    record,
  } = recordedProtection(stage.replica.catalog.instances.scope('default', 'pay'))!;
  assert.deepEqual([now, modRevision, record.active], [revision, entry.modRevision, true]);
  assert.equal(stage.count('FOREIGN_DELETE cleared'), 1);
});

test('records of the store as a whole are written back, too', async () => {
  const stage = await Stage.ready();
  const epoch = stage.replica.catalog.storeEpoch;
  await stage.write({ kind: 'delete', key: EPOCH_KEY });
  await stage.turns();
  assert.deepEqual([stage.count('foreign_deletes'), stage.count('FOREIGN_DELETE')], [1, 1]);
  await stage.pass(2_000);
  assert.ok((await stage.store.get(EPOCH_KEY)).entry);
  assert.equal(stage.replica.catalog.storeEpoch, epoch);
  assert.equal(stage.count('FOREIGN_DELETE cleared'), 1);
});
