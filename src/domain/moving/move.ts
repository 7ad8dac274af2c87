import type { Random } from '../../base/random.js';
import { isMoveTarget, readSchema, schemaRecord } from '../../catalog/sync/schema.js';
import { EpochRecord, MoveRecord } from '../../gen/rollcall/storage/v1/records.js';
import { decode } from '../../model/item.js';
import { SCHEMA_KEY, UNWATCHED_ROOT, WATCHED_ROOT } from '../../model/keys.js';
import { EPOCH_KEY, epochOf } from '../../model/store-facts.js';
import {
  allEntries,
  type Compare,
  type Entry,
  prefixRange,
  type Revision,
  type Store,
  type Txn,
  TXN_WRITES_MAX,
  type Write,
} from '../../store/store.js';
import { memberNodes } from '../cluster/view.js';
import { MOVED, type MovedKind, revisionsIn, withRevisions } from './records.js';

/** How far the move is: a key of the target, until it is finished. */
const MOVING_KEY = `${UNWATCHED_ROOT}moving`;
/** Keys of the target that stand for revisions of the source at which nothing was written last. They go at the end. */
const STEPS = `${UNWATCHED_ROOT}moving-step/`;
/** The most deletions in one transaction. */
const DELETES_MAX = 100;

/** The stores cannot be moved as they are. */
export class CannotMove extends Error {
  override readonly name = 'CannotMove';
}

/** Whatever was written at one revision of the source, or only named by another record. */
interface Step {
  readonly revision: Revision;
  readonly records: { readonly kind: MovedKind; readonly entry: Entry }[];
}

/** Everything that is to be moved, in the order of the source's revisions. */
export interface Plan {
  readonly epoch: string;
  readonly newest: Revision;
  readonly steps: readonly Step[];
  /** The number of records of each kind. */
  readonly counts: Readonly<Record<string, number>>;
  /** The number of keys that stay behind. */
  readonly left: number;
}

/** Reads a store whose servers are stopped. Throws CannotMove or UnreadableSchema. */
export async function planMove(source: Store): Promise<Plan> {
  if (!(await readSchema(source)).entry) throw new CannotMove('the source holds no store of Rollcall');
  const nodes = await memberNodes(source);
  if (nodes.length > 0)
    throw new CannotMove(
      `servers use the source: ${nodes.join(', ')}. Stop them; one that was killed is gone after 10 s`,
    );
  const steps = new Map<Revision, Step>();
  const stepOf = (revision: Revision): Step => {
    let step = steps.get(revision);
    if (!step) steps.set(revision, (step = { revision, records: [] }));
    return step;
  };
  const counts: Record<string, number> = {};
  let moved = 0;
  for (const kind of MOVED) {
    const content = kind.revisions.length > 0 ? 'entries' : 'keys'; // contents of configs are read one by one
    const entries = await allEntries(await source.list(prefixRange(kind.prefix), content));
    for (const entry of entries) {
      stepOf(entry.modRevision).records.push({ kind, entry });
      if (content === 'entries') for (const revision of revisionsIn(kind, entry)) stepOf(revision);
    }
    counts[kind.name] = entries.length;
    moved += entries.length;
  }
  const { entry: epoch } = await source.get(EPOCH_KEY);
  const all = await allKeys(source);
  const sorted = [...steps.values()].sort((a, b) => (a.revision < b.revision ? -1 : 1));
  const newest = sorted.at(-1)?.revision ?? 0n;
  return { epoch: epochOf(epoch) ?? '', newest, steps: sorted, counts, left: all.size - moved };
}

/** The dependencies of a move. */
export interface MoveParts {
  readonly source: Store;
  readonly target: Store;
  readonly random: Random;
  /** Called after each step. */
  readonly onStep: (done: number, all: number) => void;
}

/**
 * Writes everything of a plan into an empty store, in the order of the source's revisions, or goes on with a move that was
 * cut off. Each revision of the source becomes one of the target, so that whatever came before something else still does. The
 * target gets an epoch of its own at the end, and cannot be used before. Returns that epoch.
 */
export async function move(plan: Plan, { source, target, random, onStep }: MoveParts): Promise<string> {
  const { epoch: sourceEpoch, newest: sourceNewest, steps } = plan;
  let { modRevision, position } = await begin(plan, target, random);
  const revisions = await revisionsOf(steps, position, target);
  const to = (revision: Revision): Revision => revisions.get(revision)!;
  const commit = async (at: Revision, writeId: string, writes: readonly Write[]): Promise<Revision> => {
    const value = MoveRecord.encode({ writeId, sourceEpoch, sourceNewest, position: at }).finish();
    const mark: Write = { kind: 'put', key: MOVING_KEY, value };
    const compares = [{ key: MOVING_KEY, modRevision }];
    return (modRevision = await written(target, { writeId, compares, writes: [...writes, mark] }));
  };
  for (const [i, step] of steps.entries()) {
    if (step.revision <= position) continue;
    const writeId = random.id();
    const writes: Write[] = [];
    for (const { kind, entry } of step.records) {
      const { entry: whole } = kind.revisions.length > 0 ? { entry } : await source.get(entry.key);
      if (whole?.modRevision !== entry.modRevision) throw new CannotMove('the source was changed while it was read');
      // A revision that it names is older, or its own.
      const value = withRevisions(kind, whole, writeId, (revision) => (revision === step.revision ? 0n : to(revision)));
      writes.push({ kind: 'put', key: entry.key, value });
    }
    if (writes.length === 0) writes.push({ kind: 'put', key: stepKey(step.revision), value: Buffer.from(writeId) });
    for (let from = 0; from < writes.length; from += TXN_WRITES_MAX - 1) {
      const some = writes.slice(from, from + TXN_WRITES_MAX - 1);
      const isLast = from + some.length === writes.length;
      const revision = await commit(isLast ? step.revision : position, writeId, some);
      if (from === 0) revisions.set(step.revision, revision);
    }
    position = step.revision;
    onStep(i + 1, steps.length);
  }
  const again = await planMove(source);
  if (again.newest !== sourceNewest || again.epoch !== sourceEpoch || again.steps.length !== steps.length)
    throw new CannotMove('the source was changed while it was moved; end this move with --undo, and begin anew');
  return finish(target, random, modRevision);
}

/** Takes back a move that is not finished: the target is empty afterwards. Returns the number of keys that were deleted. */
export async function undoMove(target: Store, random: Random): Promise<number> {
  if (!(await isMoveTarget(target))) throw new CannotMove('no move into this store is unfinished; nothing was changed');
  // From here on nothing counts as written: a move that is given after an undo which was cut off begins from the first record.
  const { entry } = await target.get(MOVING_KEY);
  if (entry) {
    const writeId = random.id();
    const mark = { ...decode(MOVING_KEY, entry.value, MoveRecord), writeId, position: 0n };
    await written(target, {
      writeId,
      compares: [{ key: MOVING_KEY, modRevision: entry.modRevision }],
      writes: [{ kind: 'put', key: MOVING_KEY, value: MoveRecord.encode(mark).finish() }],
    });
  }
  const keys = [...(await allKeys(target)).keys()].filter((key) => key !== MOVING_KEY);
  await deleteAll(target, random, keys);
  await deleteAll(target, random, [MOVING_KEY, SCHEMA_KEY]);
  return keys.length;
}

const stepKey = (revision: Revision): string => `${STEPS}${revision}`;

/** Every key of a store but that of its schema, with the revision of its last write. */
async function allKeys(store: Store): Promise<Map<string, Revision>> {
  const keys = new Map<string, Revision>();
  for (const root of [WATCHED_ROOT, UNWATCHED_ROOT])
    for (const { key, modRevision } of await allEntries(await store.list(prefixRange(root), 'keys')))
      keys.set(key, modRevision);
  return keys;
}

/** Commits what must not be refused, and returns its revision. */
async function written(target: Store, txn: Txn): Promise<Revision> {
  const result = await target.commit(txn);
  if (!result.ok) throw new CannotMove('something else writes to the target');
  return result.revision;
}

/** Marks the target, or finds how far an earlier move of the same source came. */
async function begin(
  plan: Plan,
  target: Store,
  random: Random,
): Promise<{ modRevision: Revision; position: Revision }> {
  const begun = await checkTarget(plan, target);
  if (begun) return begun;
  const { epoch, newest } = plan;
  const writeId = random.id();
  const mark = MoveRecord.encode({ writeId, sourceEpoch: epoch, sourceNewest: newest, position: 0n }).finish();
  const absent: Compare[] = [SCHEMA_KEY, MOVING_KEY].map((key) => ({ key, modRevision: 0n }));
  const modRevision = await written(target, {
    writeId,
    compares: absent,
    writes: [
      { kind: 'put', key: SCHEMA_KEY, value: schemaRecord(writeId, true) },
      { kind: 'put', key: MOVING_KEY, value: mark },
    ],
  });
  return { modRevision, position: 0n };
}

/**
 * Makes sure that a plan can be written into a store, and writes nothing: it is empty, or has the first part of this plan, whose
 * end is returned. Throws CannotMove.
 */
export async function checkTarget(
  { epoch, newest }: Plan,
  target: Store,
): Promise<{ modRevision: Revision; position: Revision } | undefined> {
  const { entry } = await target.get(MOVING_KEY);
  if (entry && (await isMoveTarget(target))) {
    const { sourceEpoch, sourceNewest, position } = decode(MOVING_KEY, entry.value, MoveRecord);
    if (sourceEpoch !== epoch || sourceNewest !== newest)
      throw new CannotMove(
        'an unfinished move of another source, or of this one before it changed, is in the target: --undo ends it',
      );
    return { modRevision: entry.modRevision, position };
  }
  const { entry: schema } = await target.get(SCHEMA_KEY);
  if (schema || (await allKeys(target)).size > 0)
    throw new CannotMove(
      'the target is not empty: a store is moved into an empty folder, or under a prefix that has no keys',
    );
  return undefined;
}

/** The revisions that the steps up to a position have got. */
async function revisionsOf(
  steps: readonly Step[],
  position: Revision,
  target: Store,
): Promise<Map<Revision, Revision>> {
  const revisions = new Map<Revision, Revision>();
  if (position === 0n) return revisions;
  const all = await allKeys(target);
  for (const { revision, records } of steps) {
    if (revision > position) break;
    const keys = records.length > 0 ? records.map(({ entry }) => entry.key) : [stepKey(revision)];
    const found = keys.map((key) => all.get(key)!);
    revisions.set(
      revision,
      found.reduce((a, b) => (a < b ? a : b)),
    );
  }
  return revisions;
}

/** Makes the target a store: from here on it can be used. */
async function finish(target: Store, random: Random, modRevision: Revision): Promise<string> {
  const steps = await allEntries(await target.list(prefixRange(STEPS), 'keys'));
  await deleteAll(
    target,
    random,
    steps.map(({ key }) => key),
  );
  const writeId = random.id();
  const epoch = random.id();
  await written(target, {
    writeId,
    compares: [{ key: MOVING_KEY, modRevision }],
    writes: [
      { kind: 'put', key: EPOCH_KEY, value: EpochRecord.encode({ writeId, epoch, ended: [] }).finish() },
      { kind: 'put', key: SCHEMA_KEY, value: schemaRecord(writeId) },
      { kind: 'delete', key: MOVING_KEY },
    ],
  });
  return epoch;
}

async function deleteAll(store: Store, random: Random, keys: readonly string[]): Promise<void> {
  for (let i = 0; i < keys.length; i += DELETES_MAX) {
    const writes = keys.slice(i, i + DELETES_MAX).map((key): Write => ({ kind: 'delete', key }));
    await store.commit({ writeId: random.id(), compares: [], writes });
  }
}
