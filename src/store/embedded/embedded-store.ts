import { accessSync, constants, existsSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock, Timer } from '../../base/clock.js';
import type { Telemetry } from '../../base/telemetry.js';
import { History } from '../history.js';
import {
  type CommitResult,
  type Compare,
  type Entry,
  inRange,
  type KeyRange,
  LIST_PAGE_ENTRIES,
  type Listing,
  type Member,
  type Revision,
  type RevisionBatch,
  type Store,
  type StoreHealth,
  StoreRefused,
  StoreUnavailable,
  type Txn,
  WATCHED_RANGE,
  type Write,
} from '../store.js';
import { checkFolder, DamagedStore, dataFile } from './check.js';
import { type Database, openDatabase } from './database.js';
import { Overlay } from '../overlay.js';
import { FolderLock } from './folder-lock.js';
import {
  decodeEntry,
  decodeMeta,
  encodeEntry,
  encodeMeta,
  fromDataKey,
  type Meta,
  META_KEY,
  toDataKey,
} from './layout.js';

/** The most transactions that share one flush, and the most bytes: a flush of these takes some milliseconds. */
const GROUP_TXNS_MAX = 512;
const GROUP_BYTES_MAX = 4 * 1_024 * 1_024;
/** Begins the keys of members; their lease is the life of the process that wrote them. */
const MEMBERS = 'w/m/';
/** With less free space than this a failed write is put down to a full disk. */
const FULL_BELOW_BYTES = 16 * 1_024 * 1_024;
/** How often the data file is looked for. */
const LOOK_MS = 2_000;
/** How often a full disk is tried again. */
const FULL_RETRY_MS = 5_000;

/** What the store is made from. */
export interface EmbeddedOptions {
  /** The data folder, for this process alone; created if need be. */
  readonly folder: string;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Told of a failure after which the process must not go on: it is unknown what the disk holds. */
  readonly onFatal: (error: Error) => void;
}

/** A commit that waits for its group. */
interface Waiting {
  readonly bytes: number;
  evaluate(overlay: Overlay): () => void;
  fail(error: Error): void;
}

/**
 * Opens the embedded store of a folder: takes the folder, checks it after an unclean end, and removes the members of
 * the process before. Throws FolderHeld, DamagedStore, or an error that says what is wrong with the folder.
 */
export async function openEmbeddedStore({
  folder,
  clock,
  telemetry,
  onFatal,
}: EmbeddedOptions): Promise<EmbeddedStore> {
  const lock = await FolderLock.take(folder, clock).catch((error: unknown) => {
    throw inWords(folder, error);
  });
  try {
    const log = telemetry.log.child('store');
    accessSync(folder, constants.R_OK | constants.W_OK);
    const marker = join(folder, 'clean');
    if (!existsSync(marker) && existsSync(dataFile(folder))) {
      log.warn({ folder }, 'the last run did not end cleanly; checking the data');
      await checkFolder(folder);
    }
    rmSync(marker, { force: true });
    const store = new EmbeddedStore(folder, openDatabase(folder), lock, clock, { ...telemetry, log }, onFatal);
    await store.removeMembers();
    store.guardFile();
    return store;
  } catch (error) {
    await lock.close();
    throw inWords(folder, error);
  }
}

/**
 * The store port on LMDB: one process, one folder, durable before a commit is answered.
 *
 * This process is the only writer, and one group is on its way at a time. So transactions are evaluated here, on top of
 * what is committed, and only their writes go to LMDB, as one atomic batch together with the revision.
 */
export class EmbeddedStore implements Store {
  readonly kind = 'embedded';
  readonly exclusive = true;
  readonly #history: History;
  #looking: Timer | undefined;
  readonly #waiting: Waiting[] = [];
  #meta: Meta;
  #flushing: Promise<void> | undefined;
  #full: Timer | undefined;
  #closing: Promise<void> | undefined;

  constructor(
    private readonly folder: string,
    private readonly database: Database,
    private readonly lock: FolderLock,
    private readonly clock: Clock,
    private readonly telemetry: Telemetry,
    private readonly onFatal: (error: Error) => void,
  ) {
    this.#meta = decodeMeta(database.getBinary(META_KEY));
    this.#history = new History(this.#meta.revision);
  }

  /** Looks whether the data file is still where it was: what is written into a file that nobody can find is lost. */
  guardFile(): void {
    const { ino } = statSync(dataFile(this.folder));
    this.#looking = this.clock.every(LOOK_MS, () => {
      const found = statSync(dataFile(this.folder), { throwIfNoEntry: false });
      if (found?.ino === ino || this.#closing) return;
      this.#looking?.cancel();
      this.onFatal(new Error(`the data in ${this.folder} was deleted or replaced while the server was running`));
    });
  }

  async list(range: KeyRange): Promise<Listing> {
    this.#assertOpen();
    const transaction = this.database.useReadTransaction();
    const { revision } = this.#meta;
    return { revision, pages: this.#pages(range, transaction) };
  }

  async get(key: string): Promise<{ entry: Entry | undefined; revision: Revision }> {
    this.#assertOpen();
    return { entry: this.#committed(key), revision: this.#meta.revision };
  }

  commit(txn: Txn): Promise<CommitResult> {
    return this.#enqueue(bytesOf(txn), (overlay) => overlay.commit(txn));
  }

  commitEach(guard: readonly Compare[], txns: readonly Txn[]): Promise<CommitResult[]> {
    const bytes = txns.reduce((sum, txn) => sum + bytesOf(txn), 0);
    return this.#enqueue(bytes, (overlay) => overlay.commitEach(guard, txns));
  }

  watch(after: Revision, signal: AbortSignal): AsyncIterable<RevisionBatch> {
    return this.#history.watch(after, signal);
  }

  async join(key: string, value: Uint8Array, also: readonly Write[] = []): Promise<Member> {
    const put = (compares: Compare[], bytes: Uint8Array, others: readonly Write[] = []): Promise<CommitResult> =>
      this.commit({ writeId: '', compares, writes: [{ kind: 'put', key, value: bytes }, ...others] });
    const created = await put([{ key, modRevision: 0n }], value, also);
    if (!created.ok) throw new StoreUnavailable(`the member key ${key} exists already`);
    const epoch = created.revision;
    const lost = new AbortController();
    return {
      key,
      epoch,
      lost: lost.signal,
      rewrite: async (bytes) => (await put([{ key, createRevision: epoch }], bytes)).ok,
      leave: async () => {
        lost.abort();
        await this.commit({
          writeId: '',
          compares: [{ key, createRevision: epoch }],
          writes: [{ kind: 'delete', key }],
        });
      },
    };
  }

  health(): StoreHealth {
    return { outOfReachSinceMs: undefined, writable: this.#full === undefined };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Removes the members of the process before: their lease ended with it. */
  async removeMembers(): Promise<void> {
    const { pages } = await this.list({ start: MEMBERS, end: `${MEMBERS}\x7f` });
    for await (const page of pages) {
      for (const { key } of page) await this.commit({ writeId: '', compares: [], writes: [{ kind: 'delete', key }] });
    }
  }

  async #close(): Promise<void> {
    this.#looking?.cancel();
    await this.#flushing;
    this.#full?.cancel();
    try {
      await this.database.close();
      writeFileSync(join(this.folder, 'clean'), `${this.#meta.revision}\n`);
    } finally {
      await this.lock.close();
    }
  }

  #assertOpen(): void {
    if (this.#closing) throw new StoreUnavailable('the store is closed');
  }

  #committed(key: string): Entry | undefined {
    const bytes = this.database.getBinary(toDataKey(key));
    return bytes && this.#decode(key, bytes);
  }

  /** Damage that turns up while the store is in use: what else is damaged is unknown, so the process must not go on. */
  #decode(key: string, bytes: Buffer): Entry {
    try {
      return decodeEntry(key, bytes);
    } catch (error) {
      const damaged = new DamagedStore(this.folder, (error as Error).message);
      this.onFatal(damaged);
      throw new StoreUnavailable(damaged.message, { cause: error });
    }
  }

  /** Pages of one pinned snapshot. Whoever does not read to the end must close the iterator, which unpins it. */
  async *#pages(range: KeyRange, transaction: ReturnType<Database['useReadTransaction']>): AsyncGenerator<Entry[]> {
    try {
      let start = toDataKey(range.start);
      const end = toDataKey(range.end);
      for (;;) {
        const page: Entry[] = [];
        for (const { key, value } of this.database.getRange({ start, end, limit: LIST_PAGE_ENTRIES, transaction })) {
          page.push(this.#decode(fromDataKey(key), value));
          start = `${key}\0`;
        }
        if (page.length > 0) yield page;
        if (page.length < LIST_PAGE_ENTRIES) return;
      }
    } finally {
      transaction.done();
    }
  }

  #enqueue<R>(bytes: number, evaluate: (overlay: Overlay) => R): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      if (this.#closing) return reject(new StoreUnavailable('the store is closed'));
      if (this.#full) return reject(full(this.folder));
      this.#waiting.push({
        bytes,
        evaluate: (overlay) => {
          const result = evaluate(overlay);
          return () => resolve(result);
        },
        fail: reject,
      });
      this.#flushing ??= this.#flushAll();
    });
  }

  async #flushAll(): Promise<void> {
    await Promise.resolve(); // whatever is handed in in this turn shares the first group
    while (this.#waiting.length > 0) await this.#flushGroup(this.#takeGroup());
    this.#flushing = undefined;
  }

  #takeGroup(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const waiting of this.#waiting) {
      bytes += waiting.bytes;
      if (count > 0 && (count >= GROUP_TXNS_MAX || bytes > GROUP_BYTES_MAX)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #flushGroup(group: readonly Waiting[]): Promise<void> {
    const overlay = new Overlay(this.#meta.revision, (key) => this.#committed(key));
    const answers: (() => void)[] = [];
    for (const waiting of group) {
      try {
        answers.push(waiting.evaluate(overlay));
      } catch (error) {
        waiting.fail(error as Error);
      }
    }
    const meta = { revision: overlay.revision, records: this.#meta.records + overlay.recordDifference };
    try {
      if (overlay.batches.length > 0) await this.#write(overlay, meta);
    } catch (error) {
      const failure = await this.#failure(error);
      for (const waiting of group) waiting.fail(failure);
      return;
    }
    this.#meta = meta;
    for (const { revision, changes } of overlay.batches) {
      const watched = changes.filter((change) =>
        inRange(WATCHED_RANGE, change.kind === 'put' ? change.entry.key : change.key),
      );
      this.#history.append({ revision, changes: watched });
    }
    for (const answer of answers) answer();
  }

  /** One atomic batch; resolves when it is on the disk. */
  async #write({ written }: Pick<Overlay, 'written'>, meta: Meta): Promise<void> {
    await this.database.batch(() => {
      for (const [key, entry] of written) {
        const done = entry
          ? this.database.put(toDataKey(key), encodeEntry(entry))
          : this.database.remove(toDataKey(key));
        done.catch(ignore); // the batch as a whole is what fails
      }
      this.database.put(META_KEY, encodeMeta(meta)).catch(ignore);
    });
  }

  /** A full disk refuses, and is tried again; after anything else it is unknown what the disk holds. */
  async #failure(error: unknown): Promise<Error> {
    const cause = await reasonOf(error);
    if (isFull(cause, this.folder)) {
      this.#becomeFull();
      return full(this.folder);
    }
    const fatal = new Error(`the data in ${this.folder} cannot be written: ${cause.message}`, { cause });
    this.onFatal(fatal);
    return new StoreUnavailable(fatal.message);
  }

  #becomeFull(): void {
    if (this.#full) return;
    this.telemetry.alarms.raise('STORE_FULL', `the disk under ${this.folder} is full`);
    this.#full = this.clock.every(FULL_RETRY_MS, () => void this.#tryAgain());
    for (const waiting of this.#waiting.splice(0)) waiting.fail(full(this.folder));
  }

  /** Writes what stands there anyway, beside a filler of the size of a group: then there is room again. */
  async #tryAgain(): Promise<void> {
    try {
      if (freeBytes(this.folder) < FULL_BELOW_BYTES / 16) return;
      await this.#write({ written: new Map() }, this.#meta);
    } catch (error) {
      await reasonOf(error);
      return;
    }
    this.#full?.cancel();
    this.#full = undefined;
    this.telemetry.alarms.clear('STORE_FULL');
  }
}

const ignore = (): void => undefined;
const bytesOf = ({ writes }: Txn): number =>
  writes.reduce((sum, write) => sum + (write.kind === 'put' ? write.value.length : 0), 0);
const full = (folder: string): StoreRefused => new StoreRefused('FULL', `the disk under ${folder} is full`);

/** LMDB puts the reason of a failed commit into a promise of its own, beside the error. */
async function reasonOf(error: unknown): Promise<Error & { code?: unknown }> {
  const inner = (error as { commitError?: Promise<never> }).commitError;
  if (inner instanceof Promise) return inner.catch((reason: unknown) => reason as Error);
  return error as Error;
}

function isFull({ code, message }: Error & { code?: unknown }, folder: string): boolean {
  if (code === 'ENOSPC' || /MDB_MAP_FULL|No space left/.test(message)) return true;
  return freeBytes(folder) < FULL_BELOW_BYTES;
}

function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

/** Says what is wrong with a folder in a person's words. */
function inWords(folder: string, error: unknown): unknown {
  const { code, name, message } = error as NodeJS.ErrnoException;
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new Error(`the data folder ${folder} cannot be written: ${message}`, { cause: error });
  if (code === 'ENOTDIR' || code === 'EEXIST')
    return new Error(`the data folder ${folder} is not a folder`, { cause: error });
  if (name === 'DamagedRecord') return new DamagedStore(folder, message);
  return error;
}
