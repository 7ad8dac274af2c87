import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  KeyUse,
  keysReadOnRefusal,
  partsOf,
  takeGroup,
  type Unit,
  unitOf,
} from '../../../../src/store/etcd/grouping.js';
import type { Txn } from '../../../../src/store/store.js';

const ignore = (): void => undefined;

function txn(reads: readonly string[], writes: readonly string[], bytes = 1): Txn {
  return {
    writeId: 'w',
    compares: reads.map((key) => ({ key, modRevision: 0n })),
    writes: writes.map((key) => ({ kind: 'put', key, value: new Uint8Array(bytes) })),
  };
}

const unit = (reads: string, writes: string, alone = false, bytes = 1): Unit =>
  unitOf({ guard: [], txns: [txn([...reads], [...writes], bytes)], alone, settle: ignore, fail: ignore });

/** The positions in the queue of the units that are taken. */
function taken(queue: readonly Unit[], inFlight: readonly Unit[] = []): number[] {
  const use = new KeyUse();
  for (const one of inFlight) use.add(one);
  return takeGroup(queue, use).map((one) => queue.indexOf(one));
}

test('S3: a key that one unit of a group writes no other unit reads or writes', () => {
  assert.deepEqual(taken([unit('a', 'b'), unit('a', 'c')]), [0, 1], 'reads overlap reads');
  assert.deepEqual(taken([unit('a', 'b'), unit('b', 'c'), unit('', 'd')]), [0, 2]);
  assert.deepEqual(taken([unit('a', 'b'), unit('', 'a'), unit('', 'd')]), [0, 2]);
  assert.deepEqual(taken([unit('', 'b'), unit('', 'b'), unit('', 'd')]), [0, 2]);
  assert.deepEqual(taken([unit('', 'b'), unit('', 'd')], [unit('', 'b')]), [1], 'a key in flight blocks as well');
});

test('S4: a unit that waits blocks the later units on its keys', () => {
  assert.deepEqual(taken([unit('', 'a'), unit('', 'ab'), unit('', 'b'), unit('', 'c')]), [0, 3]);
});

test('S11: a unit of commitEach shares a group with no other unit', () => {
  assert.deepEqual(taken([unit('', 'a', true), unit('', 'b')]), [0]);
  assert.deepEqual(taken([unit('', 'a'), unit('', 'b', true), unit('', 'c')]), [0, 2]);
});

test('a group has at most 100 units, 512 KiB and 128 operations, and a larger unit goes by itself', () => {
  const many = Array.from({ length: 150 }, (_, i) => unit('', String.fromCharCode(0x4e00 + i)));
  assert.equal(taken(many).length, 100);
  const large = [unit('', 'a', false, 600_000), unit('', 'b'), unit('', 'c')];
  assert.deepEqual(taken(large), [0]);
  assert.deepEqual(taken([large[1]!, large[0]!, large[2]!]), [0, 2]);
  const wide = Array.from({ length: 110 }, (_, i) => String.fromCharCode(0x4e00 + i)).join('');
  assert.equal(
    taken([unit('', wide), ...'abcdefghijklmnopqrstuvwxyz'.split('').map((key) => unit('', key))]).length,
    18,
  );
});

test('a commitEach is cut into parts that each fit into one transaction of etcd, in order', () => {
  const txns = Array.from({ length: 250 }, (_, i) => txn([`r${i}`], [`w${i}`]));
  const parts = [...partsOf(txns)];
  assert.deepEqual(
    parts.map(({ length }) => length),
    [100, 100, 50],
  );
  assert.deepEqual(parts.flat(), txns);
  assert.deepEqual([...partsOf([])], []);
});

test('a refused transaction reads its compared keys in order, and then the other keys that it writes', () => {
  assert.deepEqual(keysReadOnRefusal(txn(['b', 'a'], ['a', 'c'])), ['b', 'a', 'c']);
});
