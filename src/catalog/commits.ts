import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { Telemetry } from '../base/telemetry.js';
import type { SpanFailure } from '../base/tracing.js';
import type { Random } from '../base/random.js';
import type { InstanceRecord } from '../gen/rollcall/storage/v1/records.js';
import { Code, RollcallError } from '../model/errors.js';
import { instanceKey, writeInstance } from '../model/instance.js';
import type { Stamp } from '../model/item.js';
import { WRITE_VISIBLE_WAIT_MS } from '../model/limits.js';
import { EPOCH_KEY, epochOf, type FactItem } from '../model/store-facts.js';
import {
  allEntries,
  type CommitResult,
  type Compare,
  type Entry,
  type KeyRange,
  OutcomeLost,
  putTxn,
  type Revision,
  type Store,
  StoreRefused,
  StoreUnavailable,
  type Txn,
  TXN_WRITES_MAX,
} from '../store/store.js';
import type { Catalog } from './catalog.js';
import { COUNTERS, HISTOGRAMS } from './instruments.js';
import { EPOCH } from './kinds.js';

/** How often a write is tried if other writes keep changing its record. After that the caller gets WRITE_CONFLICT. */
const WRITE_TRIES = 8;

/** The dependencies of Commits. */
export interface CommitsParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly random: Random;
  /** The name of the node of this server. */
  readonly node: string;
  readonly telemetry: Pick<Telemetry, 'counters' | 'histograms' | 'tracer'>;
}

/** One attempt of a write: done, or to be decided again because the store holds something else. */
export type Attempt<T> = { readonly done: T } | { readonly retry: true };

/**
 * The domain's access to the store. It commits, counts, reports failures as RollcallErrors, and waits until a write is
 * visible in the catalog.
 */
export class Commits {
  /** The revision at which the record of the epoch was found last, if it was not that of the catalog. */
  #epochFound: { readonly epoch: FactItem<string>; readonly modRevision: Revision } | undefined;

  constructor(private readonly parts: CommitsParts) {}

  /** A fresh write id. */
  writeId(): string {
    return this.parts.random.id();
  }

  /** A fresh write id, and the time and the node that a record shows. */
  stamp(): Stamp {
    const { clock, node } = this.parts;
    return { writeId: this.writeId(), wallMs: clock.wall(), node };
  }

  /**
   * Commits one transaction in the history that the catalog shows. Throws STORE_REPLACED if the store has another one:
   * its revisions may be equal by chance, and compares that hold would then mean nothing.
   */
  async commit(txn: Txn): Promise<CommitResult> {
    assert(txn.writes.length <= TXN_WRITES_MAX, `${txn.writes.length} writes are too many for a transaction`);
    for (;;) {
      const history = this.#history();
      const compares = [...txn.compares, ...history];
      const result = await this.#report(this.parts.store.commit({ ...txn, compares }), 1);
      if (!result.ok && this.#isOutdated(history, result.found[txn.compares.length])) continue;
      this.parts.telemetry.counters.add(result.ok ? COUNTERS.commits : COUNTERS.commits_refused);
      return result.ok ? result : { ...result, found: result.found.slice(0, txn.compares.length) };
    }
  }

  /**
   * Commits many transactions in the history that the catalog shows, separately from all other commits; see
   * Store.commitEach. In another history every result is a refusal.
   */
  async commitEach(guard: readonly Compare[], txns: readonly Txn[]): Promise<CommitResult[]> {
    const history = this.#history();
    const results = await this.#report(this.parts.store.commitEach([...guard, ...history], txns), txns.length);
    for (const result of results)
      this.parts.telemetry.counters.add(result.ok ? COUNTERS.commits : COUNTERS.commits_refused);
    if (results.every(({ ok }) => !ok)) this.#lookAtEpoch(history);
    return results;
  }

  /**
   * Calls `attempt` until it is done, up to WRITE_TRIES times. An attempt decides on the records that it knows and
   * commits with a compare. If the compare fails, it keeps the record that the store found for the next attempt. Throws
   * WRITE_CONFLICT, naming `what`.
   */
  async retrying<T>(what: string, attempt: () => Promise<Attempt<T>>): Promise<T> {
    for (let tries = 0; tries < WRITE_TRIES; tries++) {
      const result = await attempt();
      if ('done' in result) return result.done;
    }
    throw new RollcallError('WRITE_CONFLICT', `other writes of ${what} came first at every try; nothing was written`);
  }

  /** Reads one key linearizably. */
  get(key: string): ReturnType<Store['get']> {
    return this.#report(this.parts.store.get(key), 0);
  }

  /** Reads a whole range at one revision. It is for small ranges only. */
  async list(range: KeyRange): Promise<Entry[]> {
    return allEntries(await this.#report(this.parts.store.list(range), 0));
  }

  /** The transaction that puts an instance record if the current record is at `expected` (0n: if there is none). */
  instanceTxn(record: InstanceRecord, expected: Revision, value = writeInstance(record)): Txn {
    const { namespace, service, id } = record.instance!;
    return putTxn(record.writeId, instanceKey(namespace, service, id), value, expected);
  }

  /** Waits until a committed write is visible here, but no longer than WRITE_VISIBLE_WAIT_MS. */
  async visible(revision: Revision): Promise<void> {
    await this.parts.catalog.reached(revision, WRITE_VISIBLE_WAIT_MS);
  }

  /** The compare that holds only in the history that the catalog shows. Empty if that history has no epoch. */
  #history(): Compare[] {
    const epoch = this.parts.catalog.of(EPOCH).get('', '', '');
    if (!epoch) return [];
    const found = this.#epochFound?.epoch === epoch ? this.#epochFound.modRevision : epoch.modRevision;
    return [{ key: EPOCH_KEY, modRevision: found }];
  }

  /**
   * Returns true if the compare of `#history` failed although the history is the same: somebody has deleted the record of
   * the epoch, or written it again. Then the next compare is made of what was found. Throws STORE_REPLACED.
   */
  #isOutdated([compare]: readonly Compare[], found: Entry | undefined): boolean {
    const epoch = this.parts.catalog.of(EPOCH).get('', '', '');
    const modRevision = found?.modRevision ?? 0n;
    if (!compare || !epoch || ('modRevision' in compare && compare.modRevision === modRevision)) return false;
    const named = epochOf(found);
    if (named !== undefined && named !== this.parts.catalog.storeEpoch)
      throw new RollcallError('STORE_REPLACED', 'the store was restored, and this server has not read it again yet');
    this.#epochFound = { epoch, modRevision };
    return true;
  }

  /** Results of commitEach do not show the record of the epoch. If it was the cause, the next try does not fail by it. */
  #lookAtEpoch(history: readonly Compare[]): void {
    this.get(EPOCH_KEY)
      .then(({ entry }) => this.#isOutdated(history, entry))
      .catch(() => undefined); // the next try fails by itself
  }

  async #report<T>(answer: Promise<T>, commits: number): Promise<T> {
    const { clock, telemetry } = this.parts;
    const sentMs = clock.now();
    const span = commits > 0 ? telemetry.tracer?.child('store commit') : undefined;
    try {
      const result = await answer;
      span?.end();
      return result;
    } catch (error) {
      telemetry.counters.add(COUNTERS.commits_failed, commits);
      const reported = toRollcallError(error);
      span?.end(failureOfSpan(reported));
      throw reported;
    } finally {
      if (commits > 0) telemetry.histograms.observe(HISTOGRAMS.commit, (clock.now() - sentMs) / 1_000);
    }
  }
}

function failureOfSpan(error: unknown): SpanFailure {
  if (error instanceof RollcallError) return error;
  return { code: Code.INTERNAL, reason: 'INTERNAL', message: String(error) };
}

function toRollcallError(error: unknown): unknown {
  if (error instanceof OutcomeLost) {
    const message = 'the reply of the store was lost, and another write of the record followed: read and decide again';
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
