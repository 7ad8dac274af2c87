import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LivenessTable, type Query } from '../../../../src/domain/health/liveness-table.js';
import type { LivenessClock } from '../../../../src/domain/health/liveness-clock.js';
import { InstanceRecord } from '../../../../src/gen/rollcall/storage/v1/records.js';
import { type InstanceItem, readInstance, writeInstance } from '../../../../src/model/instance.js';

const KEY = 'w/i/default/pay/p1';
const TTL_MS = 5_000;

/** The record of p1 as the catalog has it at a revision. `began`: the revision at which the incarnation registered. */
function item(modRevision: bigint, incarnation = 'a', began = modRevision): InstanceItem {
  const instance = { namespace: 'default', service: 'pay', id: 'p1', incarnation, ttl: { seconds: 5n, nanos: 0 } };
  const value = writeInstance(InstanceRecord.fromPartial({ writeId: 'w', instance, incarnationRevision: began }));
  return readInstance({ key: KEY, value, modRevision });
}

/** What is heard, at a time that is set by hand. */
function hearing(): { table: LivenessTable; time: { now: number } } {
  const time = { now: 100_000 };
  const clock = {
    get nowMs() {
      return time.now;
    },
    get monotonicMs() {
      return time.now;
    },
    stamp: () => time.now,
  } as LivenessClock;
  return { table: new LivenessTable(clock), time };
}

const query = (revision: bigint, incarnation = 'a'): Query => ({ key: KEY, incarnation, ttlMs: TTL_MS, revision });

test('E3: a query is answered HEARD within the ttl of a beat of that incarnation, and SILENT otherwise', () => {
  const { table, time } = hearing();
  const entry = table.recordSeen(item(7n), false);
  assert.deepEqual(table.answer(query(7n), false), { kind: 'SILENT', ageMs: undefined, promisedRevision: 0n });
  table.note(entry, 'a', 7n);
  time.now += TTL_MS - 1;
  assert.deepEqual(table.answer(query(7n), true), { kind: 'HEARD', ageMs: TTL_MS - 1 });
  assert.equal(table.answer(query(7n, 'b'), false).kind, 'SILENT');
  assert.equal(entry.promisedRevision, 0n, 'only SILENT promises, and only when asked to');
  time.now += 1;
  assert.deepEqual(table.answer(query(7n), true), { kind: 'SILENT', ageMs: TTL_MS, promisedRevision: 7n });
});

test('E3: a removal that is seen late takes nothing from the process that has registered since', () => {
  const { table, time } = hearing();
  table.recordSeen(item(5n, 'a'), false);
  table.noteOf(KEY, 'b', 9n);
  time.now += 1_000;
  table.recordRemoved(KEY, 7n);
  assert.deepEqual(
    table.recent().map(({ incarnation, ageMs }) => [incarnation, ageMs]),
    [['b', 1_000]],
    'it is handed over, too',
  );
  table.recordSeen(item(9n, 'b'), false);
  assert.deepEqual(table.answer(query(9n, 'b'), true), { kind: 'HEARD', ageMs: 1_000 });
  table.recordRemoved(KEY, 11n);
  assert.deepEqual(table.recent(), []);
});

test('E3: a query about a record that is newer here, or gone, is answered CHANGED', () => {
  const { table } = hearing();
  table.recordSeen(item(8n), false);
  assert.equal(table.answer(query(7n), true).kind, 'CHANGED');
  assert.equal(table.entry(KEY)?.promisedRevision, 0n);
  table.recordRemoved(KEY, 4n);
  assert.equal(table.answer(query(8n), true).kind, 'CHANGED');
});

test('E3: a promise lasts until the record is newer than what it was made for', () => {
  const { table } = hearing();
  const entry = table.recordSeen(item(7n), false);
  table.answer(query(9n), true);
  assert.equal(entry.promisedRevision, 9n);
  table.answer(query(8n), true);
  assert.equal(entry.promisedRevision, 9n, 'an older promise takes nothing back');
  table.note(entry, 'a', 7n);
  table.recordSeen(item(9n), false);
  assert.equal(entry.promisedRevision, 9n, 'neither a beat nor that very revision ends it');
  table.recordSeen(item(10n), false);
  assert.equal(entry.promisedRevision, 0n);
});

test('I2: a late beat of an older incarnation does not replace what the newer one was heard with', () => {
  const { table, time } = hearing();
  const entry = table.recordSeen(item(7n, 'b'), false);
  table.note(entry, 'b', 7n);
  time.now += 100;
  table.note(entry, 'a', 6n);
  assert.deepEqual([entry.beatIncarnation, entry.beatRevision, entry.beatStampMs], ['b', 7n, 100_000]);
  table.note(entry, 'c', 8n);
  assert.deepEqual([entry.beatIncarnation, entry.beatRevision, entry.beatStampMs], ['c', 8n, 100_100]);
});

test('E3: a note never lowers what was heard before', () => {
  const { table, time } = hearing();
  const entry = table.recordSeen(item(7n), false);
  table.note(entry, 'a', 7n);
  time.now -= 30; // stamps of a clock that stood still since
  table.note(entry, 'a', 6n);
  assert.deepEqual([entry.beatRevision, entry.beatStampMs], [7n, 100_000]);
});

test('E3: the ttl begins with the last beat of the standing incarnation, or with the last change of the record', () => {
  const { table, time } = hearing();
  const entry = table.recordSeen(item(7n), false);
  assert.equal(table.deadlineMs(entry), 100_000 + TTL_MS);
  time.now += 1_000;
  table.note(entry, 'other', 7n);
  assert.equal(table.deadlineMs(entry), 100_000 + TTL_MS, 'a beat of another incarnation is none of this one');
  time.now += 1_000;
  table.note(entry, 'a', 8n);
  assert.equal(table.deadlineMs(entry), 102_000 + TTL_MS);
  time.now += 1_000;
  table.recordSeen(item(9n), false);
  assert.equal(table.deadlineMs(entry), 103_000 + TTL_MS);
});

test('E4: an incarnation that another one replaced for a moment runs since it registered again, also where only listings tell', () => {
  const { table, time } = hearing();
  const entry = table.recordSeen(item(5n, 'a'), false);
  time.now += 60_000;
  table.recordSeen(item(6n, 'a', 5n), true);
  assert.equal(entry.runBeganMs, 100_000, 'a change of the record begins no run');
  table.recordSeen(item(9n, 'a', 9n), true);
  assert.equal(entry.runBeganMs, 160_000);
  assert.equal(entry.placedMs, 160_000);
});
