import type { Item } from '../model/item.js';
import type { Revision } from '../store/store.js';
import type { Collection, Scope } from './collection.js';

/** The selection of a watch: scopes of one namespace, and a condition on the items in them. */
export interface Selection<T extends Item> {
  /** Equal selections have equal keys: the hash of RPC, namespace, scopes and filter. */
  readonly key: string;
  readonly namespace: string;
  /** The scopes. `undefined`: every scope of the namespace, later ones included. */
  readonly scopes: readonly string[] | undefined;
  /** Returns true if an item of these names may belong to the view, by its names. */
  covers(scope: string, name: string): boolean;
  /** Returns true if the item belongs to the view now. Not called for removed items. */
  wants(item: T): boolean;
  /** Returns true if the item can never belong to the view, so that its changes are left out. */
  ignores(item: T): boolean;
}

/** The part of a view that is to be sent. */
export interface Span {
  /** The revision of the view that the reader has. 0n: it has none, and gets a snapshot. */
  readonly from: Revision;
  /** The revision up to which the reader has staged the changes already; `from` if it has staged nothing. */
  readonly after: Revision;
  /** The revision that the view is to reach. */
  readonly to: Revision;
}

/** The difference between two revisions of a view. */
export interface Delta<T extends Item> extends Span {
  /** The items that changed after `after`, in the order of their last change over all scopes. */
  readonly items: readonly T[];
  /** The items among them that were removed, or that do not belong to the view (and perhaps never did). */
  readonly removed: ReadonlySet<T>;
  /** The scopes that changed after `from`; in a snapshot, those that hold anything. */
  readonly scopes: readonly Scope<T>[];
}

/** The changes of a selection that a span asks for. `to` must be the revision of the catalog. */
export function delta<T extends Item>(collection: Collection<T>, selection: Selection<T>, span: Span): Delta<T> {
  const { from, after } = span;
  const items: T[] = [];
  const removed = new Set<T>();
  const scopes: Scope<T>[] = [];
  for (const scope of changedScopes(collection, selection, from)) {
    const changed = scope.since(from).filter((item) => !selection.ignores(item));
    if (changed.length > 0 || scope.isMarkedSince(from)) scopes.push(scope);
    for (const item of changed) {
      if (item.revision <= after) continue;
      if (item.removedAtMs === undefined && selection.wants(item)) items.push(item);
      else if (after > 0n) {
        removed.add(item);
        items.push(item);
      }
    }
  }
  // Each scope is in order already. Revisions are safe integers, and numbers are compared faster.
  if (scopes.length > 1) items.sort((a, b) => Number(a.revision - b.revision));
  return { ...span, items, removed, scopes };
}

/** Returns true if something in the selection's scopes changed after `from`. */
export function hasChanged<T extends Item>(
  collection: Collection<T>,
  selection: Selection<T>,
  from: Revision,
): boolean {
  return !changedScopes(collection, selection, from).next().done;
}

/** Calls `listener` after a change in the selection's scopes. Returns a function that stops it. */
export function listen<T extends Item>(
  collection: Collection<T>,
  { namespace, scopes }: Selection<T>,
  listener: () => void,
): () => void {
  if (!scopes) return collection.listenToNamespace(namespace, listener);
  const stops = scopes.map((scope) => collection.listenToScope(namespace, scope, listener));
  return () => {
    for (const stop of stops) stop();
  };
}

function* changedScopes<T extends Item>(
  collection: Collection<T>,
  { namespace, scopes }: Selection<T>,
  from: Revision,
): Generator<Scope<T>> {
  if (!scopes) {
    yield* collection.namespace(namespace)?.since(from) ?? [];
    return;
  }
  for (const name of scopes) {
    const scope = collection.scope(namespace, name);
    if (scope && scope.revision > from) yield scope;
  }
}
