import type { Item, Stamp, StoredEntry } from '../model/item.js';
import type { KeyNames } from '../model/keys.js';
import type { Collection } from './collection.js';

/**
 * One kind of watched record. The catalog lists, follows, compares and repairs every kind by its row alone, and garbage
 * collection deletes its tombstones.
 */
export interface Kind<T extends Item = Item> {
  /** For logs. */
  readonly name: string;
  /** The prefix of its keys, with a slash at its end, such as "w/i/". For a kind with one record: the whole key. */
  readonly prefix: string;
  /**
   * The way in which its records are deleted. COLLECTED: only tombstones are, by garbage collection; any other deletion
   * is foreign. LEASED: the store deletes a record when its lease ends.
   */
  readonly deletion: 'COLLECTED' | 'LEASED';
  /** The names in a key with the prefix. `undefined` if the key does not have the form of the kind. */
  names(key: string): KeyNames | undefined;
  /** Reads a record. Throws BadRecord. */
  read(entry: StoredEntry): T;
  /** The bytes that write an item back without a visible change, after a foreign delete. */
  rewrite(item: T, stamp: Stamp): Uint8Array;
  /**
   * Returns true if a tombstone may be deleted now, apart from its age (TOMBSTONE_KEPT_MS), which garbage collection
   * checks. Default: yes.
   */
  mayCollect?(item: T, catalog: Tables, wallMs: number): boolean;
  /** The prefix of unwatched keys that are deleted together with the tombstone. Default: there are none. */
  belongings?(item: T): string;
  /** The way in which its items decide whether and when items of another kind are shown. */
  readonly join?: Join<T>;
}

/** The items of the catalog, by kind. */
export interface Tables {
  of<T extends Item>(kind: Kind<T>): Collection<T>;
}

/**
 * How the items of one kind (the sources) bear on the items of another (the targets), as protection bears on instances.
 *
 * A source that begins or ends to bear on a target is a visible change of that target. A live change and a listing must
 * give the same revisions, so `apply` may only depend on the two items.
 */
export interface Join<Source extends Item = Item, Target extends Item = Item> {
  readonly target: Kind<Target>;
  /**
   * SCOPE: there is one source for a scope, and its visible change is a change of the scope as a whole, even if no target
   * moves. ITEM: a source bears on single items, such as an override of one instance.
   */
  readonly level: 'SCOPE' | 'ITEM';
  /** The names of the source that bears on a target. */
  sourceOf(target: Target): Pick<Item, 'namespace' | 'scope' | 'name'>;
  /** The targets on which a changed source bears. */
  targetsOf(source: Source, targets: Collection<Target>): Iterable<Target>;
  /** The target under its source. Its revision is the newer one of both. `undefined`: there is no source. */
  apply(target: Target, source: Source | undefined): Target;
}
