import type { CounterBoard } from '../base/observe.js';
import type { Random } from '../base/random.js';
import type { InstanceRecord } from '../gen/rollcall/storage/v1/records.js';
import { RollcallError } from '../model/errors.js';
import { instanceKey } from '../model/keys.js';
import { WRITE_VISIBLE_WAIT_MS } from '../model/limits.js';
import { writeInstance } from '../model/records.js';
import {
  type CommitResult,
  type Compare,
  type Entry,
  type KeyRange,
  OutcomeLost,
  type Revision,
  type Store,
  StoreRefused,
  StoreUnavailable,
  type Txn,
} from '../store/store.js';
import type { Catalog } from './catalog.js';

/** The product's way to the store: commits, counts, tells failures in the caller's words, and waits until a write is visible. */
export class StoreGate {
  constructor(
    private readonly store: Store,
    private readonly catalog: Catalog,
    private readonly random: Random,
    private readonly counters: CounterBoard,
  ) {}

  /** A fresh write id. */
  writeId(): string {
    return this.random.id();
  }

  /** Commits one transaction. */
  async commit(txn: Txn): Promise<CommitResult> {
    const result = await this.#tell(this.store.commit(txn), 1);
    this.counters.add(result.ok ? 'commits' : 'commits_refused');
    return result;
  }

  /** Commits many transactions apart from all others; see Store.commitEach. */
  async commitEach(guard: readonly Compare[], txns: readonly Txn[]): Promise<CommitResult[]> {
    const results = await this.#tell(this.store.commitEach(guard, txns), txns.length);
    for (const result of results) this.counters.add(result.ok ? 'commits' : 'commits_refused');
    return results;
  }

  /** Reads one key linearizably. */
  get(key: string): ReturnType<Store['get']> {
    return this.#tell(this.store.get(key), 0);
  }

  /** Reads a range at one revision, whole: for small ranges. */
  async list(range: KeyRange): Promise<Entry[]> {
    const entries: Entry[] = [];
    const { pages } = await this.#tell(this.store.list(range), 0);
    for await (const page of pages) entries.push(...page);
    return entries;
  }

  /** The transaction that puts an instance record where `expected` stands (0n: nothing). */
  instanceTxn(record: InstanceRecord, expected: Revision, value = writeInstance(record)): Txn {
    const { namespace, service, id } = record.instance!;
    const key = instanceKey(namespace, service, id);
    return {
      writeId: record.writeId,
      compares: [{ key, modRevision: expected }],
      writes: [{ kind: 'put', key, value }],
    };
  }

  /** Waits until a write is visible here, for a bounded time: then it is committed all the same. */
  async visible(revision: Revision): Promise<void> {
    await this.catalog.reached(revision, WRITE_VISIBLE_WAIT_MS);
  }

  async #tell<T>(answer: Promise<T>, commits: number): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      this.counters.add('commits_failed', commits);
      throw inCallersWords(error);
    }
  }
}

function inCallersWords(error: unknown): unknown {
  if (error instanceof OutcomeLost) {
    const message = 'the reply of the store was lost and others have written since: read, and decide anew';
    return new RollcallError('OUTCOME_LOST', message, { cause: error });
  }
  if (error instanceof StoreUnavailable) {
    const message = 'the store did not answer; a write may have happened or not';
    return new RollcallError('STORE_UNAVAILABLE', message, { cause: error });
  }
  if (error instanceof StoreRefused && error.reason === 'FULL') {
    return new RollcallError('STORE_FULL', 'the store has no room left; nothing was written', {
      cause: error,
      retryAfterMs: 5_000,
    });
  }
  return error;
}
