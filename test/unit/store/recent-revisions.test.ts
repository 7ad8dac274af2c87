import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { RecentRevisions } from '../../../src/store/recent-revisions.js';
import { Compacted, type RevisionBatch } from '../../../src/store/store.js';

const batch = (revision: bigint, ...keys: string[]): RevisionBatch => ({
  revision,
  changes: keys.map((key) => ({ kind: 'delete', key })),
});

/** Watches until no more revision arrives. Returns the delivered revisions and the error that ended the watch. */
async function watch(recent: RecentRevisions, after: bigint): Promise<{ seen: bigint[]; error: unknown }> {
  const stop = new AbortController();
  const seen: bigint[] = [];
  let error: unknown;
  const watching = (async () => {
    for await (const { revision } of recent.watch(after, stop.signal)) seen.push(revision);
  })().catch((reason: unknown) => (error = reason));
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
  stop.abort();
  await watching;
  return { seen, error };
}

test('S9: a watch delivers every later revision that has changes, from any revision on', async () => {
  const recent = new RecentRevisions(2n);
  for (const one of [batch(3n, 'a'), batch(4n), batch(5n, 'a', 'b'), batch(7n, 'a')]) recent.append(one);
  const seenAfter = async (after: bigint): Promise<bigint[]> => (await watch(recent, after)).seen;
  assert.deepEqual(await seenAfter(2n), [3n, 5n, 7n]);
  assert.deepEqual(await seenAfter(3n), [5n, 7n]);
  assert.deepEqual(await seenAfter(5n), [7n]);
  assert.deepEqual(await seenAfter(6n), [7n]);
  assert.deepEqual(await seenAfter(7n), []);
});

test('S9: the next revision wakes a watch that waits', async () => {
  const recent = new RecentRevisions(0n);
  const stop = new AbortController();
  const watching = recent.watch(0n, stop.signal);
  const next = watching.next();
  await new Promise((resolve) => setImmediate(resolve));
  recent.append(batch(1n, 'a'));
  assert.equal(((await next).value as RevisionBatch).revision, 1n);
  const last = watching.next();
  stop.abort();
  assert.equal((await last).done, true);
});

test('S10: a watch that needs dropped revisions ends with Compacted, and a watch of kept ones continues', async () => {
  const recent = new RecentRevisions(2n);
  for (const one of [batch(3n, 'a'), batch(4n, 'a'), batch(5n, 'a')]) recent.append(one);
  assert.ok((await watch(recent, 1n)).error instanceof Compacted);
  recent.compact(4n);
  const { seen, error } = await watch(recent, 3n);
  assert.deepEqual(seen, []);
  assert.ok(error instanceof Compacted);
  assert.deepEqual(await watch(recent, 4n), { seen: [5n], error: undefined });
});

test('S10: a watcher that falls behind the oldest kept revision ends with Compacted', async () => {
  const recent = new RecentRevisions(0n);
  for (let revision = 1n; revision <= 20_002n; revision++) recent.append(batch(revision, 'a'));
  assert.ok((await watch(recent, 1n)).error instanceof Compacted);
  assert.equal((await watch(recent, 2n)).seen.length, 20_000);
});

test('the values of dropped revisions are let go at once', async () => {
  const recent = new RecentRevisions(0n);
  const valueBytes = 1_024 * 1_024;
  const values: WeakRef<Uint8Array>[] = [];
  for (let i = 1; i <= 200; i++) {
    const value = new Uint8Array(valueBytes);
    values.push(new WeakRef(value));
    const entry = { key: 'a', value, createRevision: 1n, modRevision: BigInt(i) };
    recent.append({ revision: BigInt(i), changes: [{ kind: 'put', entry }] });
  }
  await new Promise((resolve) => setImmediate(resolve)); // a WeakRef that was read or made holds its target for a turn
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  const held = values.filter((value) => value.deref()).length;
  assert.ok(held <= 64, `${held} MiB are held`);
  assert.equal((await watch(recent, 150n)).seen.length, 50);
});
