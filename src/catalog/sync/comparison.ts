import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/observe.js';
import type { Random } from '../../base/random.js';
import { type Store, WATCHED_RANGE } from '../../store/store.js';
import type { Catalog } from '../catalog.js';

/** How often the catalog is held against the store; drawn anew each time, up to a fifth longer, so that replicas spread. */
const COMPARE_EVERY_MS = 300_000;
/** How long the catalog may take to reach the revision of the listing. */
const REACH_MAX_MS = 10_000;
/** How many differing keys are named in the log. */
const NAMED_MAX = 5;

/**
 * Holds the catalog against the store, key by key and revision by revision: some versions of etcd have lost events of a
 * watch, and nothing else would ever tell. A difference is counted, and everything is begun anew.
 */
export class Comparison implements Closeable {
  #timer: Timer | undefined;
  #comparing: Promise<void> | undefined;
  #closed = false;

  constructor(
    private readonly store: Store,
    private readonly catalog: Catalog,
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly telemetry: Telemetry,
    private readonly beginAnew: (reason: string) => void,
  ) {}

  start(): void {
    const waitMs = COMPARE_EVERY_MS * (1 + this.random.fraction() / 5);
    this.#timer = this.clock.after(waitMs, () => {
      this.#comparing = this.compare().then(
        () => this.#again(),
        (err: unknown) => {
          this.telemetry.log.debug({ err }, 'the catalog was not compared with the store');
          this.#again();
        },
      );
    });
  }

  #again(): void {
    if (!this.#closed) this.start();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#comparing;
  }

  /** Compares once; returns the keys that differ. */
  async compare(): Promise<readonly string[]> {
    const { catalog, store, telemetry } = this;
    const { horizon } = catalog;
    const { revision, pages } = await store.list(WATCHED_RANGE, 'keys');
    const listed = new Map<string, bigint>();
    for await (const page of pages) for (const { key, modRevision } of page) listed.set(key, modRevision);
    if (!(await catalog.reached(revision, REACH_MAX_MS))) return [];
    // What was forgotten meanwhile is in the listing by right.
    if (catalog.horizon !== horizon) return [];
    const different = catalog.differences(revision, listed);
    telemetry.counters.add('catalog_comparisons');
    if (different.length === 0) return [];
    telemetry.counters.add('catalog_differences', different.length);
    telemetry.log.error(
      { count: different.length, keys: different.slice(0, NAMED_MAX), revision: Number(revision) },
      'the catalog differs from the store: events were lost; beginning anew',
    );
    this.beginAnew('the catalog differs from the store');
    return different;
  }
}
