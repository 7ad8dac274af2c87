import assert from 'node:assert/strict';
import { test } from 'node:test';
import { History } from '../../../src/store/history.js';
import { Compacted, type RevisionBatch } from '../../../src/store/store.js';

const batch = (revision: bigint, ...keys: string[]): RevisionBatch => ({
  revision,
  changes: keys.map((key) => ({ kind: 'delete', key })),
});

/** What a watch has delivered by the time that nothing more comes, and how it ended. */
async function watch(history: History, after: bigint): Promise<{ seen: bigint[]; error: unknown }> {
  const stop = new AbortController();
  const seen: bigint[] = [];
  let error: unknown;
  const watching = (async () => {
    for await (const { revision } of history.watch(after, stop.signal)) seen.push(revision);
  })().catch((reason: unknown) => (error = reason));
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
  stop.abort();
  await watching;
  return { seen, error };
}

test('S9: a watch delivers every revision after its own that holds anything, from wherever it begins', async () => {
  const history = new History(2n);
  for (const one of [batch(3n, 'a'), batch(4n), batch(5n, 'a', 'b'), batch(7n, 'a')]) history.append(one);
  const seenAfter = async (after: bigint): Promise<bigint[]> => (await watch(history, after)).seen;
  assert.deepEqual(await seenAfter(2n), [3n, 5n, 7n]);
  assert.deepEqual(await seenAfter(3n), [5n, 7n]);
  assert.deepEqual(await seenAfter(5n), [7n]);
  assert.deepEqual(await seenAfter(6n), [7n]);
  assert.deepEqual(await seenAfter(7n), []);
});

test('S9: a watch that waits is woken by the next revision', async () => {
  const history = new History(0n);
  const stop = new AbortController();
  const watching = history.watch(0n, stop.signal);
  const next = watching.next();
  await new Promise((resolve) => setImmediate(resolve));
  history.append(batch(1n, 'a'));
  assert.equal(((await next).value as RevisionBatch).revision, 1n);
  const last = watching.next();
  stop.abort();
  assert.equal((await last).done, true);
});

test('S10: a watch of what was dropped ends with Compacted, and one of what is kept goes on', async () => {
  const history = new History(2n);
  for (const one of [batch(3n, 'a'), batch(4n, 'a'), batch(5n, 'a')]) history.append(one);
  assert.ok((await watch(history, 1n)).error instanceof Compacted);
  history.compact(4n);
  const { seen, error } = await watch(history, 3n);
  assert.deepEqual(seen, []);
  assert.ok(error instanceof Compacted);
  assert.deepEqual(await watch(history, 4n), { seen: [5n], error: undefined });
});

test('S10: a watcher that falls behind what is kept in memory gets Compacted', async () => {
  const history = new History(0n);
  for (let revision = 1n; revision <= 20_002n; revision++) history.append(batch(revision, 'a'));
  assert.ok((await watch(history, 1n)).error instanceof Compacted);
  assert.equal((await watch(history, 2n)).seen.length, 20_000);
});
