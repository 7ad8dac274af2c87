import type { Closeable } from '../base/lifecycle.js';
import { WATCHED_ROOT } from '../model/keys.js';

/**
 * The store port: what the product needs of a store, designed from what etcd can do.
 *
 * Guarantees; each names its case in test/contract/store.contract.ts:
 *
 * - S1  The store has one revision, a number that grows with every commit that writes and never goes back.
 * - S2  A commit happens whole, at one revision, if every compare holds at that moment; otherwise nothing
 *       of it happens and the answer tells what stands at each compared key.
 * - S3  Commits are strictly serializable, however many share a group: of two whose compares and writes
 *       exclude one another, exactly one happens.
 * - S4  Commits that write the same key happen in the order in which they were handed in.
 * - S5  A commit that was answered is durable: it survives the death of the process (and, unless the store
 *       says otherwise, of the machine).
 * - S6  A commit that failed with StoreUnavailable or OutcomeLost may have happened; with StoreRefused it has not.
 * - S7  `list` shows one revision, however many pages it takes, and pages are in key order.
 * - S8  `get` is linearizable: it sees every commit that was answered before it was called.
 * - S9  `watch` delivers every revision after the one it was given that touches the watched range, whole, in
 *       order, once; a revision that touches nothing of the range may be left out.
 * - S10 A watch that cannot continue ends with Compacted, and never leaves a gap.
 * - S11 `commitEach` commits each transaction whose own compares hold, provided that the guard holds; up to
 *       COMMIT_EACH_TXNS of them share a revision, which no other commit shares.
 * - S12 A member key lives as long as its member is kept alive; `lost` tells its holder, a deletion in the
 *       watch tells the others. Its epoch is the revision at which it was created.
 * - S13 Keys and values come back byte for byte; key order is byte order.
 * - S14 A store whose history was replaced by an older or another one is never followed silently: `watch`, or a
 *       `list` that was being read, ends with RolledBack, also where the new history is further on than the old one.
 */
export interface Store extends Closeable {
  /** "embedded" or "etcd"; for people. */
  readonly kind: string;
  /** True: only this process can use the store, so nobody else was alive before it started. */
  readonly exclusive: boolean;

  /** Reads a range at one revision, in pages of up to LIST_PAGE_ENTRIES. Where only keys are wanted a value may be empty. */
  list(range: KeyRange, what?: 'entries' | 'keys'): Promise<Listing>;

  /** Reads one key, linearizably. */
  get(key: string): Promise<{ entry: Entry | undefined; revision: Revision }>;

  /** Commits one transaction; commits in flight may share one round trip or one flush. */
  commit(txn: Txn): Promise<CommitResult>;

  /**
   * Commits many transactions at once under one guard, apart from every other commit. When the guard does
   * not hold nothing happens and every result is a refusal. No key may be written twice.
   */
  commitEach(guard: readonly Compare[], txns: readonly Txn[]): Promise<CommitResult[]>;

  /** Watches WATCHED_RANGE from the revision after `after`, which was listed or watched before, until `signal` is aborted. */
  watch(after: Revision, signal: AbortSignal): AsyncIterable<RevisionBatch>;

  /**
   * Joins the members: creates `key`, which must not exist, on a lease that is kept alive from here on. `also` is
   * written in the same transaction, which is shared with no other commit.
   */
  join(key: string, value: Uint8Array, also?: readonly Write[]): Promise<Member>;

  /** How the store is doing, as far as this process knows. */
  health(): StoreHealth;
}

/** A position in the history of the store. 0n: before everything. */
export type Revision = bigint;

/** Keys from `start` up to, but not including, `end`, in byte order. */
export interface KeyRange {
  readonly start: string;
  readonly end: string;
}

/** The range that is watched and held in memory: instances, configs, members and the small records beside them. */
export const WATCHED_RANGE: KeyRange = prefixRange(WATCHED_ROOT);

/** The most entries a page of a list holds: large enough to be fast, small enough for one message. */
export const LIST_PAGE_ENTRIES = 5_000;

/** A key and what stands there. */
export interface Entry {
  readonly key: string;
  readonly value: Uint8Array;
  /** The revision of the last write. */
  readonly modRevision: Revision;
  /** The revision of the write that created the key. */
  readonly createRevision: Revision;
}

/** A range at one revision. */
export interface Listing {
  readonly revision: Revision;
  /** The entries in key order. Must be read to the end or closed (`return`). */
  readonly pages: AsyncIterable<readonly Entry[]>;
}

/** A condition on one key. `modRevision` 0n or `createRevision` 0n: the key does not exist. */
export type Compare =
  | { readonly key: string; readonly modRevision: Revision }
  | { readonly key: string; readonly createRevision: Revision };

/** A change of one key. */
export type Write =
  | { readonly kind: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly kind: 'delete'; readonly key: string };

/** Compares, and the writes that happen if all of them hold. At most TXN_WRITES_MAX writes, no key twice. */
export interface Txn {
  /** Random, and part of every value put: tells whether a commit of unknown outcome happened. */
  readonly writeId: string;
  readonly compares: readonly Compare[];
  readonly writes: readonly Write[];
}

/** The most writes in one transaction: etcd takes 128 operations, compares' reads included. */
export const TXN_WRITES_MAX = 110;

/** How many transactions of one commitEach share a revision at least. */
export const COMMIT_EACH_TXNS = 100;

/** What became of a transaction. */
export type CommitResult =
  | { readonly ok: true; readonly revision: Revision }
  | {
      readonly ok: false;
      /** The revision at which the compares were looked at. */
      readonly revision: Revision;
      /** What stands at each compared key, in the order of the compares. */
      readonly found: readonly (Entry | undefined)[];
    };

/** A change as a watch delivers it. */
export type Change =
  { readonly kind: 'put'; readonly entry: Entry } | { readonly kind: 'delete'; readonly key: string };

/** All changes of one revision. */
export interface RevisionBatch {
  readonly revision: Revision;
  readonly changes: readonly Change[];
}

/** How long a member key outlives the last sign of life of its member: short enough to notice a dead replica, long enough for a slow store. */
export const LEASE_MS = 10_000;

/** A key on a lease. */
export interface Member {
  readonly key: string;
  /** The revision at which the key was created. */
  readonly epoch: Revision;
  /** Aborted when the key is known to be gone. */
  readonly lost: AbortSignal;
  /** Rewrites the key, keeping its lease; compares the epoch. False: the key is not ours any more. */
  rewrite(value: Uint8Array): Promise<boolean>;
  /** Deletes the key. */
  leave(): Promise<void>;
}

/** How the store is doing. */
export interface StoreHealth {
  /** Monotonic time since when the store has been out of reach. Undefined: it is in reach. */
  readonly outOfReachSinceMs: number | undefined;
  /** False: reads work and writes are refused, such as on a full disk. */
  readonly writable: boolean;
}

/** The history behind a watch has been dropped: list again. */
export class Compacted extends Error {
  override readonly name = 'Compacted';
}

/** The store has another history than before (it was restored or replaced): forget everything and list again. */
export class RolledBack extends Error {
  override readonly name = 'RolledBack';
}

/**
 * The reply to a commit was lost, and others have written its keys since: whether it happened cannot be known, and
 * must not be tried again without a look at what stands there.
 */
export class OutcomeLost extends Error {
  override readonly name = 'OutcomeLost';
}

/** The store did not answer. A commit may have happened or not. */
export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable';
}

/** The store refused. Nothing has happened. */
export class StoreRefused extends Error {
  override readonly name = 'StoreRefused';
  constructor(
    readonly reason: 'FULL' | 'TOO_LARGE',
    message: string,
  ) {
    super(message);
  }
}

/** The range of all keys that begin with `prefix`, which must end with an ASCII character. */
export function prefixRange(prefix: string): KeyRange {
  const last = prefix.charCodeAt(prefix.length - 1);
  return { start: prefix, end: prefix.slice(0, -1) + String.fromCharCode(last + 1) };
}

/** True: `key` lies in `range`. Keys are ASCII, so that JavaScript's order is byte order. */
export function inRange(range: KeyRange, key: string): boolean {
  return key >= range.start && key < range.end;
}
