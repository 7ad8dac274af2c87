import tree from 'sorted-btree';
import type { InstanceItem } from '../model/instance.js';
import type { Catalog } from './catalog.js';
import type { CatalogChange } from './changes.js';
import { INSTANCE } from './kinds.js';

/** A place in the order: the names of an instance, or the beginning of them. */
export type Place = readonly [namespace: string, service?: string, id?: string];

/** Comes behind every id. */
const BEHIND = '\u{10ffff}';

/** Names are parted by a character that none of them has, and that comes before all others. */
const keyOf = (place: Place): string => place.join('\0');

/** The registered instances of all namespaces in the order of their names, so that a page of them costs by its size. */
export class InstanceOrder {
  readonly #items = new tree.default<string, InstanceItem>();

  /** Follows the catalog until `signal` is aborted. Must be called before the first listing. */
  start(catalog: Catalog, signal: AbortSignal): void {
    catalog.subscribe('other', (change) => this.#take(change), signal);
  }

  /** The instances behind a place, in order, of the services that `sees` names. The tree must not change while they are read. */
  *after(place: Place, sees: (namespace: string, service: string) => boolean): Generator<InstanceItem> {
    for (let from: string | undefined = keyOf(place); from !== undefined;) {
      const entries = this.#items.entries(from);
      from = undefined;
      let last: InstanceItem | undefined;
      for (const [, item] of entries) {
        const isSameService = last?.scope === item.scope && last.namespace === item.namespace;
        if (!isSameService && !sees(item.namespace, item.scope)) {
          from = keyOf([item.namespace, item.scope, BEHIND]);
          break;
        }
        yield (last = item);
      }
    }
  }

  #take(change: CatalogChange): void {
    for (const { before, after } of [...change.of(INSTANCE), ...change.moved(INSTANCE)]) {
      const { namespace, scope, name } = (after ?? before)!;
      const key = keyOf([namespace, scope, name]);
      if (after && after.removedAtMs === undefined) this.#items.set(key, after);
      else this.#items.delete(key);
    }
  }
}
