import { maxOf } from '../base/max.js';
import type { Clock } from '../base/clock.js';
import { BarrierRecord } from '../gen/rollcall/storage/v1/records.js';
import { RollcallError } from '../model/errors.js';
import { BARRIER_KEY } from '../model/keys.js';
import { READ_REVISION_WAIT_MS } from '../model/limits.js';
import type { Revision, Store } from '../store/store.js';
import type { Catalog } from './catalog.js';
import type { Commits } from './commits.js';

/** How fresh a read must be. */
export interface ReadOptions {
  /** The read must show this revision. */
  readonly minRevision: Revision;
  /** The read must see every write that was acknowledged before it, anywhere. */
  readonly barrier: boolean;
}

/** The revision and staleness that every answer to a read carries. */
export interface ReadStamp {
  readonly revision: Revision;
  /** How old the answer may be, in milliseconds. `undefined` if the store is reachable. */
  readonly staleForMs: number | undefined;
}

/** The dependencies of Freshness. */
export interface FreshnessParts {
  readonly health: Store['health'];
  readonly commits: Commits;
  readonly catalog: Catalog;
  readonly clock: Clock;
}

/** Delays reads until the catalog is as fresh as they ask for. */
export class Freshness {
  #nextBarrier: Promise<Revision> | undefined;
  #lastBarrier: Promise<void> = Promise.resolve();

  constructor(private readonly parts: FreshnessParts) {}

  /** Returns `undefined` if the read may go on at once, which is the common case; otherwise waits, or throws. */
  ready({ minRevision, barrier }: ReadOptions): Promise<void> | undefined {
    const { catalog } = this.parts;
    catalog.assertReady();
    if (!barrier && catalog.has(minRevision)) return undefined;
    return this.#wait(minRevision, barrier);
  }

  /** The stamp of an answer that is made now. */
  stamp(): ReadStamp {
    const { health, catalog, clock } = this.parts;
    const since = health().unreachableSinceMs;
    return { revision: catalog.revision, staleForMs: since === undefined ? undefined : clock.now() - since };
  }

  async #wait(minRevision: Revision, barrier: boolean): Promise<void> {
    const revision = barrier ? maxOf(minRevision, await this.#barrier()) : minRevision;
    if (await this.parts.catalog.reached(revision, READ_REVISION_WAIT_MS)) return;
    throw new RollcallError('REVISION_NOT_REACHED', `this server has not seen revision ${revision} yet`, {
      metadata: { revision: String(revision), seen: String(this.parts.catalog.revision) },
    });
  }

  /**
   * Writes the barrier record and returns its revision. Callers that arrive while a barrier is in flight share the next
   * one, because the one in flight may have been written before they arrived.
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
    const writeId = this.parts.commits.writeId();
    const value = BarrierRecord.encode({ writeId }).finish();
    const result = await this.parts.commits.commit({
      writeId,
      compares: [],
      writes: [{ kind: 'put', key: BARRIER_KEY, value }],
    });
    return result.revision;
  }
}

const ignore = (): void => undefined;
