import type { Clock } from '../base/clock.js';
import { BarrierRecord } from '../gen/rollcall/storage/v1/records.js';
import { RollcallError } from '../model/errors.js';
import { BARRIER_KEY } from '../model/keys.js';
import { READ_REVISION_WAIT_MS } from '../model/limits.js';
import type { Revision, Store } from '../store/store.js';
import type { Catalog } from './catalog.js';
import type { StoreGate } from './store-gate.js';

/** How fresh a read must be. */
export interface ReadOptions {
  /** The read must show this revision. */
  readonly minRevision: Revision;
  /** The read must see every write that was acknowledged before it, anywhere. */
  readonly barrier: boolean;
}

/** What every answer to a read says of itself. */
export interface ReadStamp {
  readonly revision: Revision;
  /** How old the answer may be, in milliseconds. Undefined: the store is in reach. */
  readonly staleForMs: number | undefined;
}

/** Gates reads on the freshness that they ask for. */
export class Reads {
  #nextBarrier: Promise<Revision> | undefined;
  #lastBarrier: Promise<void> = Promise.resolve();

  constructor(
    private readonly health: Store['health'],
    private readonly store: StoreGate,
    private readonly catalog: Catalog,
    private readonly clock: Clock,
  ) {}

  /** Returns undefined when the read may go on at once, which is the common case; otherwise waits, or throws. */
  ready({ minRevision, barrier }: ReadOptions): Promise<void> | undefined {
    this.catalog.assertReady();
    if (!barrier && this.catalog.has(minRevision)) return undefined;
    return this.#wait(minRevision, barrier);
  }

  /** What an answer made now says of itself. */
  stamp(): ReadStamp {
    const since = this.health().outOfReachSinceMs;
    return { revision: this.catalog.revision, staleForMs: since === undefined ? undefined : this.clock.now() - since };
  }

  async #wait(minRevision: Revision, barrier: boolean): Promise<void> {
    const revision = barrier ? maxOf(minRevision, await this.#barrier()) : minRevision;
    if (await this.catalog.reached(revision, READ_REVISION_WAIT_MS)) return;
    throw new RollcallError('REVISION_NOT_REACHED', `revision ${revision} has not been seen here yet`, {
      metadata: { revision: String(revision), seen: String(this.catalog.revision) },
    });
  }

  /**
   * Writes the barrier record and returns its revision. Callers that come while a barrier is on its way share
   * the next one: the one on its way may have been written before they came.
   */
  #barrier(): Promise<Revision> {
    this.#nextBarrier ??= this.#lastBarrier.then(() => {
      this.#nextBarrier = undefined;
      const written = this.#writeBarrier();
      this.#lastBarrier = written.then(ignore, ignore);
      return written;
    });
    return this.#nextBarrier;
  }

  async #writeBarrier(): Promise<Revision> {
    const writeId = this.store.writeId();
    const value = BarrierRecord.encode({ writeId }).finish();
    const result = await this.store.commit({
      writeId,
      compares: [],
      writes: [{ kind: 'put', key: BARRIER_KEY, value }],
    });
    return result.revision;
  }
}

const ignore = (): void => undefined;
const maxOf = (a: Revision, b: Revision): Revision => (a > b ? a : b);
