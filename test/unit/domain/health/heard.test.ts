import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Heard, type Query } from '../../../../src/domain/health/heard.js';
import type { LivenessClock } from '../../../../src/domain/health/liveness-clock.js';
import { InstanceRecord } from '../../../../src/gen/rollcall/storage/v1/records.js';
import { type InstanceItem, readInstance, writeInstance } from '../../../../src/model/records.js';

const KEY = 'i/default/pay/p1';
const TTL_MS = 5_000;

/** The record of p1 as the catalog has it at a revision. */
function item(modRevision: bigint, incarnation = 'a'): InstanceItem {
  const instance = { namespace: 'default', service: 'pay', id: 'p1', incarnation, ttl: { seconds: 5n, nanos: 0 } };
  return readInstance(KEY, writeInstance(InstanceRecord.fromPartial({ writeId: 'w', instance })), modRevision);
}

/** What is heard, at a time that is set by hand. */
function hearing(): { heard: Heard; time: { now: number } } {
  const time = { now: 100_000 };
  const clock = {
    get nowMs() {
      return time.now;
    },
    stamp: () => time.now,
  } as LivenessClock;
  return { heard: new Heard(clock), time };
}

const query = (revision: bigint, incarnation = 'a'): Query => ({ key: KEY, incarnation, ttlMs: TTL_MS, revision });

test('E3: a query is answered HEARD within the ttl of a beat of that incarnation, and SILENT otherwise', () => {
  const { heard, time } = hearing();
  const trace = heard.stands(item(7n), false);
  assert.equal(heard.answer(query(7n), false).kind, 'SILENT');
  heard.note(trace, 'a', 7n);
  time.now += TTL_MS - 1;
  assert.deepEqual(heard.answer(query(7n), true), { kind: 'HEARD', ageMs: TTL_MS - 1 });
  assert.equal(heard.answer(query(7n, 'b'), false).kind, 'SILENT');
  assert.equal(trace.promisedRevision, 0n, 'only SILENT promises, and only when asked to');
  time.now += 1;
  assert.deepEqual(heard.answer(query(7n), true), { kind: 'SILENT', promisedRevision: 7n });
});

test('E3: a removal that is seen late takes nothing from the process that has registered since', () => {
  const { heard, time } = hearing();
  heard.stands(item(5n, 'a'), false);
  heard.noteOf(KEY, 'b', 9n);
  time.now += 1_000;
  heard.gone(KEY, 7n);
  assert.deepEqual(
    heard.recent().map(({ incarnation, ageMs }) => [incarnation, ageMs]),
    [['b', 1_000]],
    'it is handed over, too',
  );
  heard.stands(item(9n, 'b'), false);
  assert.deepEqual(heard.answer(query(9n, 'b'), true), { kind: 'HEARD', ageMs: 1_000 });
  heard.gone(KEY, 11n);
  assert.deepEqual(heard.recent(), []);
});

test('E3: a query about a record that is newer here, or gone, is answered CHANGED', () => {
  const { heard } = hearing();
  heard.stands(item(8n), false);
  assert.equal(heard.answer(query(7n), true).kind, 'CHANGED');
  assert.equal(heard.trace(KEY)?.promisedRevision, 0n);
  heard.gone(KEY, 4n);
  assert.equal(heard.answer(query(8n), true).kind, 'CHANGED');
});

test('E3: a promise lasts until the record is newer than what it was made for', () => {
  const { heard } = hearing();
  const trace = heard.stands(item(7n), false);
  heard.answer(query(9n), true);
  assert.equal(trace.promisedRevision, 9n);
  heard.answer(query(8n), true);
  assert.equal(trace.promisedRevision, 9n, 'an older promise takes nothing back');
  heard.note(trace, 'a', 7n);
  heard.stands(item(9n), false);
  assert.equal(trace.promisedRevision, 9n, 'neither a beat nor that very revision ends it');
  heard.stands(item(10n), false);
  assert.equal(trace.promisedRevision, 0n);
});

test('I2: a late beat of an older incarnation does not replace what the newer one was heard with', () => {
  const { heard, time } = hearing();
  const trace = heard.stands(item(7n, 'b'), false);
  heard.note(trace, 'b', 7n);
  time.now += 100;
  heard.note(trace, 'a', 6n);
  assert.deepEqual([trace.beatIncarnation, trace.beatRevision, trace.beatStampMs], ['b', 7n, 100_000]);
  heard.note(trace, 'c', 8n);
  assert.deepEqual([trace.beatIncarnation, trace.beatRevision, trace.beatStampMs], ['c', 8n, 100_100]);
});

test('E3: a note never lowers what was heard before', () => {
  const { heard, time } = hearing();
  const trace = heard.stands(item(7n), false);
  heard.note(trace, 'a', 7n);
  time.now -= 30; // stamps of a clock that stood still since
  heard.note(trace, 'a', 6n);
  assert.deepEqual([trace.beatRevision, trace.beatStampMs], [7n, 100_000]);
});

test('E3: the ttl begins with the last beat of the standing incarnation, or with the last change of the record', () => {
  const { heard, time } = hearing();
  const trace = heard.stands(item(7n), false);
  assert.equal(heard.deadlineMs(trace), 100_000 + TTL_MS);
  time.now += 1_000;
  heard.note(trace, 'other', 7n);
  assert.equal(heard.deadlineMs(trace), 100_000 + TTL_MS, 'a beat of another incarnation is none of this one');
  time.now += 1_000;
  heard.note(trace, 'a', 8n);
  assert.equal(heard.deadlineMs(trace), 102_000 + TTL_MS);
  time.now += 1_000;
  heard.stands(item(9n), false);
  assert.equal(heard.deadlineMs(trace), 103_000 + TTL_MS);
});
