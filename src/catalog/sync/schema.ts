import { Backoff } from '../../base/backoff.js';
import { type Clock, delay } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Log } from '../../base/observe.js';
import type { Random } from '../../base/random.js';
import { EpochRecord, SchemaRecord } from '../../gen/rollcall/storage/v1/records.js';
import { EPOCH_KEY, SCHEMA_KEY } from '../../model/keys.js';
import { decode, ifReadable } from '../../model/records.js';
import { type Entry, type Revision, type Store, StoreRefused, StoreUnavailable } from '../../store/store.js';

/** The number of the layout that this program writes, and the lowest that can read what it writes. */
const SCHEMA = { writtenBy: 1, minReader: 1 };

const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 5_000;

/** The store was written by a program that this one cannot follow. */
export class SchemaTooNew extends Error {
  override readonly name = 'SchemaTooNew';
}

/** Makes sure that the store can be read, and that it has an epoch; waits for as long as the store is out of reach. */
export async function prepareStore(
  store: Store,
  clock: Clock,
  random: Random,
  log: Log,
  closers: { add(started: Closeable): unknown },
): Promise<void> {
  const stop = new AbortController();
  closers.add({ close: () => stop.abort() });
  const backoff = new Backoff(random, RETRY_BASE_MS, RETRY_MAX_MS);
  while (!stop.signal.aborted) {
    try {
      await settleEpoch(store, random, new Set());
      return;
    } catch (error) {
      if (!(error instanceof StoreUnavailable) && !(error instanceof StoreRefused)) throw error;
      log.warn({ err: error }, 'the store cannot be prepared yet; trying again');
      await delay(clock, backoff.nextMs(), stop.signal);
    }
  }
}

async function checkSchema(store: Store, random: Random): Promise<void> {
  const { entry } = await store.get(SCHEMA_KEY);
  if (!entry)
    return putWhere(store, random, SCHEMA_KEY, 0n, (writeId) => SchemaRecord.encode({ writeId, ...SCHEMA }).finish());
  const { minReader, writtenBy } = decode(SCHEMA_KEY, entry.value, SchemaRecord);
  if (minReader > SCHEMA.writtenBy) {
    throw new SchemaTooNew(
      `the store was written with schema ${writtenBy}, which takes a program of schema ${minReader} or newer to read; this one has schema ${SCHEMA.writtenBy}`,
    );
  }
}

/** Makes sure that the store has an epoch, and none of those that have `ended`; whoever writes it first is as good. */
export async function settleEpoch(store: Store, random: Random, ended: ReadonlySet<string>): Promise<void> {
  await checkSchema(store, random);
  const { entry } = await store.get(EPOCH_KEY);
  const epoch = epochOf(entry);
  if (epoch !== undefined && !ended.has(epoch)) return;
  await putWhere(store, random, EPOCH_KEY, entry?.modRevision ?? 0n, (writeId) =>
    EpochRecord.encode({ writeId, epoch: random.id() }).finish(),
  );
}

/** Gives the store a new epoch, so that every server and every watch begins anew: the last step of a restore. */
export async function newEpoch(store: Store, random: Random): Promise<string> {
  await checkSchema(store, random);
  const { entry } = await store.get(EPOCH_KEY);
  await settleEpoch(store, random, new Set([epochOf(entry) ?? '']));
  const { entry: written } = await store.get(EPOCH_KEY);
  return decode(EPOCH_KEY, written!.value, EpochRecord).epoch;
}

/** The epoch that an entry names. Undefined: there is none, or it cannot be read. */
export function epochOf(entry: Entry | undefined): string | undefined {
  return entry && ifReadable(() => decode(entry.key, entry.value, EpochRecord).epoch);
}

/** Writes a record if `modRevision` stands there (0n: nothing). */
async function putWhere(
  store: Store,
  random: Random,
  key: string,
  modRevision: Revision,
  encode: (writeId: string) => Uint8Array,
): Promise<void> {
  const writeId = random.id();
  await store.commit({
    writeId,
    compares: [{ key, modRevision }],
    writes: [{ kind: 'put', key, value: encode(writeId) }],
  });
}
