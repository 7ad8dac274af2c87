import type { Collection, Scope } from '../../src/catalog/collection.js';
import { delta, type Selection } from '../../src/catalog/selection.js';
import type { Item } from '../../src/model/item.js';

/** The changes behind a cursor, in the order in which they are sent. */
export function behind<T extends Item>(
  collection: Collection<T>,
  selection: Selection<T>,
  cursor: bigint,
  revision: bigint,
): { upserted: T[]; removed: T[]; scopes: readonly Scope<T>[] } {
  const { items, removed, scopes } = delta(collection, selection, { from: cursor, after: cursor, to: revision });
  return {
    upserted: items.filter((item) => !removed.has(item)),
    removed: items.filter((item) => removed.has(item)),
    scopes,
  };
}
