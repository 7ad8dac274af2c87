import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Overlay } from '../../../src/store/overlay.js';
import type { Compare, Entry, Txn, Write } from '../../../src/store/store.js';

const put = (key: string): Write => ({ kind: 'put', key, value: new Uint8Array([1]) });
const at = (key: string, modRevision: bigint): Compare => ({ key, modRevision });
const txn = (compares: readonly Compare[], ...writes: readonly Write[]): Txn => ({ writeId: 'w', compares, writes });

/** An overlay at revision 10 over one committed key: "a", created at 2 and written at 4. */
function overlay(): Overlay {
  const a: Entry = { key: 'a', value: new Uint8Array(), modRevision: 4n, createRevision: 2n };
  return new Overlay(10n, (key) => (key === 'a' ? a : undefined));
}

test('S11: commitEach evaluates all compares before its first write', () => {
  const over = overlay();
  const results = over.commitEach(
    [],
    [txn([at('a', 4n)], put('a')), txn([at('a', 4n)], put('b')), txn([at('b', 0n)], put('c'))],
  );
  assert.deepEqual(results, [
    { ok: true, revision: 11n },
    { ok: true, revision: 11n },
    { ok: true, revision: 11n },
  ]);
  assert.deepEqual(
    over.batches.map(({ revision, changes }) => [revision, changes.length]),
    [[11n, 3]],
  );
});

test('S11: a commitEach that writes a key twice fails an assertion', () => {
  assert.throws(() => overlay().commitEach([], [txn([], put('b')), txn([], put('b'))]), /written twice/);
});

test('S3: each transaction sees the earlier ones of its group', () => {
  const over = overlay();
  assert.deepEqual(over.commit(txn([at('a', 4n)], put('a'))), { ok: true, revision: 11n });
  const second = over.commit(txn([at('a', 4n)], put('a')));
  assert.ok(!second.ok && second.revision === 11n && second.found[0]?.modRevision === 11n);
  assert.deepEqual(over.commit(txn([at('a', 11n)], { kind: 'delete', key: 'a' })), { ok: true, revision: 12n });
  assert.deepEqual(over.commit(txn([at('a', 0n)], put('a'))), { ok: true, revision: 13n });
  assert.equal(over.read('a')?.createRevision, 13n);
  assert.equal(over.recordDifference, 0);
});

test('S1: a transaction that is refused or writes nothing takes no revision', () => {
  const over = overlay();
  assert.equal(over.commit(txn([at('a', 3n)], put('a'))).ok, false);
  assert.deepEqual(over.commit(txn([at('a', 4n)])), { ok: true, revision: 10n });
  assert.deepEqual([over.revision, over.batches.length, over.written.size], [10n, 0, 0]);
});

test('S12: a rewrite keeps the create revision', () => {
  const over = overlay();
  over.commit(txn([], put('a')));
  assert.deepEqual([over.read('a')?.modRevision, over.read('a')?.createRevision], [11n, 2n]);
});
