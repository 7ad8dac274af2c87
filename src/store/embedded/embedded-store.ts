import { statSync } from 'node:fs';
import type { Clock, Timer } from '../../base/clock.js';
import type { Telemetry } from '../../base/telemetry.js';
import { FullDisk } from '../full-disk.js';
import type { Overlay } from '../overlay.js';
import { RecentRevisions } from '../recent-revisions.js';
import {
  type CommitResult,
  type Compare,
  type Entry,
  inRange,
  type KeyRange,
  type Listing,
  type Member,
  prefixRange,
  type Revision,
  type RevisionBatch,
  type Store,
  type StoreCopy,
  type StoreHealth,
  StoreRefused,
  StoreUnavailable,
  type Txn,
  WATCHED_RANGE,
  type Write,
} from '../store.js';
import type { Database } from './database.js';
import { hasRoom, isDiskFull, reasonOf } from './failed-batch.js';
import { HISTOGRAMS } from '../instruments.js';
import { FlushQueue } from './flush-queue.js';
import { copyFolderOf } from './folder-copy.js';
import { writeCleanMarker } from './clean-end.js';
import { DamagedStore, dataFile } from './folder.js';
import type { FolderLock } from './folder-lock.js';
import { Records } from './records.js';

/** How often the store checks that its data file is still in place. */
const FILE_CHECK_MS = 2_000;

/** The dependencies of an EmbeddedStore. */
export interface EmbeddedParts {
  readonly folder: string;
  readonly database: Database;
  readonly lock: FolderLock;
  /** The prefix of member keys. Their lease is the lifetime of the process that wrote them. */
  readonly memberPrefix: string;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Receives a failure after which the process must end, because the contents of the disk are unknown. */
  readonly onFatal: (error: Error) => void;
}

/**
 * The store port on LMDB: one process, one folder, and every commit is durable before it is acknowledged.
 *
 * This process is the only writer, and one group is in flight at a time. So the process itself evaluates transactions
 * on top of the committed state. Only their writes go to LMDB, as one atomic batch together with the revision.
 */
export class EmbeddedStore implements Store {
  readonly kind = 'embedded';
  readonly exclusive = true;
  readonly #records: Records;
  readonly #queue: FlushQueue;
  readonly #recent: RecentRevisions;
  readonly #disk: FullDisk;
  #fileCheck: Timer | undefined;
  #closing: Promise<void> | undefined;

  constructor(private readonly parts: EmbeddedParts) {
    const { database, folder, clock, telemetry } = parts;
    this.#records = new Records(database, (error) => this.#toReadError(error));
    this.#recent = new RecentRevisions(this.#records.revision);
    this.#queue = new FlushQueue(
      this.#records,
      (batches) => this.#publish(batches),
      (error) => this.#toCommitError(error),
    );
    this.#disk = new FullDisk({
      clock,
      alarms: telemetry.alarms,
      alarmText: `${fullDiskText(folder)}: free some space; the store retries by itself`,
      tryWrite: () => this.#tryWrite(),
    });
  }

  /**
   * Ends the process when the data file is deleted or replaced, because writes to a file that no path leads to are
   * lost.
   */
  guardFile(): void {
    const { folder, clock, onFatal } = this.parts;
    const { ino } = statSync(dataFile(folder));
    this.#fileCheck = clock.every(FILE_CHECK_MS, () => {
      const found = statSync(dataFile(folder), { throwIfNoEntry: false });
      if (found?.ino === ino || this.#closing) return;
      this.#fileCheck?.cancel();
      onFatal(new Error(`the data in ${folder} was deleted or replaced while the server was running`));
    });
  }

  async list(range: KeyRange): Promise<Listing> {
    this.#assertOpen();
    return this.#records.list(range);
  }

  async get(key: string): Promise<{ entry: Entry | undefined; revision: Revision }> {
    this.#assertOpen();
    return { entry: this.#records.read(key), revision: this.#records.revision };
  }

  commit(txn: Txn): Promise<CommitResult> {
    return this.#enqueue(bytesOf(txn), (overlay) => overlay.commit(txn));
  }

  commitEach(guard: readonly Compare[], txns: readonly Txn[]): Promise<CommitResult[]> {
    const bytes = txns.reduce((sum, txn) => sum + bytesOf(txn), 0);
    return this.#enqueue(bytes, (overlay) => overlay.commitEach(guard, txns));
  }

  watch(after: Revision, signal: AbortSignal): AsyncIterable<RevisionBatch> {
    return this.#recent.watch(after, signal);
  }

  /** The history is in memory, and ends with the process. */
  past(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  copy(): Promise<StoreCopy> {
    this.#assertOpen();
    const { folder, database } = this.parts;
    return copyFolderOf(folder, database);
  }

  async join(key: string, value: Uint8Array, also: readonly Write[] = []): Promise<Member> {
    const commit = (compare: Compare, ...writes: readonly Write[]): Promise<CommitResult> =>
      this.commit({ writeId: '', compares: [compare], writes });
    const created = await commit({ key, modRevision: 0n }, { kind: 'put', key, value }, ...also);
    if (!created.ok) throw new StoreUnavailable(`the member key ${key} exists already`);
    const epoch = created.revision;
    const lost = new AbortController();
    return {
      key,
      epoch,
      lost: lost.signal,
      rewrite: async (bytes) => (await commit({ key, createRevision: epoch }, { kind: 'put', key, value: bytes })).ok,
      leave: async () => {
        lost.abort();
        await commit({ key, createRevision: epoch }, { kind: 'delete', key });
      },
    };
  }

  /** It listens nowhere. */
  places(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  health(): StoreHealth {
    return { unreachableSinceMs: undefined, writable: !this.#disk.isFull };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Deletes the member keys of the previous process: their lease ended with it. */
  async removeMembers(): Promise<void> {
    const { pages } = await this.list(prefixRange(this.parts.memberPrefix));
    for await (const page of pages) {
      for (const { key } of page) await this.commit({ writeId: '', compares: [], writes: [{ kind: 'delete', key }] });
    }
  }

  async #close(): Promise<void> {
    const { database, folder, lock } = this.parts;
    this.#fileCheck?.cancel();
    await this.#queue.idle();
    await this.#disk.close();
    try {
      await database.close();
      writeCleanMarker(folder, this.#records.revision);
    } finally {
      await lock.close();
    }
  }

  #assertOpen(): void {
    if (this.#closing) throw new StoreUnavailable('the store is closed');
  }

  async #enqueue<R>(bytes: number, evaluate: (overlay: Overlay) => R): Promise<R> {
    this.#assertOpen();
    if (this.#disk.isFull) throw diskFull(this.parts.folder);
    return this.#queue.add(bytes, evaluate);
  }

  /** Shows flushed revisions to watches. */
  #publish(batches: readonly RevisionBatch[]): void {
    this.parts.telemetry.histograms.observe(HISTOGRAMS.group, batches.length);
    for (const { revision, changes } of batches) {
      const watched = changes.filter((change) =>
        inRange(WATCHED_RANGE, change.kind === 'put' ? change.entry.key : change.key),
      );
      this.#recent.append({ revision, changes: watched });
    }
  }

  /** Handles damage that a read finds during use. Other records may be damaged too, so the process ends. */
  #toReadError(error: Error): Error {
    const damaged = new DamagedStore(this.parts.folder, error.message);
    this.parts.onFatal(damaged);
    return new StoreUnavailable(damaged.message, { cause: error });
  }

  /** Handles a failed flush. A full disk is retried. After any other failure the contents of the disk are unknown. */
  async #toCommitError(error: unknown): Promise<Error> {
    const { folder, onFatal } = this.parts;
    const reason = await reasonOf(error);
    if (isDiskFull(reason, folder)) {
      this.#disk.reportFull();
      this.#queue.failWaiting(diskFull(folder));
      return diskFull(folder);
    }
    const fatal = new Error(`the data in ${folder} cannot be written: ${reason.message}`, { cause: reason });
    onFatal(fatal);
    return new StoreUnavailable(fatal.message);
  }

  async #tryWrite(): Promise<void> {
    const { folder } = this.parts;
    if (!hasRoom(folder)) throw diskFull(folder);
    try {
      await this.#records.rewriteMeta();
    } catch (error) {
      throw await reasonOf(error);
    }
  }
}

const bytesOf = ({ writes }: Txn): number =>
  writes.reduce((sum, write) => sum + (write.kind === 'put' ? write.value.length : 0), 0);
const fullDiskText = (folder: string): string => `the disk that holds ${folder} is full`;
const diskFull = (folder: string): StoreRefused => new StoreRefused('FULL', fullDiskText(folder));
