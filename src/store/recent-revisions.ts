import { Compacted, type Revision, type RevisionBatch } from './store.js';

/** The most revisions that are kept: some seconds of writes, far more than the lag of a watcher in the same process. */
const REVISIONS_MAX = 20_000;
/** The most bytes of values that are kept. */
const BYTES_MAX = 64 * 1_024 * 1_024;

/**
 * Keeps the newest revisions for watchers in the same process. A watcher is a cursor into them, so a slow watcher costs
 * no queue. A watcher that falls behind the oldest kept revision ends with Compacted.
 */
export class RecentRevisions {
  #batches: RevisionBatch[] = [];
  #dropped = 0;
  #bytes = 0;
  /** Watches after an older revision than this end with Compacted. */
  #floor: Revision;
  readonly #waiting = new Set<() => void>();

  constructor(floor: Revision) {
    this.#floor = floor;
  }

  /** Adds the newest revision. */
  append(batch: RevisionBatch): void {
    this.#batches.push(batch);
    this.#bytes += sizeOf(batch);
    while (this.#batches.length - this.#dropped > REVISIONS_MAX || this.#bytes > BYTES_MAX) this.#dropOldest();
    this.#wake();
  }

  /** Drops all revisions up to the given one. */
  compact(revision: Revision): void {
    while (this.#oldest && this.#oldest.revision <= revision) this.#dropOldest();
    if (revision > this.#floor) this.#floor = revision;
    this.#wake();
  }

  /** Delivers every revision after `after`, until `signal` aborts. Throws Compacted if one of them was dropped. */
  async *watch(after: Revision, signal: AbortSignal): AsyncGenerator<RevisionBatch> {
    let cursor = after;
    while (!signal.aborted) {
      if (cursor < this.#floor)
        throw new Compacted(`revision ${cursor} is older than ${this.#floor}, the oldest revision to watch from`);
      const next = this.#after(cursor);
      if (next) {
        cursor = next.revision;
        if (next.changes.length > 0) yield next;
      } else {
        await this.#change(signal);
      }
    }
  }

  get #oldest(): RevisionBatch | undefined {
    return this.#batches[this.#dropped];
  }

  /** Finds the oldest batch after a revision by binary search. */
  #after(revision: Revision): RevisionBatch | undefined {
    let low = this.#dropped;
    let high = this.#batches.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#batches[middle]!.revision > revision) high = middle;
      else low = middle + 1;
    }
    return this.#batches[low];
  }

  #dropOldest(): void {
    const oldest = this.#oldest;
    if (!oldest) return;
    this.#bytes -= sizeOf(oldest);
    this.#floor = oldest.revision;
    this.#batches[this.#dropped++] = DROPPED;
    // A cut costs the length of the rest, so it waits until as many batches were dropped.
    if (this.#dropped <= this.#batches.length - this.#dropped) return;
    this.#batches = this.#batches.slice(this.#dropped);
    this.#dropped = 0;
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiting.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#waiting.add(done);
      signal.addEventListener('abort', done);
    });
  }

  #wake(): void {
    for (const done of this.#waiting) done();
  }
}

/** Takes the place of a batch that was dropped: its values are let go at once. */
const DROPPED: RevisionBatch = { revision: 0n, changes: [] };

function sizeOf({ changes }: RevisionBatch): number {
  return changes.reduce((bytes, change) => bytes + (change.kind === 'put' ? change.entry.value.length : 0), 0);
}
