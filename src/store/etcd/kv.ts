import type { IRangeRequest, IRangeResponse, IResponseHeader, ITxnRequest, ITxnResponse } from 'etcd3';
import type { Log } from '../../base/telemetry.js';
import type { Entry, Revision } from '../store.js';
import type { Endpoints, Patience } from './endpoints.js';
import { EtcdFailure, failureOf } from './failures.js';

/** A read or a commit: fails over in under 2 s, and is given up well before the caller's own deadline of 10 s. */
export const CALL_PATIENCE: Patience = { attemptMs: 1_500, withinMs: 5_000 };
/** A page of a list is large. */
export const PAGE_PATIENCE: Patience = { attemptMs: 5_000, withinMs: 15_000 };

/**
 * Reads and transactions, with an eye on the history of the store: a revision that goes back, or another cluster,
 * means that etcd was restored from a backup or replaced.
 */
export class Kv {
  #newest: Revision = 0n;
  #cluster: string | undefined;
  #history = new AbortController();

  constructor(
    private readonly endpoints: Endpoints,
    /** A key of no meaning, outside the watched range. */
    readonly probeKey: Buffer,
    private readonly log: Log,
  ) {}

  /** The newest revision that was seen. */
  get newest(): Revision {
    return this.#newest;
  }

  /** Aborted when the history that revisions belong to has been replaced by another. */
  get history(): AbortSignal {
    return this.#history.signal;
  }

  /** A linearizable read, unless it names a revision. */
  async range(request: IRangeRequest, patience: Patience = CALL_PATIENCE): Promise<IRangeResponse> {
    const floor = this.#newest;
    const { answer } = await this.endpoints.call((etcd, options) => etcd.kv.range(request, options), patience);
    if (this.#isOlder(answer.header, floor)) await this.#confirmHistory(floor);
    this.#observe(answer.header);
    return answer;
  }

  /** A transaction that may be sent more than once. */
  async txn(request: ITxnRequest): Promise<{ answer: ITxnResponse; attempts: number }> {
    const floor = this.#newest;
    const result = await this.endpoints.call((etcd, options) => etcd.kv.txn(request, options), CALL_PATIENCE);
    if (this.#isOlder(result.answer.header, floor)) await this.#confirmHistory(floor);
    this.#observe(result.answer.header);
    return result;
  }

  /** One small linearizable read: throws if the history is another one by now. */
  async probe(): Promise<void> {
    await this.range({ key: this.probeKey, keys_only: true });
  }

  /**
   * Makes sure that an entry that was read once still stands in the history: it may have been replaced by one that is
   * further on, of which no revision tells. Values are unique, as each carries the id of its write. Throws if it was.
   */
  async confirm(key: Buffer, { value, modRevision }: Entry): Promise<void> {
    let answer: IRangeResponse;
    try {
      answer = await this.range({ key, revision: String(modRevision) });
    } catch (error) {
      if (failureOf(error).kind === 'COMPACTED') return; // too old to say
      throw error;
    }
    const [found] = answer.kvs;
    if (found && BigInt(found.mod_revision) === modRevision && found.value.equals(value)) return;
    this.#begin(answer.header, this.#newest);
  }

  #isOlder({ cluster_id, revision }: IResponseHeader, floor: Revision): boolean {
    return (this.#cluster !== undefined && cluster_id !== this.#cluster) || BigInt(revision) < floor;
  }

  #observe({ cluster_id, revision }: IResponseHeader): void {
    this.#cluster ??= cluster_id;
    if (BigInt(revision) > this.#newest) this.#newest = BigInt(revision);
  }

  /**
   * A read may be stale in some versions after a pause of the process (etcd issue 20418); a write is applied in
   * order everywhere, so that its revision settles it. Throws if the history is another one.
   */
  async #confirmHistory(floor: Revision): Promise<void> {
    const { answer } = await this.endpoints.call(
      (etcd, options) => etcd.kv.put({ key: this.probeKey, value: Buffer.alloc(0) }, options),
      CALL_PATIENCE,
    );
    if (!this.#isOlder(answer.header, floor)) {
      this.log.warn({ floor: Number(floor) }, 'etcd answered with an older state than it had shown, and recovered');
      throw new EtcdFailure('UNREACHABLE', 'etcd answered with an older state');
    }
    this.#begin(answer.header, floor);
  }

  /** Another history begins. Throws. */
  #begin({ cluster_id, revision }: IResponseHeader, floor: Revision): never {
    const fields = { seen: Number(floor), revision: Number(revision), cluster: cluster_id, before: this.#cluster };
    this.log.error(fields, 'etcd has another history than before: it was restored or replaced');
    this.#newest = BigInt(revision);
    this.#cluster = cluster_id;
    const ended = this.#history;
    this.#history = new AbortController();
    ended.abort();
    throw new EtcdFailure('UNREACHABLE', 'etcd has another history than before');
  }
}
