import type { Item, Stamp, StoredEntry } from '../model/item.js';
import type { KeyNames } from '../model/keys.js';
import type { Collection } from './collection.js';

/**
 * One kind of watched record. This row is all that the catalog needs to list, follow, compare and repair records of the
 * kind, and that garbage collection needs to delete their tombstones.
 */
export interface Kind<T extends Item = Item> {
  /** Names the kind. It is unique. */
  readonly name: string;
  /**
   * The prefix of the keys of the kind, such as "w/i/", with a slash at its end. The whole key if there is only one.
   */
  readonly prefix: string;
  /**
   * How records of the kind are deleted. COLLECTED: garbage collection deletes tombstones, and any other deletion is
   * foreign. LEASED: the store deletes a record when its lease ends.
   */
  readonly deletion: 'COLLECTED' | 'LEASED';
  /** The names in a key with the prefix. `undefined` if the key does not have the form of the kind. */
  names(key: string): KeyNames | undefined;
  /** Reads a record. Throws BadRecord. */
  read(entry: StoredEntry): T;
  /** The bytes that write an item back without a visible change, after a foreign delete. */
  rewrite(item: T, stamp: Stamp): Uint8Array;
  /**
   * Returns true if a tombstone may be deleted once it is old enough. Garbage collection itself checks the age
   * (TOMBSTONE_KEPT_MS). Default: every tombstone may be deleted.
   */
  mayCollect?(item: T, catalog: Tables, wallMs: number): boolean;
  /** The prefix of unwatched keys that are deleted together with the tombstone. Default: there are none. */
  belongings?(item: T): string;
  /** The unwatched keys of an item that are out of date, and may be deleted before it. Default: there are none. */
  outdated?(item: T, wallMs: number): readonly string[];
  /** How items of this kind affect items of another kind. `undefined` if they affect none. */
  readonly join?: Join<T>;
}

/** The items of the catalog, by kind. */
export interface Tables {
  of<T extends Item>(kind: Kind<T>): Collection<T>;
}

/**
 * How the items of one kind (the sources) affect the items of another (the targets), as protection affects instances.
 *
 * If the effect of a source on a target begins or ends, that is a visible change of the target. A watched change and a
 * listing must give the same revisions, so `apply` may depend only on the two items.
 */
export interface Join<Source extends Item = Item, Target extends Item = Item> {
  readonly target: Kind<Target>;
  /**
   * SCOPE: a scope has at most one source. A visible change of the source changes the scope as a whole, even if no
   * target moves. ITEM: a source affects single items, such as an override of one instance.
   */
  readonly level: 'SCOPE' | 'ITEM';
  /** The names of the source that affects a target. */
  sourceOf(target: Target): Pick<Item, 'namespace' | 'scope' | 'name'>;
  /** The targets that a changed source affects. */
  targetsOf(source: Source, targets: Collection<Target>): Iterable<Target>;
  /** The target with the effect of its source, if there is one. Its revision is the newer one of the two. */
  apply(target: Target, source: Source | undefined): Target;
}
