import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { createFileRegistry, fromBinary, type JsonValue } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { faultsOf } from '../../../../src/edges/http/json-faults.js';

const image = readFileSync(new URL('../../../../src/gen/image.binpb', import.meta.url));
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
const heartbeat = registry.getMessage('rollcall.v1.HeartbeatRequest')!;

test('faults are looked for up to a bound, however many there are and however long their names', () => {
  const many = (one: JsonValue): JsonValue => ({ instances: Array.from({ length: 100_000 }, () => one) });
  const keys = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`key${i}`, 1]));
  const long = { ['x'.repeat(1_000_000)]: 1 };
  for (const value of [many({ id: 1 }), many(1), many({ id: 'a' }), keys, long]) {
    const faults = faultsOf(heartbeat, value, registry);
    assert.ok(faults.length <= 20);
    assert.ok(JSON.stringify(faults).length < 10_000);
  }
  assert.deepEqual(faultsOf(heartbeat, { instances: [{ id: 'a' }, { id: 1 }] }, registry), [
    { field: 'instances[1].id', description: 'must be a text' },
  ]);
});
