import type { CounterBoard } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { CatalogChange } from '../../catalog/changes.js';
import type { ItemChange } from '../../catalog/collection.js';
import { INSTANCE, recordedProtection } from '../../catalog/kinds.js';
import { RemovalReason } from '../../gen/rollcall/v1/instance.js';
import type { InstanceItem } from '../../model/instance.js';
import type { LivenessClock } from './liveness-clock.js';
import { COUNTERS } from './instruments.js';

/** Removals are counted over this time. */
const REMOVAL_WINDOW_MS = 60_000;
/** The share of a service that may be removed in that time. One instance always may. */
const REMOVAL_PERCENT = 15;

/** The dependencies of Removals. */
export interface RemovalsParts {
  readonly catalog: Catalog;
  readonly liveness: LivenessClock;
  readonly counters: CounterBoard;
  /** How long the instances of a protected service stay SILENT before they are removed: time to find the cause. */
  readonly protectedRemovalMs: number;
}

/**
 * Decides whether a silent instance may be removed now, so that a fault of this product cannot empty a service.
 *
 * Removals by other members count as soon as the catalog shows them, so the next judge of a service continues where the
 * last one was. A removal that is found in a listing counts from then on.
 */
export class Removals {
  /** Removals of the last REMOVAL_WINDOW_MS, oldest first: the record that was removed, and when. */
  readonly #recent = new Map<string, { readonly service: string; readonly stampMs: number }>();
  /** The number of these removals of each service. */
  readonly #counts = new Map<string, number>();
  /** The removals that were held, so that each is counted once. */
  readonly #held = new WeakSet<InstanceItem>();

  constructor(private readonly parts: RemovalsParts) {}

  /** Follows the catalog until `signal` is aborted. */
  start(signal: AbortSignal): void {
    this.parts.catalog.subscribe('removals', (change) => this.#take(change), signal);
  }

  /** Returns true if an instance that has been SILENT for this long may be removed now. It then counts as removed. */
  allow(item: InstanceItem, silentMs: number): boolean {
    if (this.#mayGo(item, silentMs)) {
      this.#note(idOf(item), item);
      return true;
    }
    if (!this.#held.has(item)) this.parts.counters.add(COUNTERS.removals_held);
    this.#held.add(item);
    return false;
  }

  #mayGo(item: InstanceItem, silentMs: number): boolean {
    const { catalog, protectedRemovalMs } = this.parts;
    this.#dropOld();
    const scope = catalog.instances.scope(item.namespace, item.scope)!;
    if (recordedProtection(scope)?.record.active && silentMs < protectedRemovalMs) return false;
    if (this.#recent.has(idOf(item))) return true; // it was allowed before, and its commit failed
    const gone = this.#counts.get(serviceOf(item)) ?? 0;
    return gone < Math.max(1, Math.floor(((scope.liveCount + gone) * REMOVAL_PERCENT) / 100));
  }

  #take(change: CatalogChange): void {
    const { cause, isSameHistory } = change;
    if (cause === 'RESET') {
      if (isSameHistory) return;
      // In another history, removed instances may be registered again. An earlier permission must not remove them.
      this.#recent.clear();
      this.#counts.clear();
      return;
    }
    for (const one of change.of(INSTANCE)) this.#takeRemoval(one);
  }

  #takeRemoval({ before, after }: ItemChange<InstanceItem>): void {
    if (after?.removalReason !== RemovalReason.REMOVAL_REASON_EXPIRED) return;
    this.#dropOld();
    this.#note(idOf(before ?? after), after);
  }

  /** Counts a removal as of now. A removal that is allowed again, or that the catalog shows now, counts only once. */
  #note(id: string, item: InstanceItem): void {
    const service = serviceOf(item);
    const isNew = !this.#recent.delete(id);
    this.#recent.set(id, { service, stampMs: this.parts.liveness.stamp() });
    if (isNew) this.#counts.set(service, (this.#counts.get(service) ?? 0) + 1);
  }

  #dropOld(): void {
    const until = this.parts.liveness.nowMs - REMOVAL_WINDOW_MS;
    for (const [id, { service, stampMs }] of this.#recent) {
      if (stampMs > until) return;
      this.#recent.delete(id);
      const left = this.#counts.get(service)! - 1;
      if (left > 0) this.#counts.set(service, left);
      else this.#counts.delete(service);
    }
  }
}

/** Names one record of an instance: the same id may be registered and removed again. */
const idOf = ({ key, modRevision }: InstanceItem): string => `${key}@${modRevision}`;
const serviceOf = ({ namespace, scope }: InstanceItem): string => `${namespace}/${scope}`;
