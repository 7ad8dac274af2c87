import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Random } from '../../base/random.js';
import type { Telemetry } from '../../base/telemetry.js';
import { type Store, WATCHED_RANGE } from '../../store/store.js';
import type { Catalog } from '../catalog.js';
import { COUNTERS } from '../instruments.js';

/** Time between two checks. A random part of up to a fifth is added, so that replicas check at different times. */
const CHECK_EVERY_MS = 300_000;
/** How long the catalog may take to reach the revision of the listing. */
const REACH_MAX_MS = 10_000;
/** The most differing keys that the log names. */
const NAMED_MAX = 5;

/** The dependencies of a ConsistencyCheck. */
export interface ConsistencyCheckParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
  /** Drops the catalog and lists again. */
  readonly beginAgain: () => void;
}

/**
 * Compares the catalog with the store, key by key and revision by revision. Some versions of etcd have lost events of a
 * watch, and no error shows that. After a difference the catalog is read again as a whole.
 */
export class ConsistencyCheck implements Closeable {
  #timer: Timer | undefined;
  #checking: Promise<void> | undefined;
  #closed = false;

  constructor(private readonly parts: ConsistencyCheckParts) {}

  start(): void {
    const { clock, random } = this.parts;
    const waitMs = CHECK_EVERY_MS * (1 + random.fraction() / 5);
    this.#timer = clock.after(waitMs, () => {
      this.#checking = this.compare().then(
        () => this.#again(),
        (err: unknown) => {
          this.parts.telemetry.log.debug({ err }, 'the catalog could not be compared with the store');
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
    await this.#checking;
  }

  /** Compares once; returns the keys that differ. */
  async compare(): Promise<readonly string[]> {
    const { catalog, store, telemetry, beginAgain } = this.parts;
    const { horizon } = catalog;
    const { revision, pages } = await store.list(WATCHED_RANGE, 'keys');
    const listed = new Map<string, bigint>();
    for await (const page of pages) for (const { key, modRevision } of page) listed.set(key, modRevision);
    if (!(await catalog.reached(revision, REACH_MAX_MS))) return [];
    // The listing may legitimately hold tombstones that were collected after it.
    if (catalog.horizon !== horizon) return [];
    const different = catalog.differences(revision, listed);
    telemetry.counters.add(COUNTERS.catalog_comparisons);
    if (different.length === 0) return [];
    telemetry.counters.add(COUNTERS.catalog_differences, different.length);
    telemetry.log.error(
      { count: different.length, keys: different.slice(0, NAMED_MAX), revision: Number(revision) },
      'the catalog differs from the store because events were lost; reloading everything',
    );
    beginAgain();
    return different;
  }
}
