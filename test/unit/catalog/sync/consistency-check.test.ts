import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClusterStage } from '../../../support/cluster-stage.js';

const EVERY_MS = 360_000;

test('an event that the store lost is found within 6 min, and the instance is there again', async () => {
  const stage = new ClusterStage();
  const a = await stage.start('a');
  await stage.register(a, 'p1', 600);
  const b = await stage.start('b');
  stage.loses = ({ changes }) => changes.some((change) => change.kind === 'put' && change.entry.key.endsWith('/p2'));
  await stage.register(a, 'p2', 600).catch(() => undefined);
  await stage.pass(5_000);
  const find = (): unknown => b.replica.catalog.instances.get('default', 'pay', 'p2');
  assert.equal(find(), undefined);
  stage.loses = () => false;
  await stage.untilTrue(() => find() !== undefined, EVERY_MS + 5_000);
  assert.equal(b.counts.get('catalog_differences'), 1);
  const { oldestCursor, revision } = b.replica.catalog;
  assert.ok(oldestCursor > 0n && oldestCursor <= revision, 'whoever followed this catalog gets a snapshot');
});

test('where nothing was lost nothing differs, whatever is written, removed and deleted meanwhile', async () => {
  const stage = new ClusterStage();
  const a = await stage.start('a');
  for (const id of ['p1', 'p2', 'p3']) await stage.register(a, id, 600);
  await stage.until(
    a.replica.registrations.deregister({ namespace: 'default', service: 'pay', id: 'p2', incarnation: undefined }),
  );
  for (let passed = 0; passed < 4 * EVERY_MS; passed += 10_000) {
    await stage.beat(a, 'p1');
    if (passed % 60_000 === 0) await stage.register(a, `q${passed}`, 600);
    await stage.pass(10_000);
  }
  assert.ok((a.counts.get('catalog_comparisons') ?? 0) >= 3);
  assert.equal(a.counts.get('catalog_differences') ?? 0, 0);
  assert.ok((a.counts.get('tombstones_collected') ?? 0) >= 1);
});
