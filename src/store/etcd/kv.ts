import type { IRangeRequest, IRangeResponse, IResponseHeader, ITxnRequest, ITxnResponse } from 'etcd3';
import type { Log } from '../../base/telemetry.js';
import type { Entry, Revision } from '../store.js';
import type { Endpoints, Timeouts } from './endpoints.js';
import { EtcdFailure, failureOf } from './failures.js';

/** For a read or a commit: it fails over in under 2 s, and ends well before the caller's own deadline of 10 s. */
export const CALL_TIMEOUTS: Timeouts = { attemptMs: 1_500, totalMs: 5_000 };
/** For a page of a list, which is large. */
export const PAGE_TIMEOUTS: Timeouts = { attemptMs: 5_000, totalMs: 15_000 };
/** The text of every error that a replaced history causes. */
export const HISTORY_REPLACED = 'the history of etcd was replaced';

/**
 * Reads and transactions that also check the history of the store. A revision that goes back, or a different cluster,
 * means that etcd was restored from a backup or replaced.
 */
export class Kv {
  #newest: Revision = 0n;
  #cluster: string | undefined;
  #historyEnd = new AbortController();

  constructor(
    private readonly endpoints: Endpoints,
    /** A key without a meaning, outside the watched range. */
    readonly probeKey: Buffer,
    private readonly log: Log,
  ) {}

  /** The newest revision that etcd has shown. */
  get newest(): Revision {
    return this.#newest;
  }

  /** Aborts when a different history replaces the one that current revisions belong to. */
  get historyEnded(): AbortSignal {
    return this.#historyEnd.signal;
  }

  /** Reads a range, linearizably unless the request names a revision. */
  async range(request: IRangeRequest, timeouts: Timeouts = CALL_TIMEOUTS): Promise<IRangeResponse> {
    const floor = this.#newest;
    const { answer } = await this.endpoints.call((etcd, options) => etcd.kv.range(request, options), timeouts);
    if (this.#isOlder(answer.header, floor)) await this.#confirmHistory(floor);
    this.#observe(answer.header);
    return answer;
  }

  /** Commits a transaction that may be sent more than once. */
  async txn(request: ITxnRequest): Promise<{ answer: ITxnResponse; attempts: number }> {
    const floor = this.#newest;
    const result = await this.endpoints.call((etcd, options) => etcd.kv.txn(request, options), CALL_TIMEOUTS);
    if (this.#isOlder(result.answer.header, floor)) await this.#confirmHistory(floor);
    this.#observe(result.answer.header);
    return result;
  }

  /** Makes one small linearizable read. Throws if the history has been replaced. */
  async probe(): Promise<void> {
    await this.range({ key: this.probeKey, keys_only: true });
  }

  /**
   * Checks that the history still holds an entry that was read before. A replacement may have grown past the old
   * history, and then no revision shows it. Values are unique, because each carries its write id. Throws if the entry
   * is gone, and passes if its revision was compacted.
   */
  async confirm(key: Buffer, { value, modRevision }: Entry): Promise<void> {
    let answer: IRangeResponse;
    try {
      answer = await this.range({ key, revision: String(modRevision) });
    } catch (error) {
      if (failureOf(error).kind === 'COMPACTED') return; // too old to decide
      throw error;
    }
    const [found] = answer.kvs;
    if (found && BigInt(found.mod_revision) === modRevision && found.value.equals(value)) return;
    this.#endHistory(answer.header, this.#newest);
  }

  #isOlder({ cluster_id, revision }: IResponseHeader, floor: Revision): boolean {
    return (this.#cluster !== undefined && cluster_id !== this.#cluster) || BigInt(revision) < floor;
  }

  #observe({ cluster_id, revision }: IResponseHeader): void {
    this.#cluster ??= cluster_id;
    if (BigInt(revision) > this.#newest) this.#newest = BigInt(revision);
  }

  /**
   * Decides by a write whether the history was replaced. In some versions a read may be stale after a pause of the
   * process (etcd issue 20418). A write is applied in order everywhere, so its revision decides. Always throws.
   */
  async #confirmHistory(floor: Revision): Promise<void> {
    const { answer } = await this.endpoints.call(
      (etcd, options) => etcd.kv.put({ key: this.probeKey, value: Buffer.alloc(0) }, options),
      CALL_TIMEOUTS,
    );
    if (!this.#isOlder(answer.header, floor)) {
      this.log.warn({ floor: Number(floor) }, 'etcd answered a read with an older state; its history is unchanged');
      throw new EtcdFailure('UNREACHABLE', 'etcd answered with an older state');
    }
    this.#endHistory(answer.header, floor);
  }

  /** Ends the present history and begins the next one. Always throws. */
  #endHistory({ cluster_id, revision }: IResponseHeader, floor: Revision): never {
    const fields = { seen: Number(floor), revision: Number(revision), cluster: cluster_id, before: this.#cluster };
    this.log.error(fields, 'the history of etcd was replaced: etcd was restored from a backup, or is another cluster');
    this.#newest = BigInt(revision);
    this.#cluster = cluster_id;
    const ended = this.#historyEnd;
    this.#historyEnd = new AbortController();
    ended.abort();
    throw new EtcdFailure('UNREACHABLE', HISTORY_REPLACED);
  }
}
