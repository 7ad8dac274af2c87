import { Backoff } from '../../base/backoff.js';
import { type Clock, delay } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Random } from '../../base/random.js';
import type { Telemetry } from '../../base/telemetry.js';
import { beginsAfter, EPOCH_KEY, epochOf } from '../../model/store-facts.js';
import { allEntries, Compacted, type Entry, RolledBack, type Store, WATCHED_RANGE } from '../../store/store.js';
import type { Catalog } from '../catalog.js';
import { settleEpoch } from './schema.js';
import { COUNTERS } from '../instruments.js';

/**
 * The waits between attempts to list or watch. They begin short, as reads depend on them; the cap spares a dead store.
 */
const RETRY_BASE_MS = 50;
const RETRY_MAX_MS = 5_000;

/** The dependencies of a StoreSync. */
export interface StoreSyncParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
}

/**
 * Keeps the catalog equal to the store: lists, then watches from there, and lists again after a compaction.
 *
 * If the store has another history than before (it reports that, or its epoch differs), the catalog drops everything
 * and begins as at the start. The new history gets an epoch that no token of the old one carries.
 */
export class StoreSync implements Closeable {
  readonly #stop = new AbortController();
  readonly #backoff: Backoff;
  /** Ends the open watch, but not the sync. */
  #again = new AbortController();
  #running: Promise<void> | undefined;
  /** The epoch of the last history that ended; empty if none did. The record of the next one must name it. */
  #endedEpoch = '';
  /** The epoch of the history that is followed. Empty before the first listing. */
  #epoch = '';
  /** True if the next history must get an epoch of its own. */
  #epochUnsettled = false;

  constructor(private readonly parts: StoreSyncParts) {
    this.#backoff = new Backoff(parts.random, RETRY_BASE_MS, RETRY_MAX_MS);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#again.abort();
    await this.#running;
  }

  /** Lists everything again and watches from there: the open watch may be dead. */
  relist(): void {
    this.#again.abort();
  }

  /** Drops everything and lists again, in the same history: events were lost. */
  beginAgain(): void {
    const { catalog } = this.parts;
    const { revision } = catalog;
    catalog.reset(true);
    catalog.missedEventsUpTo(revision);
    this.relist();
  }

  async #run(): Promise<void> {
    const { catalog, clock, telemetry } = this.parts;
    let listed = false;
    while (!this.#stop.signal.aborted) {
      try {
        if (!listed) await this.#list();
        listed = true;
        await this.#watch();
        listed = false; // a watch without an error ends only when it is aborted
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (error instanceof RolledBack) this.#endHistory(error);
        if (error instanceof Compacted || error instanceof RolledBack) {
          listed = false;
          continue;
        }
        telemetry.log.warn({ err: error, revision: catalog.revision }, 'the store does not answer; retrying');
        await delay(clock, this.#backoff.nextMs(), this.#stop.signal);
      }
    }
  }

  async #list(): Promise<void> {
    const { store, catalog, random, telemetry } = this.parts;
    if (this.#epochUnsettled) await settleEpoch(store, random, this.#endedEpoch);
    const listing = await store.list(WATCHED_RANGE);
    const { revision } = listing;
    const entries = await allEntries(listing);
    if (this.#stop.signal.aborted) return;
    if (revision < catalog.revision) throw new RolledBack('a listing is older than an earlier one');
    // After a restore that this server missed, the new history may already be past the catalog. So compare epochs too.
    const epoch = entries.find(({ key }) => key === EPOCH_KEY);
    if (this.#isOther(epoch) || (this.#epochUnsettled && !beginsAfter(epoch, this.#endedEpoch)))
      throw new RolledBack('the store has another epoch');
    this.#epochUnsettled = false;
    catalog.replace(revision, entries);
    this.#epoch = catalog.storeEpoch;
    this.#backoff.reset();
    telemetry.counters.add(COUNTERS.relists);
  }

  async #watch(): Promise<void> {
    const { store, catalog } = this.parts;
    if (this.#stop.signal.aborted) return;
    this.#again = new AbortController();
    const { signal } = this.#again;
    for await (const batch of store.watch(catalog.revision, signal)) {
      if (signal.aborted) return;
      // Another server, or an operator after a restore, noticed a new history that this server could not notice.
      for (const change of batch.changes)
        if (change.kind === 'put' && change.entry.key === EPOCH_KEY && this.#isOther(change.entry))
          throw new RolledBack('the store has a new epoch');
      catalog.apply(batch);
      this.#backoff.reset();
    }
  }

  /** Returns true if the epoch record names another history than the one that is followed. */
  #isOther(entry: Entry | undefined): boolean {
    const epoch = epochOf(entry);
    return epoch !== undefined && this.#epoch !== '' && epoch !== this.#epoch;
  }

  #endHistory({ message }: RolledBack): void {
    const { catalog, telemetry } = this.parts;
    const fields = { revision: Number(catalog.revision), epoch: this.#epoch, reason: message };
    telemetry.log.error(fields, 'store history changed, reloading everything');
    telemetry.counters.add(COUNTERS.rollbacks);
    if (this.#epoch !== '') this.#endedEpoch = this.#epoch;
    this.#epoch = '';
    this.#epochUnsettled = true;
    catalog.reset(false);
  }
}
