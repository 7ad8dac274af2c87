import type { Overlay } from '../overlay.js';
import type { RevisionBatch } from '../store.js';
import type { Records } from './records.js';

/** The most transactions that share one flush, and the most bytes: a flush of these takes some milliseconds. */
const GROUP_TXNS_MAX = 512;
const GROUP_BYTES_MAX = 4 * 1_024 * 1_024;

/** A commit that waits for its group. */
interface Waiting {
  readonly bytes: number;
  /** Evaluates the commit; returns the function that acknowledges it after the flush. */
  evaluate(overlay: Overlay): () => void;
  fail(error: Error): void;
}

/**
 * Queues commits and flushes them in groups: the commits that arrive during one flush share the next one.
 *
 * One group is in flight at a time, and its commits are evaluated in the order in which they were submitted. A commit
 * is acknowledged, and shown to watches, only after the flush.
 */
export class FlushQueue {
  readonly #waiting: Waiting[] = [];
  #flushing: Promise<void> | undefined;

  constructor(
    private readonly records: Records,
    /** Receives the revisions of a group that was flushed, before its commits are acknowledged. */
    private readonly onFlushed: (batches: readonly RevisionBatch[]) => void,
    /** Turns a failed flush into the error that each commit of the group fails with. */
    private readonly toCommitError: (error: unknown) => Promise<Error>,
  ) {}

  /** Queues a commit of a number of bytes. Resolves to the result of `evaluate` when the commit is on the disk. */
  add<R>(bytes: number, evaluate: (overlay: Overlay) => R): Promise<R> {
    return new Promise<R>((resolve, reject) => {
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

  /** Fails every commit whose group has not been taken yet. */
  failWaiting(error: Error): void {
    for (const waiting of this.#waiting.splice(0)) waiting.fail(error);
  }

  /** Resolves when no commit waits and no flush is in flight. */
  async idle(): Promise<void> {
    await this.#flushing;
  }

  async #flushAll(): Promise<void> {
    await Promise.resolve(); // every commit that is submitted in this turn shares the first group
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
    const overlay = this.records.overlay();
    const acknowledgements = evaluateAll(group, overlay);
    try {
      await this.records.flush(overlay);
    } catch (error) {
      const failure = await this.toCommitError(error);
      for (const waiting of group) waiting.fail(failure);
      return;
    }
    this.onFlushed(overlay.batches);
    for (const acknowledge of acknowledgements) acknowledge();
  }
}

/** Evaluates the commits of a group in order. A commit that throws fails alone. */
function evaluateAll(group: readonly Waiting[], overlay: Overlay): (() => void)[] {
  const acknowledgements: (() => void)[] = [];
  for (const waiting of group) {
    try {
      acknowledgements.push(waiting.evaluate(overlay));
    } catch (error) {
      waiting.fail(error as Error);
    }
  }
  return acknowledgements;
}
