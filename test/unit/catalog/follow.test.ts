import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stage } from '../stage.js';

test('S14 a store that goes back more than once has an epoch that it has never had, also where its own is one of before', async () => {
  const stage = await Stage.ready();
  const { catalog } = stage.replica;
  const backup = stage.store.backup();
  const epochs = [catalog.epoch];
  for (let i = 0; i < 3; i++) {
    await stage.until(stage.register({ id: `p${i}` }));
    stage.store.restore(backup);
    await stage.untilTrue(() => catalog.ready && catalog.epoch !== epochs.at(-1), 5_000);
    assert.equal(catalog.instances.liveCount, 0);
    assert.ok(!epochs.includes(catalog.epoch), `${catalog.epoch} after ${epochs.join(', ')}`);
    epochs.push(catalog.epoch);
  }
});
