import type { Catalog } from '../../catalog/catalog.js';
import type { ItemChange } from '../../catalog/collection.js';
import { RemovalReason } from '../../gen/rollcall/v1/instance.js';
import type { CounterBoard } from '../../base/observe.js';
import type { InstanceItem } from '../../model/records.js';
import type { LivenessClock } from './liveness-clock.js';

/** Removals are counted over this time. */
const REMOVAL_WINDOW_MS = 60_000;
/** So much of a service may be removed in that time, but one instance always. */
const REMOVAL_PERCENT = 15;

/**
 * Decides whether a silent instance may be removed now, so that a fault of ours cannot empty a service.
 *
 * What others have removed counts too, as soon as the catalog shows it: whoever becomes the judge of a service goes on
 * where the last one was. What is found in a listing counts as removed at that moment.
 */
export class Removals {
  /** Removals of the last REMOVAL_WINDOW_MS, oldest first: the record that was removed, and when. */
  readonly #recent = new Map<string, { readonly service: string; readonly stampMs: number }>();
  /** How many of these each service has. */
  readonly #counts = new Map<string, number>();
  /** Those that were held, so that each is counted once. */
  readonly #held = new WeakSet<InstanceItem>();

  constructor(
    private readonly catalog: Catalog,
    private readonly liveness: LivenessClock,
    private readonly counters: CounterBoard,
    /** How long the instances of a protected service stay silent before they are removed: time for people to look. */
    private readonly protectedRemovalMs: number,
  ) {
    catalog.onInstance((change) => this.#seen(change));
    catalog.onReset((isSameHistory) => {
      if (isSameHistory) return;
      // What was removed stands again, and may not go because it was allowed to once.
      this.#recent.clear();
      this.#counts.clear();
    });
  }

  /** True: an instance that has been SILENT for so long may be removed now. It then counts as removed. */
  allow(item: InstanceItem, silentMs: number): boolean {
    if (this.#mayGo(item, silentMs)) {
      this.#note(idOf(item), item);
      return true;
    }
    if (!this.#held.has(item)) this.counters.add('removals_held');
    this.#held.add(item);
    return false;
  }

  #mayGo(item: InstanceItem, silentMs: number): boolean {
    this.#forgetOld();
    const scope = this.catalog.instances.scope(item.namespace, item.scope)!;
    if (scope.protection?.record.active && silentMs < this.protectedRemovalMs) return false;
    if (this.#recent.has(idOf(item))) return true; // it was allowed before, and the store did not take it
    const gone = this.#counts.get(serviceOf(item)) ?? 0;
    return gone < Math.max(1, Math.floor(((scope.liveCount + gone) * REMOVAL_PERCENT) / 100));
  }

  #seen({ before, after }: ItemChange<InstanceItem>): void {
    if (after?.removalReason !== RemovalReason.REMOVAL_REASON_EXPIRED) return;
    this.#forgetOld();
    this.#note(idOf(before ?? after), after);
  }

  /** Counts from now on: what was allowed once more, or is seen to have happened at last, has not been so for long. */
  #note(id: string, item: InstanceItem): void {
    const service = serviceOf(item);
    const isNew = !this.#recent.delete(id);
    this.#recent.set(id, { service, stampMs: this.liveness.stamp() });
    if (isNew) this.#counts.set(service, (this.#counts.get(service) ?? 0) + 1);
  }

  #forgetOld(): void {
    const until = this.liveness.nowMs - REMOVAL_WINDOW_MS;
    for (const [id, { service, stampMs }] of this.#recent) {
      if (stampMs > until) return;
      this.#recent.delete(id);
      const left = this.#counts.get(service)! - 1;
      if (left > 0) this.#counts.set(service, left);
      else this.#counts.delete(service);
    }
  }
}

/** Names one record of an instance: the same id may be registered, and removed, again. */
const idOf = ({ key, modRevision }: InstanceItem): string => `${key}@${modRevision}`;
const serviceOf = ({ namespace, scope }: InstanceItem): string => `${namespace}/${scope}`;
