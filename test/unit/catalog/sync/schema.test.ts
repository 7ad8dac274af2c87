import assert from 'node:assert/strict';
import { test } from 'node:test';
import { prepareStore } from '../../../../src/catalog/sync/schema.js';
import { SchemaRecord } from '../../../../src/gen/rollcall/storage/v1/records.js';
import { SCHEMA_KEY } from '../../../../src/model/keys.js';
import { putTxn } from '../../../../src/store/store.js';
import { MemoryStore } from '../../../support/memory-store.js';
import { SimProcess, tallyingTelemetry } from '../../../sim/process.js';
import { World } from '../../../sim/world.js';

/** A store that a program of some schema wrote last, as this program finds it, and then leaves it. */
async function afterStart(writtenBy: number, minReader: number): Promise<SchemaRecord> {
  const { clock } = new SimProcess(new World());
  const store = new MemoryStore(clock);
  const value = SchemaRecord.encode({ writeId: 'before', writtenBy, minReader }).finish();
  await store.commit(putTxn('before', SCHEMA_KEY, value, 0n));
  const random = { id: () => 'id', fraction: () => 0 };
  const { log } = tallyingTelemetry(new Map());
  await prepareStore({ store, clock, random, log }, new AbortController().signal);
  const { entry } = await store.get(SCHEMA_KEY);
  return SchemaRecord.decode(entry!.value);
}

test('a store of an older schema that can be read is raised, so that older programs refuse it from then on', async () => {
  const { writtenBy, minReader } = await afterStart(2, 2);
  assert.deepEqual([writtenBy, minReader], [4, 4]);
});

test('a store that a newer program wrote, and that this one may read, keeps its schema', async () => {
  const { writtenBy, minReader, writeId } = await afterStart(5, 4);
  assert.deepEqual([writtenBy, minReader, writeId], [5, 4, 'before']);
});

test('a store that is too new or too old is refused, and not changed', async () => {
  await assert.rejects(afterStart(6, 5), /needs a program of schema 5 or newer/);
  await assert.rejects(afterStart(1, 1), /reads schema 2 and newer/);
});
