import { Overlay } from '../overlay.js';
import { type Entry, type KeyRange, LIST_PAGE_ENTRIES, type Listing, type Revision } from '../store.js';
import type { Database } from './database.js';
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

/**
 * The records of a data folder: reads them, and writes groups of commits as atomic batches.
 *
 * Every batch carries the revision and the number of records, so LMDB never shows one without the other.
 */
export class Records {
  #meta: Meta;

  constructor(
    private readonly database: Database,
    /** Turns damage that a read has found into the error that the read fails with. */
    private readonly toReadError: (error: Error) => Error,
  ) {
    this.#meta = decodeMeta(database.getBinary(META_KEY));
  }

  /** The revision of the last flush. */
  get revision(): Revision {
    return this.#meta.revision;
  }

  /** Reads one record as of the last flush. */
  read(key: string): Entry | undefined {
    const bytes = this.database.getBinary(toDataKey(key));
    return bytes && this.#decode(key, bytes);
  }

  /** Lists a range from a snapshot that is pinned from now on until the last page. */
  list(range: KeyRange): Listing {
    const transaction = this.database.useReadTransaction();
    return { revision: this.#meta.revision, pages: this.#pages(range, transaction) };
  }

  /** Returns an empty overlay on the state of the last flush. */
  overlay(): Overlay {
    return new Overlay(this.#meta.revision, (key) => this.read(key));
  }

  /** Writes an overlay as one batch. Resolves when it is on the disk; only then does the revision move. */
  async flush(overlay: Overlay): Promise<void> {
    const meta = { revision: overlay.revision, records: this.#meta.records + overlay.recordDifference };
    if (overlay.batches.length > 0) await this.#write(overlay.written, meta);
    this.#meta = meta;
  }

  /** Rewrites the store's own record unchanged, to see whether the disk accepts writes. */
  rewriteMeta(): Promise<void> {
    return this.#write(new Map(), this.#meta);
  }

  /** Reads the pages of a snapshot. A reader that stops early must close the iterator, which unpins the snapshot. */
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

  #decode(key: string, bytes: Buffer): Entry {
    try {
      return decodeEntry(key, bytes);
    } catch (error) {
      throw this.toReadError(error as Error);
    }
  }

  async #write(written: Overlay['written'], meta: Meta): Promise<void> {
    await this.database.batch(() => {
      for (const [key, entry] of written) {
        const done = entry
          ? this.database.put(toDataKey(key), encodeEntry(entry))
          : this.database.remove(toDataKey(key));
        done.catch(ignore); // the batch as a whole reports the failure
      }
      this.database.put(META_KEY, encodeMeta(meta)).catch(ignore);
    });
  }
}

const ignore = (): void => undefined;
