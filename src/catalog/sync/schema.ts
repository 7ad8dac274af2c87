import { Backoff } from '../../base/backoff.js';
import { type Clock, delay } from '../../base/clock.js';
import type { Log } from '../../base/telemetry.js';
import type { Random } from '../../base/random.js';
import { EpochRecord, SchemaRecord } from '../../gen/rollcall/storage/v1/records.js';
import { decode } from '../../model/item.js';
import { SCHEMA_KEY } from '../../model/keys.js';
import { beginsAfter, endedWith, EPOCH_KEY, epochOf } from '../../model/store-facts.js';
import { type Entry, putTxn, type Revision, type Store, StoreRefused, StoreUnavailable } from '../../store/store.js';

/** The schema that this program writes, and the lowest schema that a program needs to read it. */
const SCHEMA = { writtenBy: 4, minReader: 4 };
/** The lowest reader of a store into which another one is being moved: no program. */
const UNFINISHED_MOVE = 2 ** 31 - 1;
/** The lowest schema that this program can read. */
const OLDEST_READABLE = 2;

const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 5_000;

/** The store was written with a schema that this program cannot read. Nothing was changed. */
export class UnreadableSchema extends Error {
  override readonly name = 'UnreadableSchema';
}

/** The dependencies of `prepareStore`. */
export interface PrepareStoreParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/**
 * Makes sure that this program can read the store, and that the store has an epoch. It retries for as long as the store
 * is unreachable, until `signal` is aborted. Throws UnreadableSchema.
 */
export async function prepareStore(
  { store, clock, random, log }: PrepareStoreParts,
  signal: AbortSignal,
): Promise<void> {
  const backoff = new Backoff(random, RETRY_BASE_MS, RETRY_MAX_MS);
  while (!signal.aborted) {
    try {
      await settleEpoch(store, random, '');
      return;
    } catch (error) {
      if (!(error instanceof StoreUnavailable) && !(error instanceof StoreRefused)) throw error;
      log.warn({ reason: error.message }, 'the schema and epoch of the store cannot be checked yet; retrying');
      await delay(clock, backoff.nextMs(), signal);
    }
  }
}

async function checkSchema(store: Store, random: Random): Promise<void> {
  const { entry, writtenBy } = await readSchema(store);
  const write = (expected: Revision): Promise<void> =>
    putIf(store, random, SCHEMA_KEY, expected, (writeId) => schemaRecord(writeId));
  if (!entry) return write(0n);
  if (writtenBy < SCHEMA.writtenBy) await write(entry.modRevision); // from here on, older programs would misread the store
}

/** The record of a store that this program writes, or of one into which another is being moved. */
export function schemaRecord(writeId: string, isMoving = false): Uint8Array {
  return SchemaRecord.encode({ writeId, ...SCHEMA, ...(isMoving && { minReader: UNFINISHED_MOVE }) }).finish();
}

/** Returns true if another store is being moved into this one. */
export async function isMoveTarget(store: Store): Promise<boolean> {
  const { entry } = await store.get(SCHEMA_KEY);
  return entry !== undefined && decode(SCHEMA_KEY, entry.value, SchemaRecord).minReader === UNFINISHED_MOVE;
}

/** Reads the schema of a store that this program can read; `entry` is `undefined` if it has none. Throws UnreadableSchema. */
export async function readSchema(store: Store): Promise<{ entry: Entry | undefined; writtenBy: number }> {
  const { entry } = await store.get(SCHEMA_KEY);
  if (!entry) return { entry, writtenBy: 0 };
  const { minReader, writtenBy } = decode(SCHEMA_KEY, entry.value, SchemaRecord);
  if (minReader === UNFINISHED_MOVE) {
    throw new UnreadableSchema(
      'another store is being moved into this one, and the move is not finished: go on with "rollcall store move", or end it with --undo',
    );
  }
  if (minReader > SCHEMA.writtenBy) {
    throw new UnreadableSchema(
      `the store was written with schema ${writtenBy}, which needs a program of schema ${minReader} or newer; this program has schema ${SCHEMA.writtenBy}`,
    );
  }
  if (writtenBy < OLDEST_READABLE) {
    throw new UnreadableSchema(
      `the store was written with schema ${writtenBy}; this program reads schema ${OLDEST_READABLE} and newer, and has changed nothing. ` +
        'Read your configs with the version that wrote the store. Then start this version with an empty --data-dir, or another --etcd-prefix, and publish the configs again. Instances register again by themselves',
    );
  }
  return { entry, writtenBy };
}

/**
 * Makes sure that the store has the epoch of a history that began after the one that has ended; empty: any epoch. If several
 * processes write one, the first wins.
 */
export async function settleEpoch(store: Store, random: Random, ended: string): Promise<void> {
  await checkSchema(store, random);
  const { entry } = await store.get(EPOCH_KEY);
  if (beginsAfter(entry, ended)) return;
  await putIf(store, random, EPOCH_KEY, entry?.modRevision ?? 0n, (writeId) =>
    EpochRecord.encode({ writeId, epoch: random.id(), ended: endedWith(entry, ended) }).finish(),
  );
}

/** Gives the store a new epoch, so that every server and every watch begins again: the last step of a restore. */
export async function newEpoch(store: Store, random: Random): Promise<string> {
  await checkSchema(store, random);
  const { entry } = await store.get(EPOCH_KEY);
  await settleEpoch(store, random, epochOf(entry) ?? '');
  const { entry: written } = await store.get(EPOCH_KEY);
  return decode(EPOCH_KEY, written!.value, EpochRecord).epoch;
}

/** Writes a record if the current one is at `modRevision` (0n: if there is none). */
async function putIf(
  store: Store,
  random: Random,
  key: string,
  modRevision: Revision,
  encode: (writeId: string) => Uint8Array,
): Promise<void> {
  const writeId = random.id();
  await store.commit(putTxn(writeId, key, encode(writeId), modRevision));
}
