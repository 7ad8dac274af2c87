import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Catalog } from '../../../src/catalog/catalog.js';
import { Commits } from '../../../src/catalog/commits.js';
import { listen, type Selection } from '../../../src/catalog/selection.js';
import { ConsistencyCheck } from '../../../src/catalog/sync/consistency-check.js';
import { ForeignDeleteRepair } from '../../../src/catalog/sync/foreign-delete-repair.js';
import { settleEpoch } from '../../../src/catalog/sync/schema.js';
import { StoreSync } from '../../../src/catalog/sync/store-sync.js';
import { GarbageCollector } from '../../../src/domain/retention/garbage-collector.js';
import { HorizonRecord } from '../../../src/gen/rollcall/storage/v1/records.js';
import { TOMBSTONE_KEPT_MS } from '../../../src/model/limits.js';
import { HORIZON_KEY } from '../../../src/model/store-facts.js';
import { type Entry, TXN_WRITES_MAX, WATCHED_RANGE, type Write } from '../../../src/store/store.js';
import { behind } from '../../support/deltas.js';
import { SimProcess, tallyingTelemetry } from '../../sim/process.js';
import { World } from '../../sim/world.js';
import { MemoryStore } from '../../support/memory-store.js';
import { NOTE, type NoteItem, noteValue } from '../../support/kinds/note.js';
import { PIN, pinValue } from '../../support/kinds/pin.js';
import { STAR, starValue } from '../../support/kinds/star.js';

const everything: Selection<NoteItem> = {
  key: 'notes',
  namespace: 'default',
  scopes: undefined,
  covers: () => true,
  wants: () => true,
  ignores: () => false,
};

/** A catalog with two kinds of its own, which follows a store, and everything that serves a catalog. */
class KindStage {
  readonly world = new World();
  readonly tally = new Map<string, number>();
  readonly process = new SimProcess(this.world);
  readonly store = new MemoryStore(new SimProcess(this.world).clock);
  readonly catalog: Catalog;
  readonly check: ConsistencyCheck;
  readonly sync: StoreSync;
  /** True: the store's watch delivers nothing. */
  deaf = false;

  constructor() {
    const { clock } = this.process;
    const telemetry = tallyingTelemetry(this.tally);
    const random = { id: () => `id${Math.random()}`, fraction: () => 0.5 };
    const hears = (): boolean => !this.deaf;
    const view = this.process.storeView(this.store);
    const store: typeof view = {
      ...view,
      watch: async function* (after, signal) {
        for await (const batch of view.watch(after, signal)) if (hears()) yield batch;
      },
    };
    this.catalog = new Catalog({ clock, telemetry, moreKinds: [NOTE, PIN, STAR] });
    const { catalog } = this;
    const commits = new Commits({ store, catalog, clock, random, node: 'n1', telemetry });
    this.sync = new StoreSync({ store, catalog, clock, random, telemetry });
    this.check = new ConsistencyCheck({
      store,
      catalog,
      clock,
      random,
      telemetry,
      beginAgain: () => this.sync.beginAgain(),
    });
    new ForeignDeleteRepair({ catalog, commits, clock, telemetry }).start();
    new GarbageCollector({ catalog, commits, clock, telemetry }).start();
  }

  async start(...entries: readonly Write[]): Promise<void> {
    if (entries.length > 0) await this.write(...entries);
    await settleEpoch(this.store, { id: () => 'epoch', fraction: () => 0 }, '');
    this.sync.start();
    await this.pass(10);
    assert.ok(this.catalog.ready);
  }

  async write(...writes: readonly Write[]): Promise<bigint> {
    const { revision } = await this.store.commit({ writeId: 'w', compares: [], writes });
    await this.pass(10);
    return revision;
  }

  async pass(ms: number): Promise<void> {
    await this.world.run(this.world.now + ms);
  }

  note(id: string): NoteItem | undefined {
    return this.catalog.of(NOTE).get('default', 'notes', id);
  }

  /** The notes that changed visibly after a cursor. */
  behind(cursor: bigint): string[] {
    const { upserted, removed } = behind(this.catalog.of(NOTE), everything, cursor, this.catalog.revision);
    return [...upserted.map(({ name }) => name), ...removed.map(({ name }) => `-${name}`)];
  }
}

const note = (id: string, text: string): Write => ({
  kind: 'put',
  key: `w/note/default/notes/${id}`,
  value: noteValue(text),
});
const pin = (pinned: boolean): Write => ({ kind: 'put', key: 'w/pin/default/notes', value: pinValue(pinned) });

test('a new kind is listed, followed and watched by its row alone', async () => {
  const stage = new KindStage();
  await stage.start(note('n1', 'one'));
  assert.equal(stage.note('n1')?.text, 'one');
  const cursor = stage.catalog.revision;
  let woken = 0;
  const stop = listen(stage.catalog.of(NOTE), everything, () => woken++);
  const seen: string[] = [];
  const signal = new AbortController();
  stage.catalog.subscribe(
    'other',
    (change) => change.of(NOTE).forEach(({ after }) => seen.push(after!.name)),
    signal.signal,
  );
  await stage.write(note('n2', 'two'));
  assert.deepEqual([stage.behind(cursor), seen, woken], [['n2'], ['n2'], 1]);
  await stage.write(note('n2', ''));
  assert.deepEqual(stage.behind(cursor), ['-n2']);
  stop();
  signal.abort();
  await stage.write(note('n3', 'three'));
  assert.deepEqual([seen.length, woken], [2, 2], 'neither listener is called after its end');
});

test('a new kind is compared with the store: a lost event is found, and everything is listed again', async () => {
  const stage = new KindStage();
  await stage.start(note('n1', 'one'));
  stage.deaf = true;
  await stage.write(note('n2', 'two'));
  stage.deaf = false;
  await stage.write(note('n3', 'three'));
  assert.equal(stage.note('n2'), undefined);
  const different = stage.check.compare();
  await stage.pass(100);
  assert.deepEqual(await different, ['w/note/default/notes/n2']);
  await stage.pass(1_000);
  assert.equal(stage.note('n2')?.text, 'two');
});

test('a new kind is repaired after a foreign delete, and its tombstones are collected', async () => {
  const stage = new KindStage();
  await stage.start(note('n1', 'one'));
  const { revision } = stage.note('n1')!;
  await stage.write({ kind: 'delete', key: 'w/note/default/notes/n1' });
  assert.equal(stage.tally.get('FOREIGN_DELETE'), 1);
  await stage.pass(2_000);
  const { entry } = await stage.store.get('w/note/default/notes/n1');
  assert.ok(entry && entry.modRevision > revision);
  await stage.write(note('n1', ''));
  await stage.pass(TOMBSTONE_KEPT_MS + 130_000);
  assert.equal((await stage.store.get('w/note/default/notes/n1')).entry, undefined);
  assert.equal(stage.note('n1'), undefined);
  assert.ok(stage.catalog.horizon > revision);
});

test('W3: a collection never lowers the horizon, also if another replica has raised it and this one does not know yet', async () => {
  const stage = new KindStage();
  await stage.start(note('n1', 'one'));
  await stage.write(note('n1', ''));
  stage.deaf = true;
  const value = HorizonRecord.encode({ writeId: 'other', revision: 1_000n }).finish();
  await stage.write({ kind: 'put', key: HORIZON_KEY, value });
  await stage.pass(TOMBSTONE_KEPT_MS + 130_000);
  const { entry } = await stage.store.get(HORIZON_KEY);
  assert.equal(HorizonRecord.decode(entry!.value).revision, 1_000n);
  assert.ok((await stage.store.get('w/note/default/notes/n1')).entry, 'nothing was collected on what is out of date');
});

test('W3: more tombstones than one transaction deletes are collected at once', async () => {
  const stage = new KindStage();
  const ids = Array.from({ length: 2 * TXN_WRITES_MAX }, (_, i) => `n${i}`);
  await stage.start(note('kept', 'one'));
  for (const id of ids) await stage.store.commit({ writeId: 'w', compares: [], writes: [note(id, '')] });
  await stage.pass(TOMBSTONE_KEPT_MS + 130_000);
  assert.deepEqual(
    [...stage.catalog.of(NOTE).all()].map(({ name }) => name),
    ['kept'],
  );
});

test('a kind that joins another moves its targets, and a live change and a listing give the same revisions', async () => {
  const stage = new KindStage();
  await stage.start(note('n1', 'one'), note('n2', 'two'));
  const cursor = stage.catalog.revision;
  const pinned = await stage.write(pin(true));
  assert.deepEqual(stage.behind(cursor).sort(), ['n1', 'n2']);
  assert.deepEqual([stage.note('n1')?.pinned, stage.note('n1')?.revision], [true, pinned]);
  const touched = await stage.write(note('n1', 'one again'));
  const unpinned = await stage.write(pin(false));
  const live = ['n1', 'n2'].map((id) => [stage.note(id)!.pinned, stage.note(id)!.revision]);
  assert.deepEqual(live, [
    [false, unpinned],
    [false, unpinned],
  ]);
  assert.ok(unpinned > touched);
  const listed = new KindStage();
  const entries: Entry[] = [];
  const { revision, pages } = await stage.store.list(WATCHED_RANGE);
  for await (const page of pages) entries.push(...page);
  listed.catalog.replace(revision, entries);
  assert.deepEqual(
    ['n1', 'n2'].map((id) => [listed.note(id)!.pinned, listed.note(id)!.revision]),
    live,
  );
});

test('a kind that joins item by item moves only its own item, also beside other joins, and its end is a change too', async () => {
  const stage = new KindStage();
  const star = (id: string, stars: number): Write => ({
    kind: 'put',
    key: `w/star/default/notes/${id}`,
    value: starValue(stars),
  });
  await stage.start(note('n1', 'one'), note('n2', 'two'), star('n2', 1), pin(true));
  assert.deepEqual([stage.note('n2')?.stars, stage.note('n2')?.pinned, stage.note('n1')?.stars], [1, true, 0]);
  let cursor = stage.catalog.revision;
  await stage.write(star('n1', 3));
  assert.deepEqual(stage.behind(cursor), ['n1']);
  assert.deepEqual([stage.note('n1')?.stars, stage.note('n2')?.stars], [3, 1], 'one star takes nothing from another');
  cursor = stage.catalog.revision;
  await stage.write(note('n1', 'changed'));
  assert.deepEqual(
    [stage.note('n1')?.stars, stage.note('n1')?.pinned],
    [3, true],
    'a changed target keeps its sources',
  );
  await stage.write(star('n1', 0));
  assert.deepEqual([stage.behind(cursor), stage.note('n1')?.stars], [['n1'], 0]);
  await stage.pass(TOMBSTONE_KEPT_MS + 130_000);
  assert.equal((await stage.store.get('w/star/default/notes/n1')).entry, undefined, 'its tombstone is collected');
  assert.deepEqual([stage.note('n2')?.stars, stage.note('n2')?.pinned], [1, true]);
});
