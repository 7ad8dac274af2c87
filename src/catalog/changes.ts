import type { Item } from '../model/item.js';
import type { Revision } from '../store/store.js';
import type { ItemChange } from './collection.js';
import type { Kind } from './kind.js';

/**
 * Why the catalog changed.
 *
 * - WATCHED: the store's watch delivered one revision.
 * - FIRST_LISTING: the catalog was empty and holds a whole listing now.
 * - LISTING: everything was listed again. Several changes of one key appear as one change.
 * - RESET: the catalog is empty again. The next listing belongs to the same history or to another one.
 */
export type Cause = 'WATCHED' | 'FIRST_LISTING' | 'LISTING' | 'RESET';

/** One change of the catalog. It is delivered in the same turn of the event loop, after the catalog holds all of it. */
export interface CatalogChange {
  readonly cause: Cause;
  /** The revision that the catalog is at. 0n after a reset. */
  readonly revision: Revision;
  /** False after a RESET because the store has another history, so that older revisions mean nothing. Else true. */
  readonly isSameHistory: boolean;
  /** The written or deleted records of a kind, visible or not, oldest change first. */
  of<T extends Item>(kind: Kind<T>): readonly ItemChange<T>[];
  /** The items of a kind that were not written, and changed visibly because a record of another kind affects them. */
  moved<T extends Item>(kind: Kind<T>): readonly ItemChange<T>[];
}

/** Collects one change. */
export class ChangeSet implements CatalogChange {
  readonly #byKind = new Map<string, ItemChange<Item>[]>();
  readonly #moved = new Map<string, ItemChange<Item>[]>();

  constructor(
    readonly cause: Cause,
    readonly revision: Revision,
    readonly isSameHistory = true,
  ) {}

  /** `written`: the item was written or deleted; otherwise it moved. */
  add(kind: Kind, change: ItemChange<Item>, written = true): void {
    const changes = written ? this.#byKind : this.#moved;
    const known = changes.get(kind.name);
    if (known) known.push(change);
    else changes.set(kind.name, [change]);
  }

  of<T extends Item>(kind: Kind<T>): readonly ItemChange<T>[] {
    return (this.#byKind.get(kind.name) ?? NONE) as readonly ItemChange<T>[];
  }

  moved<T extends Item>(kind: Kind<T>): readonly ItemChange<T>[] {
    return (this.#moved.get(kind.name) ?? NONE) as readonly ItemChange<T>[];
  }
}

const NONE: readonly ItemChange<Item>[] = [];

/** Receives every change of the catalog. It must not throw. */
export type CatalogListener = (change: CatalogChange) => void;

/**
 * The subscribers of the catalog, in the order in which they receive a change. The index of addresses comes first,
 * because the others ask it; then the judge, so that every other part sees deadlines that are up to date. The hub comes
 * last, so that it sends only changes that the others have taken in.
 */
export const DELIVERY_ORDER = ['addresses', 'judge', 'protection', 'membership', 'takeovers', 'other', 'hub'] as const;

/** The name of a subscriber. */
export type SubscriberName = (typeof DELIVERY_ORDER)[number];

/** Delivers changes in DELIVERY_ORDER, whatever the order of subscription. */
export class Subscribers {
  #all: readonly { readonly name: SubscriberName; readonly listener: CatalogListener }[] = [];

  /** Calls `listener` for every later change, until `signal` is aborted. Earlier changes are not replayed. */
  subscribe(name: SubscriberName, listener: CatalogListener, signal: AbortSignal): void {
    if (signal.aborted) return;
    const one = { name, listener };
    const rank = (of: SubscriberName): number => DELIVERY_ORDER.indexOf(of);
    this.#all = [...this.#all, one].sort((a, b) => rank(a.name) - rank(b.name));
    signal.addEventListener('abort', () => (this.#all = this.#all.filter((other) => other !== one)), { once: true });
  }

  deliver(change: CatalogChange): void {
    for (const { listener } of this.#all) listener(change);
  }
}
