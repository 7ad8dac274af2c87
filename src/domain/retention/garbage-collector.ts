import { type Clock, delay, type Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import { maxOf } from '../../base/max.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Commits } from '../../catalog/commits.js';
import type { Kind } from '../../catalog/kind.js';
import { HORIZON } from '../../catalog/kinds.js';
import { HorizonRecord, RequestRecord } from '../../gen/rollcall/storage/v1/records.js';
import { RollcallError } from '../../model/errors.js';
import { decode, type Item } from '../../model/item.js';
import { LIMITS, TOMBSTONE_KEPT_MS } from '../../model/limits.js';
import { REQUESTS } from '../../model/request.js';
import { HORIZON_KEY } from '../../model/store-facts.js';
import { fromTimestamp, HOUR_MS } from '../../model/time.js';
import { type Compare, prefixRange, type Revision, TXN_WRITES_MAX, type Write } from '../../store/store.js';
import { COUNTERS } from './instruments.js';

/** Time between two collections of tombstones. */
const TOMBSTONES_EVERY_MS = 60_000;
/** Time between two collections of what goes by age in hours and days: remembered requests, old config versions. */
const AGED_EVERY_MS = 3_600_000;

/** Items that are looked at in one turn of the event loop: each may take some 50 us. */
const ITEMS_IN_A_TURN = 50;

/** The dependencies of a GarbageCollector. */
export interface GarbageCollectorParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

/**
 * Deletes tombstones of every kind that are older than TOMBSTONE_KEPT_MS, with the keys that belong to them, and
 * remembered requests older than REQUEST_ID_HOURS. A kind may have a further condition. Keys that belong to a living
 * item are deleted when they are out of date.
 *
 * The same transaction raises the horizon, so that a watch whose token is older than a deleted tombstone begins with a
 * snapshot. Ages are counted by the monotonic clock of this process, from the moment at which it first found that the
 * tombstone may be deleted.
 */
export class GarbageCollector implements Closeable {
  readonly #seenAtMs = new WeakMap<Item, number>();
  /** How many outdated keys of an item this process has deleted. They become more as time passes, unless a clock steps back. */
  readonly #deletedOf = new WeakMap<Item, number>();
  #timers: Timer[] = [];
  #collecting: Promise<void> = Promise.resolve();

  constructor(private readonly parts: GarbageCollectorParts) {}

  start(): void {
    const { clock, telemetry } = this.parts;
    const begin = (job: () => Promise<void>) => (): void => {
      this.#collecting = this.#collecting.then(job).catch((err: unknown) => {
        if (!(err instanceof RollcallError)) telemetry.log.error({ err }, 'garbage collection failed; retrying later');
      });
    };
    this.#timers = [
      clock.every(
        TOMBSTONES_EVERY_MS,
        begin(() => this.#collectTombstones()),
      ),
      clock.every(
        AGED_EVERY_MS,
        begin(() => this.#collectAged()),
      ),
    ];
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    await this.#collecting;
  }

  async #collectTombstones(): Promise<void> {
    const { catalog } = this.parts;
    if (!catalog.ready) return;
    for (const kind of catalog.kinds) if (kind.deletion === 'COLLECTED') await this.#collectKind(kind);
  }

  async #collectKind(kind: Kind): Promise<void> {
    const { catalog, clock } = this.parts;
    const wallMs = clock.wall();
    const old = [...catalog.of(kind).tombstones()].filter(
      (item) => (kind.mayCollect?.(item, catalog, wallMs) ?? true) && this.#isOld(item),
    );
    if (kind.belongings) {
      for (const item of old) {
        const keys = await this.#keysUnder(kind.belongings(item));
        const inOne = TXN_WRITES_MAX - 2; // the item, and the horizon
        await this.#deleteKeys(keys.slice(inOne), [sameAs(item)]);
        await this.#delete([item], keys.slice(0, inOne));
      }
      return;
    }
    const perTxn = TXN_WRITES_MAX - 1; // one write raises the horizon
    for (let i = 0; i < old.length; i += perTxn) await this.#delete(old.slice(i, i + perTxn), []);
  }

  async #keysUnder(prefix: string): Promise<string[]> {
    return (await this.parts.commits.list(prefixRange(prefix))).map(({ key }) => key);
  }

  /** Returns true if this process has known for long enough that the tombstone may be collected. */
  #isOld(item: Item): boolean {
    const now = this.parts.clock.now();
    const seenAt = this.#seenAtMs.get(item) ?? now;
    this.#seenAtMs.set(item, seenAt);
    return now - seenAt >= TOMBSTONE_KEPT_MS;
  }

  async #delete(items: readonly Item[], belongings: readonly string[]): Promise<void> {
    const { catalog, commits, telemetry } = this.parts;
    const writeId = commits.writeId();
    const before = catalog.of(HORIZON).get('', '', '');
    const newest = items.reduce<Revision>((max, { modRevision }) => maxOf(max, modRevision), before?.fact ?? 0n);
    const horizon = HorizonRecord.encode({ writeId, revision: newest }).finish();
    const keys = [...items.map(({ key }) => key), ...belongings];
    const result = await commits.commit({
      writeId,
      // The horizon is compared too: it must not go back, and another replica may have raised it.
      compares: [
        { key: HORIZON_KEY, modRevision: before?.modRevision ?? 0n },
        ...items.map(({ key, modRevision }) => ({ key, modRevision })),
      ],
      writes: [
        { kind: 'put', key: HORIZON_KEY, value: horizon },
        ...keys.map((key): Write => ({ kind: 'delete', key })),
      ],
    });
    if (!result.ok) return;
    telemetry.counters.add(COUNTERS.tombstones_collected, items.length);
    await commits.visible(result.revision); // so that the next transaction compares the horizon that was just written
  }

  async #collectAged(): Promise<void> {
    await this.#collectRequests();
    const { catalog } = this.parts;
    if (!catalog.ready) return;
    for (const kind of catalog.kinds) if (kind.outdated) await this.#collectOutdated(kind);
  }

  /** An item does not tell which of its outdated keys are deleted already, so this process remembers it. */
  async #collectOutdated(kind: Kind): Promise<void> {
    const { catalog, clock } = this.parts;
    let looked = 0;
    for (const item of [...catalog.of(kind).all()]) {
      if (++looked % ITEMS_IN_A_TURN === 0) await delay(clock, 1);
      const outdated = kind.outdated!(item, clock.wall());
      const deleted = this.#deletedOf.get(item) ?? 0;
      if (outdated.length <= deleted) continue;
      if (await this.#deleteKeys(outdated, [sameAs(item)])) this.#deletedOf.set(item, outdated.length);
    }
  }

  /** Deletes unwatched keys as long as the compares hold. Returns false if they do not. */
  async #deleteKeys(keys: readonly string[], compares: readonly Compare[]): Promise<boolean> {
    const { commits } = this.parts;
    for (let i = 0; i < keys.length; i += TXN_WRITES_MAX) {
      const { ok } = await commits.commit({
        writeId: commits.writeId(),
        compares,
        writes: keys.slice(i, i + TXN_WRITES_MAX).map((key) => ({ kind: 'delete', key })),
      });
      if (!ok) return false;
    }
    return true;
  }

  /**
   * Ages go by the wall clock, the only one that outlives the process. After an early deletion, a repeat is a new
   * write.
   */
  async #collectRequests(): Promise<void> {
    const { commits, clock } = this.parts;
    const oldest = clock.wall() - LIMITS.REQUEST_ID_HOURS.value * HOUR_MS;
    const old = (await commits.list(prefixRange(REQUESTS))).filter(({ key, value }) => {
      const { time } = decode(key, value, RequestRecord);
      return time !== undefined && fromTimestamp(time) < oldest;
    });
    const keys = old.map(({ key }) => key);
    await this.#deleteKeys(keys, []);
  }
}

/** Holds while an item is the same: once it is collected, the names of its belongings may be used again. */
function sameAs({ key, modRevision }: Item): Compare {
  return { key, modRevision };
}
