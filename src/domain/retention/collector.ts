import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/observe.js';
import { HorizonRecord, RequestRecord } from '../../gen/rollcall/storage/v1/records.js';
import { RollcallError } from '../../model/errors.js';
import { HORIZON_KEY, REQUESTS, versionsPrefix } from '../../model/keys.js';
import { LIMITS, TOMBSTONE_KEPT_MS } from '../../model/limits.js';
import { decode, type Item, type ServiceProtection } from '../../model/records.js';
import { fromTimestamp } from '../../model/time.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { StoreGate } from '../../catalog/store-gate.js';
import { prefixRange, type Revision, TXN_WRITES_MAX, type Write } from '../../store/store.js';

/** How often old removals are looked for. */
const COLLECT_EVERY_MS = 60_000;
/** How often old requests are looked for. */
const REQUESTS_EVERY_MS = 3_600_000;
const DAY_MS = 86_400_000;

/**
 * Forgets instances whose removal is older than TOMBSTONE_KEPT_MS, what was recorded of the protection of services that
 * are gone, configs that were deleted more than
 * CONFIG_VERSION_DAYS ago with their versions, and requests older than REQUEST_ID_HOURS.
 *
 * The horizon is raised in the same transaction, so that a watch whose token is older than a forgotten removal
 * begins anew. Ages are counted by this process's own monotonic clock, from when it first saw the removal.
 */
export class Collector implements Closeable {
  readonly #seenAtMs = new WeakMap<Item | ServiceProtection, number>();
  #timers: Timer[] = [];
  #collecting: Promise<void> = Promise.resolve();

  constructor(
    private readonly catalog: Catalog,
    private readonly store: StoreGate,
    private readonly clock: Clock,
    private readonly telemetry: Telemetry,
  ) {}

  start(): void {
    const begin = (job: () => Promise<void>) => (): void => {
      this.#collecting = this.#collecting.then(job).catch((err: unknown) => {
        if (!(err instanceof RollcallError)) this.telemetry.log.error({ err }, 'old records were not collected');
      });
    };
    this.#timers = [
      this.clock.every(
        COLLECT_EVERY_MS,
        begin(() => this.#collectTombstones()),
      ),
      this.clock.every(
        REQUESTS_EVERY_MS,
        begin(() => this.#collectRequests()),
      ),
    ];
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    await this.#collecting;
  }

  async #collectTombstones(): Promise<void> {
    if (!this.catalog.ready) return;
    const instances = [...this.catalog.instances.tombstones()].filter((item) => this.#isOld(item));
    const perTxn = TXN_WRITES_MAX - 1;
    for (let i = 0; i < instances.length; i += perTxn) {
      const items = instances.slice(i, i + perTxn);
      await this.#forget(
        items,
        items.map(({ key }) => key),
      );
    }
    const protections = [...this.catalog.protections].filter(
      (protection) => this.#isOver(protection) && this.#isOld(protection),
    );
    for (let i = 0; i < protections.length; i += perTxn) {
      const ofServices = protections.slice(i, i + perTxn);
      await this.#forget(
        ofServices,
        ofServices.map(({ key }) => key),
      );
    }
    // Only the wall clock counts days; should it be wrong, a config that is published again begins at version 1.
    const deletedBefore = this.clock.wall() - LIMITS.CONFIG_VERSION_DAYS.value * DAY_MS;
    for (const item of this.catalog.configs.tombstones()) {
      if (this.#isOld(item) && item.removedAtMs! < deletedBefore) await this.#forgetConfig(item);
    }
  }

  /** True: this process has seen the removal, or the end of the protection, for long enough. */
  #isOld(item: Item | ServiceProtection): boolean {
    const now = this.clock.now();
    const seenAt = this.#seenAtMs.get(item) ?? now;
    this.#seenAtMs.set(item, seenAt);
    return now - seenAt >= TOMBSTONE_KEPT_MS;
  }

  /** True: neither an instance nor a removal is left that the protection could concern. */
  #isOver({ namespace, service, record }: ServiceProtection): boolean {
    return !record.active && this.catalog.instances.scope(namespace, service)!.items.size === 0;
  }

  async #forgetConfig(item: Item): Promise<void> {
    const versions = await this.store.list(prefixRange(versionsPrefix(item.namespace, item.scope, item.name)));
    await this.#forget([item], [item.key, ...versions.map(({ key }) => key)]);
  }

  async #forget(items: readonly (Item | ServiceProtection)[], keys: readonly string[]): Promise<void> {
    const writeId = this.store.writeId();
    const newest = items.reduce<Revision>(
      (max, { modRevision }) => (modRevision > max ? modRevision : max),
      this.catalog.horizon,
    );
    const horizon = HorizonRecord.encode({ writeId, revision: newest }).finish();
    const result = await this.store.commit({
      writeId,
      compares: items.map(({ key, modRevision }) => ({ key, modRevision })),
      writes: [
        { kind: 'put', key: HORIZON_KEY, value: horizon },
        ...keys.map((key): Write => ({ kind: 'delete', key })),
      ],
    });
    if (result.ok) this.telemetry.counters.add('tombstones_collected', items.length);
  }

  /** By the wall clock, as it is the only one that outlives the process; a request forgotten early is only repeated. */
  async #collectRequests(): Promise<void> {
    const oldest = this.clock.wall() - LIMITS.REQUEST_ID_HOURS.value * 3_600_000;
    const old = (await this.store.list(prefixRange(REQUESTS))).filter(({ key, value }) => {
      const { time } = decode(key, value, RequestRecord);
      return time !== undefined && fromTimestamp(time) < oldest;
    });
    for (let i = 0; i < old.length; i += TXN_WRITES_MAX) {
      const writes = old.slice(i, i + TXN_WRITES_MAX).map(({ key }): Write => ({ kind: 'delete', key }));
      await this.store.commit({ writeId: this.store.writeId(), compares: [], writes });
    }
  }
}
