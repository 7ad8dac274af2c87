import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemRandom } from '../../../../src/base/random.js';
import { newEpoch, settleEpoch } from '../../../../src/catalog/sync/schema.js';
import { EPOCH_KEY } from '../../../../src/model/store-facts.js';
import { Stage } from '../../../support/stage.js';

test('S14 a store that goes back more than once has an epoch that it has never had, also where its own is one of before', async () => {
  const stage = await Stage.ready();
  const { catalog } = stage.replica;
  const backup = stage.store.backup();
  const epochs = [catalog.storeEpoch];
  for (let i = 0; i < 3; i++) {
    await stage.until(stage.register({ id: `p${i}` }));
    stage.store.restore(backup);
    await stage.untilTrue(() => catalog.ready && catalog.storeEpoch !== epochs.at(-1), 5_000);
    assert.equal(catalog.instances.liveCount, 0);
    assert.ok(!epochs.includes(catalog.storeEpoch), `${catalog.storeEpoch} after ${epochs.join(', ')}`);
    epochs.push(catalog.storeEpoch);
  }
});

test('S14 a store that goes back twice has an epoch of its own, also where a server has started between', async () => {
  const stage = await Stage.ready();
  const backup = stage.store.backup();
  const first = stage.replica.catalog.storeEpoch;
  await stage.until(stage.register({ id: 'p1' }));
  stage.store.restore(backup);
  await newEpoch(stage.store, systemRandom);
  await stage.start();
  const { catalog } = stage.replica;
  const second = catalog.storeEpoch;
  await stage.until(stage.register({ id: 'p2' }));
  stage.store.restore(backup);
  await stage.untilTrue(() => catalog.ready && catalog.storeEpoch !== second, 5_000);
  assert.notEqual(catalog.storeEpoch, first, 'its tokens would count again');
});

test('S14 servers that have seen different histories end agree on one epoch', async () => {
  const { store } = await Stage.ready();
  const seen = ['a', 'b', 'c'];
  for (const ended of seen) await settleEpoch(store, systemRandom, ended);
  const { entry } = await store.get(EPOCH_KEY);
  for (const ended of seen) await settleEpoch(store, systemRandom, ended);
  assert.deepEqual((await store.get(EPOCH_KEY)).entry, entry);
});

test('an epoch that cannot be read is an alarm, and holds up nothing', async () => {
  const stage = await Stage.ready();
  await stage.write({ kind: 'put', key: EPOCH_KEY, value: new Uint8Array([0xff]) });
  stage.store.compactAll();
  await stage.until(stage.register({ id: 'p1' }));
  await stage.untilTrue(() => stage.replica.catalog.instances.liveCount === 1, 1_000);
  assert.equal(stage.count('BAD_RECORD'), 1);
  assert.equal(stage.count('rollbacks'), 0);
});
