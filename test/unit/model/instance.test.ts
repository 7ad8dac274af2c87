import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { InstanceRecord } from '../../../src/gen/rollcall/storage/v1/records.js';
import { Instance } from '../../../src/gen/rollcall/v1/instance.js';
import { heard, readInstance, silenced, touched, writeInstance } from '../../../src/model/instance.js';

const KEY = 'w/i/default/pay/p1';
const STAMP = { writeId: 'w2', wallMs: 1, node: 'n1' };

/** A record as a newer program would write it: with fields that this one does not know, in the record and in the instance. */
function newer(silent: boolean): Uint8Array {
  const unknown = (text: string): Uint8Array =>
    new BinaryWriter()
      .uint32((1_000 << 3) | 2)
      .string(text)
      .finish();
  const instance = Buffer.concat([
    Instance.encode(Instance.fromPartial({ namespace: 'default', service: 'pay', id: 'p1' })).finish(),
    unknown('of the instance'),
  ]);
  return Buffer.concat([
    InstanceRecord.encode(InstanceRecord.fromPartial({ writeId: 'w1', silent })).finish(),
    new BinaryWriter()
      .uint32((2 << 3) | 2)
      .bytes(instance)
      .finish(),
    unknown('of the record'),
  ]);
}

const CAUSE = { decidedBy: 'n1', testimonies: [] };

const read = (value: Uint8Array) => readInstance({ key: KEY, value, modRevision: 5n });

test('what a newer program has written into a record survives a touch, a verdict and a heal', () => {
  for (const [name, change] of [
    ['touch', () => touched(read(newer(false)), STAMP)],
    ['verdict', () => silenced(read(newer(false)), true, CAUSE, STAMP)],
    ['heal', () => heard(read(newer(true)), undefined, STAMP)],
  ] as const) {
    const bytes = Buffer.from(writeInstance(change()));
    assert.ok(bytes.includes('of the record'), name);
    assert.ok(bytes.includes('of the instance'), name);
  }
});

test('a record that claims a visible change after its own write is refused: it was copied from another store', () => {
  const record = InstanceRecord.fromPartial({
    ...{ writeId: 'w1', visibleRevision: 6n },
    instance: { namespace: 'default', service: 'pay', id: 'p1' },
  });
  const value = writeInstance(record);
  assert.throws(() => readInstance({ key: KEY, value, modRevision: 5n }), /claims a revision beyond its own write/);
  assert.equal(readInstance({ key: KEY, value, modRevision: 6n }).revision, 6n);
});
