import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DamagedRecord,
  decodeEntry,
  decodeMeta,
  encodeEntry,
  encodeMeta,
} from '../../../../src/store/embedded/layout.js';

const ENTRY = { key: 'w/i/a', value: new Uint8Array([1, 2, 3]), modRevision: 7n, createRevision: 3n };

test('S13: a decoded record equals the record that was encoded', () => {
  assert.deepEqual(decodeEntry('w/i/a', encodeEntry(ENTRY)), ENTRY);
});

test('a record with any flipped bit, or under a different key, is refused', () => {
  const bytes = encodeEntry(ENTRY);
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const damaged = Buffer.from(bytes);
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    assert.throws(() => decodeEntry('w/i/a', damaged), DamagedRecord, `bit ${bit}`);
  }
  assert.throws(() => decodeEntry('w/i/b', bytes), DamagedRecord);
  assert.throws(() => decodeEntry('w/i/a', bytes.subarray(0, 10)), DamagedRecord);
  const meta = encodeMeta({ revision: 7n, records: 3 });
  assert.deepEqual(decodeMeta(meta), { revision: 7n, records: 3 });
  meta[5]! ^= 1;
  assert.throws(() => decodeMeta(meta), DamagedRecord);
});
