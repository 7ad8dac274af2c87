import type { Item } from '../model/records.js';
import type { Revision } from '../store/store.js';
import type { Collection, Scope } from './collection.js';

/** What a watch looks at: whole scopes of one namespace, and of them the items that it wants. */
export interface Selection<T extends Item> {
  /** Equal selections have equal keys: the hash of RPC, namespace, scopes and filter. */
  readonly key: string;
  readonly namespace: string;
  /** The scopes. Undefined: every scope of the namespace, also those to come. */
  readonly scopes: readonly string[] | undefined;
  /** True: the item belongs to the view as it is now. Not asked for removed items. */
  wants(item: T): boolean;
  /** True: the item can never belong to the view, so that its changes are nobody's business. */
  ignores(item: T): boolean;
}

/** The difference between two revisions of a view. */
export interface Delta<T extends Item> {
  /** 0n: a snapshot. */
  readonly from: Revision;
  readonly to: Revision;
  /** What belongs to the view now, oldest change first. */
  readonly upserted: readonly T[];
  /** What was removed, or belongs to the view no longer (or never did). */
  readonly removed: readonly T[];
  /** The scopes that changed; in a snapshot, those that have anything. */
  readonly scopes: readonly Scope<T>[];
}

/** What changed in a selection after `from`, up to the revision of the catalog. `from` 0n: all there is. */
export function delta<T extends Item>(
  collection: Collection<T>,
  selection: Selection<T>,
  from: Revision,
  to: Revision,
): Delta<T> {
  const upserted: T[] = [];
  const removed: T[] = [];
  const scopes: Scope<T>[] = [];
  for (const scope of changedScopes(collection, selection, from)) {
    const changed = scope.since(from).filter((item) => !selection.ignores(item));
    if (changed.length > 0 || (scope.protection?.revision ?? 0n) > from) scopes.push(scope);
    for (const item of changed) {
      if (item.removedAtMs === undefined && selection.wants(item)) upserted.push(item);
      else if (from > 0n) removed.push(item);
    }
  }
  return { from, to, upserted, removed, scopes };
}

/** True: something in the selection's scopes changed after `from`. */
export function hasChanged<T extends Item>(
  collection: Collection<T>,
  selection: Selection<T>,
  from: Revision,
): boolean {
  return !changedScopes(collection, selection, from).next().done;
}

/** Calls `listener` after a change in the selection's scopes. Returns the way to stop. */
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
