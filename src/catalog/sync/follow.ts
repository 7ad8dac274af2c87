import { Backoff } from '../../base/backoff.js';
import { type Clock, delay } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/observe.js';
import type { Random } from '../../base/random.js';
import { EPOCH_KEY } from '../../model/keys.js';
import { Compacted, type Entry, RolledBack, type Store, WATCHED_RANGE } from '../../store/store.js';
import type { Catalog } from '../catalog.js';
import { epochOf, settleEpoch } from './schema.js';

/** Waits between tries to list or watch: short, because everything waits for it; capped, so that a dead store is left alone. */
const RETRY_BASE_MS = 50;
const RETRY_MAX_MS = 5_000;

/**
 * Keeps the catalog equal to the store: lists, then watches from there, and lists again after a compaction.
 *
 * When the store has another history than before (it says so, or its epoch is another one), everything is forgotten
 * and begins as at the start, under an epoch that no token of the old history carries.
 */
export class Follower implements Closeable {
  readonly #stop = new AbortController();
  readonly #backoff: Backoff;
  /** Ends the watch that is open, but not the following. */
  #again = new AbortController();
  #running: Promise<void> | undefined;
  /** The epochs of histories that are over. A store that was restored twice may show an older one than the last. */
  readonly #endedEpochs = new Set<string>();
  /** The epoch of the history that is followed. '': none is yet. */
  #epoch = '';
  /** True: what begins now must have another epoch than any of these. */
  #epochUnsettled = false;

  constructor(
    private readonly store: Store,
    private readonly catalog: Catalog,
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly telemetry: Telemetry,
  ) {
    this.#backoff = new Backoff(random, RETRY_BASE_MS, RETRY_MAX_MS);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#again.abort();
    await this.#running;
  }

  /** Lists everything anew, and watches from there: the watch that is open may be silent. */
  relist(): void {
    this.#again.abort();
  }

  /** Forgets everything and begins anew, in the same history: events were lost. */
  beginAnew(): void {
    const { revision } = this.catalog;
    this.catalog.reset(true);
    this.catalog.missedEventsUpTo(revision);
    this.relist();
  }

  async #run(): Promise<void> {
    let listed = false;
    while (!this.#stop.signal.aborted) {
      try {
        if (!listed) await this.#list();
        listed = true;
        await this.#watch();
        listed = false; // a watch ends by itself only when it is told to
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (error instanceof RolledBack) this.#forget(error);
        if (error instanceof Compacted || error instanceof RolledBack) {
          listed = false;
          continue;
        }
        this.telemetry.log.warn(
          { err: error, revision: this.catalog.revision },
          'the store does not answer; trying again',
        );
        await delay(this.clock, this.#backoff.nextMs(), this.#stop.signal);
      }
    }
  }

  async #list(): Promise<void> {
    if (this.#epochUnsettled) await settleEpoch(this.store, this.random, this.#endedEpochs);
    const { revision, pages } = await this.store.list(WATCHED_RANGE);
    const entries: Entry[] = [];
    for await (const page of pages) for (const entry of page) entries.push(entry);
    if (this.#stop.signal.aborted) return;
    if (revision < this.catalog.revision) throw new RolledBack('a listing is older than what was seen before');
    // Whoever was cut off while the store was restored may find it further on than it ever was.
    if (this.#isOther(entries.find(({ key }) => key === EPOCH_KEY)))
      throw new RolledBack('the store has another epoch');
    this.#epochUnsettled = false;
    this.catalog.replace(revision, entries);
    this.#epoch = this.catalog.epoch;
    this.#backoff.reset();
    this.telemetry.counters.add('relists');
  }

  async #watch(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    this.#again = new AbortController();
    const { signal } = this.#again;
    for await (const batch of this.store.watch(this.catalog.revision, signal)) {
      if (signal.aborted) return;
      // Another server, or an operator after a restore, has seen what this one could not.
      for (const change of batch.changes)
        if (change.kind === 'put' && change.entry.key === EPOCH_KEY && this.#isOther(change.entry))
          throw new RolledBack('the store has a new epoch');
      this.catalog.apply(batch);
      this.#backoff.reset();
    }
  }

  /** True: the record of the epoch names another history than the one that is followed, or one that is over. */
  #isOther(entry: Entry | undefined): boolean {
    const epoch = epochOf(entry);
    if (epoch === undefined) return false;
    return (this.#epoch !== '' && epoch !== this.#epoch) || this.#endedEpochs.has(epoch);
  }

  #forget({ message }: RolledBack): void {
    const { revision } = this.catalog;
    this.telemetry.log.error(
      { revision: Number(revision), epoch: this.#epoch, reason: message },
      'another store: beginning anew',
    );
    this.telemetry.counters.add('rollbacks');
    if (this.#epoch !== '') this.#endedEpochs.add(this.#epoch);
    this.#epoch = '';
    this.#epochUnsettled = true;
    this.catalog.reset(false);
  }
}
