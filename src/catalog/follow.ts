import { Backoff } from '../base/backoff.js';
import { type Clock, delay } from '../base/clock.js';
import type { Closeable } from '../base/lifecycle.js';
import type { Telemetry } from '../base/observe.js';
import type { Random } from '../base/random.js';
import { Compacted, type Entry, type Store, WATCHED_RANGE } from '../store/store.js';
import type { Catalog } from './catalog.js';

/** Waits between tries to list or watch: short, because everything waits for it; capped, so that a dead store is left alone. */
const RETRY_BASE_MS = 50;
const RETRY_MAX_MS = 5_000;

/** Keeps the catalog equal to the store: lists, then watches from there, and lists again after a compaction. */
export class Follower implements Closeable {
  readonly #stop = new AbortController();
  readonly #backoff: Backoff;
  #running: Promise<void> | undefined;

  constructor(
    private readonly store: Store,
    private readonly catalog: Catalog,
    private readonly clock: Clock,
    random: Random,
    private readonly telemetry: Telemetry,
  ) {
    this.#backoff = new Backoff(random, RETRY_BASE_MS, RETRY_MAX_MS);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    let listed = false;
    while (!this.#stop.signal.aborted) {
      try {
        if (!listed) await this.#list();
        listed = true;
        await this.#watch();
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (error instanceof Compacted) {
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
    const { revision, pages } = await this.store.list(WATCHED_RANGE);
    const entries: Entry[] = [];
    for await (const page of pages) for (const entry of page) entries.push(entry);
    if (this.#stop.signal.aborted) return;
    this.catalog.replace(revision, entries);
    this.#backoff.reset();
    this.telemetry.counters.add('relists');
  }

  async #watch(): Promise<void> {
    for await (const batch of this.store.watch(this.catalog.revision, this.#stop.signal)) {
      this.catalog.apply(batch);
      this.#backoff.reset();
    }
  }
}
