import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Catalog } from '../../../src/catalog/catalog.js';
import type { CatalogChange } from '../../../src/catalog/changes.js';
import { HorizonRecord, InstanceRecord, ProtectionRecord } from '../../../src/gen/rollcall/storage/v1/records.js';
import { INSTANCE } from '../../../src/catalog/kinds.js';
import { writeInstance } from '../../../src/model/instance.js';
import { protectionKey, writeProtection } from '../../../src/model/protection.js';
import { HORIZON_KEY } from '../../../src/model/store-facts.js';
import { matcher } from '../../../src/domain/registry/filter.js';
import { serviceSelection } from '../../../src/domain/registry/watching.js';
import type { Change, Entry } from '../../../src/store/store.js';
import { behind } from '../../support/deltas.js';
import { SimProcess, tallyingTelemetry } from '../../sim/process.js';
import { World } from '../../sim/world.js';

interface Shape {
  readonly visibleRevision?: bigint;
  readonly removed?: boolean;
  readonly service?: string;
}

const keyOf = (id: string, service = 'pay'): string => `w/i/default/${service}/${id}`;

function entry(id: string, modRevision: bigint, { visibleRevision = 0n, removed, service = 'pay' }: Shape = {}): Entry {
  const tombstone = removed ? { reason: 1, time: { seconds: 1n, nanos: 0 } } : undefined;
  const instance = { namespace: 'default', service, id, incarnation: 'a' };
  const record = InstanceRecord.fromPartial({
    writeId: 'w',
    instance,
    visibleRevision,
    ...(tombstone && { tombstone }),
  });
  return { key: keyOf(id, service), value: writeInstance(record), modRevision, createRevision: modRevision };
}

const horizon = (modRevision: bigint, revision: bigint): Entry => ({
  key: HORIZON_KEY,
  value: HorizonRecord.encode(HorizonRecord.fromPartial({ writeId: 'w', revision })).finish(),
  modRevision,
  createRevision: modRevision,
});
const put = (one: Entry): Change => ({ kind: 'put', entry: one });
const gone = (id: string): Change => ({ kind: 'delete', key: keyOf(id) });

/** A catalog that has listed `entries`, and what it counts. */
function listed(revision: bigint, ...entries: Entry[]): { catalog: Catalog; tally: Map<string, number> } {
  const tally = new Map<string, number>();
  const catalog = new Catalog({ clock: new SimProcess(new World()).clock, telemetry: tallyingTelemetry(tally) });
  catalog.replace(revision, entries);
  return { catalog, tally };
}

const everything = serviceSelection('default', undefined, matcher(undefined));
const since = (catalog: Catalog, from: bigint): { upserted: string[]; removed: string[] } => {
  const { upserted, removed } = behind(catalog.instances, everything, from, catalog.revision);
  return { upserted: upserted.map(({ name }) => name), removed: removed.map(({ name }) => name) };
};

test('W1: what lies behind a cursor is what changed after it, oldest first, whatever the service', () => {
  const { catalog } = listed(3n, entry('p1', 3n), entry('p2', 1n), entry('p3', 2n, { service: 'cart' }));
  catalog.apply({ revision: 4n, changes: [put(entry('p2', 4n))] });
  catalog.apply({
    revision: 6n,
    changes: [put(entry('p4', 6n)), put(entry('p3', 6n, { service: 'cart', removed: true }))],
  });
  assert.deepEqual(since(catalog, 6n), { upserted: [], removed: [] });
  assert.deepEqual(since(catalog, 4n), { upserted: ['p4'], removed: ['p3'] });
  assert.deepEqual(since(catalog, 3n), { upserted: ['p2', 'p4'], removed: ['p3'] });
  assert.deepEqual(since(catalog, 0n), { upserted: ['p1', 'p2', 'p4'], removed: [] });
});

test('W1: an invisible write moves no cursor, and the visible one behind it has its own revision', () => {
  const { catalog } = listed(2n, entry('p1', 1n), entry('p2', 2n));
  let told = 0;
  catalog.instances.listenToNamespace('default', () => told++);
  catalog.apply({ revision: 3n, changes: [put(entry('p1', 3n, { visibleRevision: 1n }))] });
  assert.equal(told, 0);
  assert.deepEqual(since(catalog, 1n), { upserted: ['p2'], removed: [] });
  const item = catalog.instances.get('default', 'pay', 'p1')!;
  assert.deepEqual([item.revision, item.instance.revision, item.modRevision], [1n, 1n, 3n]);
});

test('W1: a listing after a gap reports each change that happened meanwhile, visible or not, once', () => {
  const { catalog } = listed(2n, entry('p1', 1n), entry('p2', 2n));
  const seen: string[] = [];
  const taken = (change: CatalogChange): void => {
    for (const { after } of change.of(INSTANCE)) seen.push(`${after?.name} ${after?.modRevision} ${change.cause}`);
  };
  catalog.subscribe('other', taken, new AbortController().signal);
  let told = 0;
  catalog.instances.listenToScope('default', 'pay', () => told++);
  catalog.replace(9n, [
    entry('p1', 8n, { removed: true }),
    entry('p2', 7n, { visibleRevision: 2n }),
    entry('p3', 9n, { visibleRevision: 5n }),
  ]);
  assert.deepEqual(seen, ['p2 7 LISTING', 'p3 9 LISTING', 'p1 8 LISTING']);
  assert.equal(told, 1);
  assert.deepEqual(since(catalog, 2n), { upserted: ['p3'], removed: ['p1'] });
  assert.equal(catalog.revision, 9n);
});

test('C3: all changes of one revision are there before any listener is notified of one', () => {
  const { catalog } = listed(1n, entry('p1', 1n));
  const seen: number[] = [];
  for (const id of ['pay', 'cart'])
    catalog.instances.listenToScope('default', id, () => seen.push(catalog.instances.liveCount));
  catalog.apply({ revision: 2n, changes: [put(entry('p2', 2n)), put(entry('p3', 2n, { service: 'cart' }))] });
  assert.deepEqual(seen, [3, 3]);
});

test('W3: a removal is forgotten when the horizon has reached it, in the same revision or before', () => {
  const { catalog, tally } = listed(3n, entry('p1', 2n, { removed: true }), entry('p2', 3n, { removed: true }));
  catalog.apply({ revision: 4n, changes: [gone('p1'), put(horizon(4n, 2n))] });
  assert.deepEqual([catalog.instances.tombstoneCount, catalog.horizon], [1, 2n]);
  catalog.replace(6n, [horizon(6n, 3n)]);
  assert.deepEqual([catalog.instances.tombstoneCount, catalog.horizon], [0, 3n]);
  assert.equal(tally.get('foreign_deletes'), undefined);
});

test('a deletion by somebody else is not believed: the instance stays, with an alarm', () => {
  const { catalog, tally } = listed(3n, entry('p1', 1n), entry('p2', 2n), entry('p3', 3n, { removed: true }));
  catalog.apply({ revision: 4n, changes: [gone('p1'), gone('p3')] });
  assert.deepEqual([catalog.instances.liveCount, catalog.instances.tombstoneCount], [2, 1]);
  catalog.replace(5n, [entry('p1', 1n), entry('p3', 3n, { removed: true })]);
  assert.deepEqual([catalog.instances.liveCount, catalog.instances.tombstoneCount], [2, 1]);
  assert.deepEqual([tally.get('foreign_deletes'), tally.get('FOREIGN_DELETE')], [3, 1]);
});

test('a record that cannot be read is left out, with an alarm, and the others of its revision are taken', () => {
  const { catalog, tally } = listed(1n, entry('p1', 1n));
  const broken = { ...entry('p1', 2n), value: new Uint8Array([0xff, 0xff]) };
  const misplaced = { ...entry('p3', 2n), key: keyOf('p4') };
  const garbled = { ...entry('p5', 2n), value: new Uint8Array([0x0a, 1, 0xff]) }; // a write_id that is not UTF-8
  catalog.apply({ revision: 2n, changes: [put(broken), put(misplaced), put(garbled), put(entry('p2', 2n))] });
  assert.equal(catalog.revision, 2n);
  assert.deepEqual(since(catalog, 0n).upserted, ['p1', 'p2']);
  assert.deepEqual([tally.get('bad_records'), tally.get('BAD_RECORD')], [3, 1]);
});

test('an old copy of a record that somebody writes back is a visible change, and stops nothing', () => {
  const { catalog } = listed(3n, entry('p1', 3n), entry('p2', 2n));
  const protection = (modRevision: bigint, visibleRevision: bigint, active: boolean): Entry => ({
    key: protectionKey('default', 'pay'),
    value: writeProtection(ProtectionRecord.fromPartial({ writeId: 'w', active, visibleRevision })),
    modRevision,
    createRevision: 4n,
  });
  catalog.apply({ revision: 4n, changes: [put(protection(4n, 0n, true))] });
  catalog.apply({ revision: 6n, changes: [put(entry('p1', 6n, { visibleRevision: 1n }))] });
  catalog.apply({ revision: 7n, changes: [put(protection(7n, 2n, false))] });
  assert.equal(catalog.revision, 7n);
  assert.deepEqual(
    [catalog.instances.get('default', 'pay', 'p1')?.revision, catalog.protections.get('default', 'pay', '')?.revision],
    [6n, 7n],
  );
  assert.deepEqual(since(catalog, 5n).upserted, ['p1']);
});

test('revisions that go back are a bug, and stop at the door', () => {
  const { catalog } = listed(3n, entry('p1', 3n));
  assert.throws(() => catalog.apply({ revision: 3n, changes: [] }), /revision 3 after 3/);
  assert.throws(() => catalog.replace(2n, []), /older/);
});

test('a listener hears of its own service only, until it stops', () => {
  const { catalog } = listed(1n, entry('p1', 1n));
  let heard = 0;
  const stop = catalog.instances.listenToScope('default', 'cart', () => heard++);
  catalog.apply({ revision: 2n, changes: [put(entry('p1', 2n))] });
  assert.equal(heard, 0);
  catalog.apply({ revision: 3n, changes: [put(entry('c1', 3n, { service: 'cart' }))] });
  assert.equal(heard, 1);
  stop();
  catalog.apply({ revision: 4n, changes: [put(entry('c1', 4n, { service: 'cart' }))] });
  assert.equal(heard, 1);
});
