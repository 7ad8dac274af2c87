import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromTimestamp } from '../../../../src/model/time.js';
import { RemovalReason } from '../../../../src/gen/rollcall/v1/instance.js';
import { WatchServicesResponse } from '../../../../src/gen/rollcall/v1/registry_service.js';
import { ResetReason, WatchKind } from '../../../../src/gen/rollcall/v1/watch.js';
import { encodeResumeToken, decodeResumeToken } from '../../../../src/model/tokens.js';
import { Reader, Stage, viewOf } from '../../../support/stage.js';

const { WATCH_KIND_SNAPSHOT: SNAPSHOT, WATCH_KIND_CHANGE: CHANGE, WATCH_KIND_BOOKMARK: BOOKMARK } = WatchKind;
/** An instance that lives through any of these tests, with some 7 kB. */
const lasting = (id: string, version = '1') => ({ id, version, incarnation: id, ttlS: 600, metadata: BULK });
const BULK = new Map(Array.from({ length: 7 }, (_, i) => [`k${i}`, 'v'.repeat(1_000)]));

async function withInstances(count: number): Promise<Stage> {
  const stage = await Stage.ready();
  const all = Array.from({ length: count }, (_, i) => stage.register(lasting(`p${i}`)));
  await stage.until(Promise.all(all));
  return stage;
}

test('W1: only the last part of what is sent at once carries a revision and a token', async () => {
  const stage = await withInstances(400);
  const reader = stage.watch();
  await stage.turns();
  assert.ok(reader.messages.length >= 3, `${reader.messages.length} parts`);
  const whole = reader.messages.map(({ revision, resumeToken }) => [revision > 0n, resumeToken !== '']);
  assert.deepEqual(
    whole,
    reader.messages.map((_, i) => (i === reader.messages.length - 1 ? [true, true] : [false, false])),
  );
  assert.equal(reader.view.size, 400);
});

test('E4 W1: what a protection shows again at one revision comes in parts, of which the last has the note', async () => {
  const stage = await Stage.ready();
  // Half and one more of them fall at once.
  const all = Array.from({ length: 798 }, (_, i) => stage.register({ ...lasting(`p${i}`), ttlS: 2 }));
  await stage.until(Promise.all(all));
  await stage.start(); // instances that are found count at once
  const reader = stage.watch();
  await stage.turns();
  const seen = reader.messages.length;
  await stage.untilTrue(() => stage.count('protections_begun_alone') === 1, 35_000);
  await stage.turns();
  const parts = reader.messages.slice(seen).filter(({ upserted }) => upserted.length > 0);
  assert.ok(parts.length >= 3, `${parts.length} parts`);
  for (const part of parts)
    assert.ok(WatchServicesResponse.encode({ ...part, progress: part }).finish().length < 1_100_000);
  assert.deepEqual(
    parts.map(({ revision, services }) => [revision > 0n, services[0]?.protection?.unhealthyCount]),
    parts.map((_, i) => (i === parts.length - 1 ? [true, 400] : [false, undefined])),
  );
  assert.equal(reader.view.size, 798);
});

test('W1: many removals at once come in parts that stock clients take', async () => {
  const stage = await Stage.ready();
  const ids = Array.from({ length: 9_000 }, (_, i) => `p${i}`.padEnd(120, '-'));
  await stage.until(Promise.all(ids.map((id) => stage.register({ id, ttlS: 600 }))));
  const open = stage.watch();
  await stage.turns();
  const { token } = open;
  await stage.until(Promise.all(ids.map((id) => stage.deregister({ id }))));
  const late = stage.watch(token);
  await stage.turns();
  for (const reader of [open, late]) {
    const parts = reader.messages.filter(({ removed }) => removed.length > 0);
    for (const part of parts)
      assert.ok(WatchServicesResponse.encode({ ...part, progress: part }).finish().length < 1_100_000);
    assert.equal(new Set(parts.flatMap(({ removed }) => removed.map(({ id }) => id))).size, ids.length);
  }
  assert.ok(late.messages.length >= 2, `${late.messages.length} parts`);
});

test('W1: a snapshot replaces the view, a change adds to it, and a touch sends nothing', async () => {
  const stage = await withInstances(1);
  const reader = stage.watch();
  assert.deepEqual([reader.last.kind, [...reader.view.keys()]], [SNAPSHOT, ['p0']]);
  await stage.until(stage.register(lasting('p1')));
  assert.deepEqual([reader.last.kind, [...reader.view.keys()].sort()], [CHANGE, ['p0', 'p1']]);
  const before = reader.messages.length;
  await stage.until(stage.register(lasting('p1')));
  assert.equal(stage.count('registers'), 3);
  assert.equal(reader.messages.length, before, 'the same Register again is no change');
  await stage.until(stage.deregister({ id: 'p0' }));
  assert.deepEqual([...reader.view.keys()], ['p1']);
  const [removed] = reader.last.removed;
  assert.equal(removed?.reason, RemovalReason.REMOVAL_REASON_DEREGISTERED);
});

test('W1: what happened while the catalog had to list again arrives as a change', async () => {
  const stage = await withInstances(2);
  const reader = stage.watch();
  stage.process.pause();
  // Another replica writes, and the history is compacted before this one has seen more than the first of it.
  for (const id of ['p0', 'p1']) {
    const { entry } = await stage.store.get(`w/i/default/pay/${id}`);
    await stage.write({ kind: 'put', key: entry!.key, value: entry!.value });
  }
  stage.store.compactAll();
  stage.process.resume();
  await stage.pass(1_000);
  const { revision } = await stage.store.get('w/i/default/pay/p1');
  assert.equal(stage.count('relists'), 2);
  assert.equal(stage.replica.catalog.revision, revision);
  assert.deepEqual([reader.last.kind, reader.last.revision], [CHANGE, revision]);
  assert.ok(reader.last.upserted.some(({ id }) => id === 'p1'));
});

test('W2: the last state arrives at a reader that took nothing for a while', async () => {
  const stage = await withInstances(1);
  const reader = stage.watch();
  reader.stuck = true;
  for (let i = 2; i < 80; i++) await stage.until(stage.register(lasting('p0', `${i}`)));
  const seen = reader.messages.length;
  assert.notEqual(reader.view.get('p0'), '79');
  await reader.go();
  await stage.turns();
  assert.equal(reader.view.get('p0'), '79');
  assert.ok(reader.messages.length <= seen + 2, 'what was overtaken is skipped');
});

test('W3: a token is continued by a replica that has only just started', async () => {
  const stage = await withInstances(2);
  const first = stage.watch();
  await stage.until(stage.deregister({ id: 'p0' }));
  const { token } = first;
  await stage.until(stage.deregister({ id: 'p1' }));
  await stage.start();
  const resumed = stage.watch(token);
  await stage.turns();
  assert.deepEqual(
    [resumed.last.kind, resumed.last.removed.map(({ id }) => id), resumed.last.resetReason],
    [CHANGE, ['p1'], ResetReason.RESET_REASON_UNSPECIFIED],
  );
});

test('W3: a token of another store, or of another selection, gets a snapshot that says so', async () => {
  const stage = await withInstances(1);
  const token = decodeResumeToken(stage.watch().token)!;
  const foreign = stage.watch(encodeResumeToken({ ...token, epoch: 'another' }));
  assert.deepEqual(
    [foreign.last.kind, foreign.last.resetReason, foreign.view.size],
    [SNAPSHOT, ResetReason.RESET_REASON_OTHER_STORE, 1],
  );
  const other = stage.watch(encodeResumeToken({ ...token, selection: 'another' }));
  assert.deepEqual(
    [other.last.kind, other.last.resetReason, other.view.size],
    [SNAPSHOT, ResetReason.RESET_REASON_OTHER_SELECTION, 1],
  );
});

test('W3: a token that is ahead waits for 2 s, and then gets REVISION_NOT_REACHED', async () => {
  const stage = await withInstances(1);
  const token = decodeResumeToken(stage.watch().token)!;
  const ahead = encodeResumeToken({ ...token, revision: token.revision + 1n });
  const early = stage.watch(ahead);
  await stage.pass(1_900);
  assert.deepEqual([early.messages.length, early.error], [0, undefined]);
  assert.equal(stage.hub.size, 2, 'it counts while it waits');
  const given = stage.watch(ahead);
  assert.equal(stage.hub.size, 3);
  given.close();
  assert.equal(stage.hub.size, 2);
  await stage.pass(200);
  assert.equal(early.error?.reason, 'REVISION_NOT_REACHED');
  assert.ok(early.error.retryAfterMs);
  const patient = stage.watch(ahead);
  await stage.pass(1_000);
  await stage.until(stage.register(lasting('p1')));
  assert.equal(patient.error, undefined);
  assert.deepEqual([patient.last.kind, patient.last.revision], [BOOKMARK, token.revision + 1n]);
});

test('W4: a quiet stream gets a bookmark every 15 s, with a fresh token and how old the answer may be', async () => {
  const stage = await withInstances(1);
  const reader = stage.watch();
  const { revision } = reader.last;
  // Something that this watch does not look at moves the revision, and so the token.
  await stage.until(stage.replica.freshness.ready({ minRevision: 0n, barrier: true })!);
  stage.store.setOutage('refuse');
  for (let i = 1; i <= 3; i++) {
    await stage.pass(15_000);
    const bookmarks = reader.messages.filter(({ kind }) => kind === BOOKMARK);
    assert.ok(bookmarks.length >= i, `${bookmarks.length} after ${15 * i} s`);
  }
  assert.ok(reader.last.staleFor && reader.last.staleFor.seconds >= 30n);
  assert.equal(reader.last.revision, revision + 1n);
  assert.equal(decodeResumeToken(reader.last.resumeToken)?.revision, revision + 1n);
  assert.ok(fromTimestamp(reader.last.serverTime!) > fromTimestamp(reader.messages[0]!.serverTime!));
});

test('W5: a reader that takes nothing holds a bounded amount, and slows no other', async () => {
  const stage = await withInstances(400);
  const slow = new Reader();
  slow.stuck = true;
  stage.watch('', slow);
  const fast = stage.watch();
  for (let i = 2; i < 100; i++) await stage.until(stage.register(lasting('p0', `${i}`)));
  assert.equal(fast.view.get('p0'), '99');
  // One part may go over the bound: 256 KiB and a part of 1 MiB.
  assert.ok(slow.unsentBytes > 0 && slow.unsentBytes < 1.3 * 1_024 * 1_024, `${slow.unsentBytes} bytes`);
});

test('W5: a reader that makes no progress for 60 s is ended, and one that makes some is not', async () => {
  const stage = await withInstances(1);
  const [stuck, slow] = [new Reader(), new Reader()];
  for (const reader of [stuck, slow]) {
    reader.stuck = true;
    stage.watch('', reader);
  }
  await stage.pass(40_000);
  await slow.go();
  slow.stuck = true;
  await stage.until(stage.register(lasting('p0', '2')));
  assert.equal(stuck.sink.ended, false);
  await stage.pass(25_000);
  assert.equal(stuck.error?.reason, 'SLOW_READER');
  assert.equal(slow.sink.ended, false);
  assert.equal(stage.hub.size, 1);
});

test('a stream that has ended is served no more and leaves nothing behind', async () => {
  const stage = await withInstances(1);
  const reader = stage.watch();
  reader.close();
  const before = reader.messages.length;
  await stage.until(stage.register(lasting('p0', '2')));
  await stage.pass(20_000);
  assert.equal(reader.messages.length, before);
  assert.equal(stage.hub.size, 0);
});

test('W5: what all readers together have not taken is bounded; those that stand still in the way of others are ended', async () => {
  const stage = await Stage.ready();
  const metadata = new Map(Array.from({ length: 7 }, (_, i): [string, string] => [`k${i}`, 'x'.repeat(1_000)]));
  for (let i = 0; i < 150; i++) await stage.until(stage.register({ id: `p${i}`, ttlS: 600, metadata }));
  const readers = Array.from({ length: 160 }, () => {
    const reader = new Reader();
    reader.stuck = true;
    return stage.watch('', reader);
  });
  await stage.turns();
  const unsent = (): number => readers.reduce((sum, { unsentBytes }) => sum + unsentBytes, 0);
  assert.ok(unsent() < 130 * 1_024 * 1_024, `${unsent()} bytes`);
  const last = readers.at(-1)!;
  assert.equal(last.messages.length, 0, 'the last one waits');
  last.stuck = false;
  await stage.pass(12_000);
  await stage.turns();
  assert.equal(readers[0]!.error?.reason, 'SLOW_READER');
  assert.equal(last.messages.length, 0, 'what those that were ended have not taken is still held');
  for (const reader of readers) if (reader.error) reader.release();
  await stage.turns();
  assert.equal(last.view.size, 150, 'and goes on when it is dropped');
});

test('W3: a snapshot that was cut goes on from its last part, on this replica and on one that starts', async () => {
  const stage = await withInstances(400);
  const cut = new Reader();
  cut.stuck = true;
  stage.watch('', cut);
  const [first] = cut.messages;
  assert.deepEqual([first?.revision, first?.continues, first?.resumeToken], [0n, false, '']);
  cut.close();
  await stage.until(stage.deregister({ id: 'p0', incarnation: 'p0' })); // in the first part
  await stage.until(stage.register(lasting('p1', '2')));
  await stage.until(stage.register(lasting('new')));
  for (const where of ['here', 'after a start']) {
    const rest = stage.watch(first!.continueToken);
    await stage.turns();
    const { continues, resetReason } = rest.messages[0]!;
    assert.deepEqual([continues, resetReason], [true, ResetReason.RESET_REASON_UNSPECIFIED], where);
    assert.deepEqual(
      rest.messages.slice(1).map((message) => message.continues),
      rest.messages.slice(1).map(() => false),
    );
    const sent = rest.messages.flatMap(({ upserted }) => upserted).length;
    assert.equal(sent, 400 - first!.upserted.length + 2, where);
    const view = viewOf([first!, ...rest.messages]);
    assert.deepEqual([view.size, view.has('p0'), view.get('p1'), view.get('new')], [400, false, '2', '1'], where);
    await stage.start();
  }
});

test('W3: a snapshot cannot go on once a removal since its beginning is forgotten, however often it was continued', async () => {
  const stage = await withInstances(800);
  const cut = (token: string): Reader => {
    const reader = new Reader();
    reader.stuck = true;
    stage.watch(token, reader);
    reader.close();
    return reader;
  };
  const [first] = cut('').messages;
  await stage.until(stage.deregister({ id: 'p0', incarnation: 'p0' }));
  const [second] = cut(first!.continueToken).messages;
  assert.deepEqual([second?.continues, second?.revision], [true, 0n]);
  await stage.pass(17 * 60_000);
  assert.equal(stage.count('tombstones_collected'), 1);
  const reset = stage.watch(second!.continueToken);
  assert.deepEqual(
    [reset.messages[0]?.continues, reset.messages[0]?.resetReason],
    [false, ResetReason.RESET_REASON_TOKEN_TOO_OLD],
  );
});
