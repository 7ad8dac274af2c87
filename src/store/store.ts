import { assert } from '../base/assert.js';
import type { Closeable } from '../base/lifecycle.js';
import { WATCHED_ROOT } from '../model/keys.js';

/**
 * The store port: the operations that the product needs from a store, limited to what etcd can do.
 *
 * A store keeps these guarantees. Each one has its cases in test/contract/store.contract.ts:
 *
 * - S1  The store has one revision: a number that grows with every commit that writes, and never goes back.
 * - S2  A commit happens whole, at one revision, if every compare holds at that moment. Otherwise nothing of it
 *       happens, and the result holds the current entry of each compared key.
 * - S3  Commits are strictly serializable, no matter how many share a group. Of two commits whose compares and
 *       writes exclude one another, exactly one happens.
 * - S4  Commits that write the same key happen in the order in which they were submitted.
 * - S5  An acknowledged commit is durable: it survives the death of the process and, unless the store documents
 *       otherwise, of the machine.
 * - S6  A commit that fails with StoreUnavailable or OutcomeLost may have happened. A commit that fails with
 *       StoreRefused has not happened.
 * - S7  `list` shows one revision, however many pages it takes. Pages are in key order.
 * - S8  `get` is linearizable: it sees every commit that was acknowledged before the call.
 * - S9  `watch` delivers every later revision that changes the watched range: whole, in order, once. It may leave
 *       out a revision that changes nothing in the range.
 * - S10 A watch that cannot continue ends with Compacted. It never leaves a gap.
 * - S11 `commitEach` commits each transaction whose own compares hold, provided that the guard holds. Up to
 *       COMMIT_EACH_TXNS of them share a revision, and no other commit shares it.
 * - S12 A member key exists as long as its member is kept alive. `lost` notifies the holder when the key is gone;
 *       a deletion in the watch notifies the others. The epoch of a member is the revision that created its key.
 * - S13 Keys and values come back byte for byte. Keys are stored as UTF-8, and key order is the order of these bytes.
 * - S14 A store whose history was replaced by an older or a different one is never followed silently. `watch`, or a
 *       `list` that is being read, ends with RolledBack, even if the new history has already grown past the old one.
 * - S15 `past` delivers what the store held at one earlier revision, then every later revision up to the given one that
 *       changes the range: whole, in order, once.
 * - S16 `copy` holds everything that was acknowledged before it was asked for, every commit up to its revision, and nothing of a
 *       later one.
 */
export interface Store extends Closeable {
  /** "embedded" or "etcd", for display. */
  readonly kind: string;
  /** True if only this process can use the store. No other replica was alive before it started. */
  readonly exclusive: boolean;

  /** Reads a range at one revision, in pages of up to LIST_PAGE_ENTRIES. With 'keys', values may come back empty. */
  list(range: KeyRange, content?: 'entries' | 'keys'): Promise<Listing>;

  /** Reads one key, linearizably. */
  get(key: string): Promise<{ entry: Entry | undefined; revision: Revision }>;

  /** Commits one transaction. Concurrent commits may share one round trip or one flush. */
  commit(txn: Txn): Promise<CommitResult>;

  /**
   * Commits many transactions at once under one guard, apart from every other commit. If the guard does not hold,
   * nothing happens and every result is a refusal. No key may be written twice.
   */
  commitEach(guard: readonly Compare[], txns: readonly Txn[]): Promise<CommitResult[]>;

  /** Watches WATCHED_RANGE after the revision `after`, which was listed or watched before, until `signal` aborts. */
  watch(after: Revision, signal: AbortSignal): AsyncIterable<RevisionBatch>;

  /**
   * Reads what the store still knows of a range about the time before `until`, as far back as its history goes. It ends
   * with an error if the history is compacted or replaced meanwhile. `undefined` if the store keeps no history that
   * outlives the process.
   */
  past(range: KeyRange, until: Revision, signal: AbortSignal): Promise<Past | undefined>;

  /**
   * Joins the members: creates `key`, which must not exist, on a lease that is kept alive from then on. `also` is
   * written in the same transaction. No other commit shares this transaction.
   */
  join(key: string, value: Uint8Array, also?: readonly Write[]): Promise<Member>;

  /**
   * Copies everything at one revision, while commits go on. The caller closes the copy before it asks for the next one. A store
   * with a tool of its own for that names it instead. Throws StoreRefused if there is no room for a copy.
   */
  copy(): Promise<StoreCopy | CopyTool>;

  /** The URLs at which the store listens, for clients and among its members, as far as they are known. Never rejects. */
  places(): Promise<readonly string[]>;

  /** Returns the health of the store, as far as this process knows it. */
  health(): StoreHealth;
}

/** A position in the history of the store. 0n is the position before the first write. */
export type Revision = bigint;

/** The keys from `start` up to, but not including, `end`, in the order of their UTF-8 bytes. */
export interface KeyRange {
  readonly start: string;
  readonly end: string;
}

/** The most entries in one page of a list: large enough to be fast, small enough for one message. */
export const LIST_PAGE_ENTRIES = 5_000;

/** A key with its current value and revisions. */
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
  /** The entries in key order. The reader must read them to the end or close the iterator (`return`). */
  readonly pages: AsyncIterable<readonly Entry[]>;
}

/** Reads a listing to its end. */
export async function allEntries({ pages }: Listing): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const page of pages) for (const entry of page) entries.push(entry);
  return entries;
}

/** A condition on one key. `modRevision` 0n or `createRevision` 0n requires that the key does not exist. */
export type Compare =
  | { readonly key: string; readonly modRevision: Revision }
  | { readonly key: string; readonly createRevision: Revision };

/** A change of one key. */
export type Write =
  | { readonly kind: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly kind: 'delete'; readonly key: string };

/** Compares, and the writes that happen if all compares hold. Takes at most TXN_WRITES_MAX writes, and no key twice. */
export interface Txn {
  /** Random, and part of every value that is put. It shows later whether a commit of unknown outcome happened. */
  readonly writeId: string;
  readonly compares: readonly Compare[];
  readonly writes: readonly Write[];
}

/** The transaction that puts one record if the current one is at `expected` (0n: if there is none). */
export function putTxn(writeId: string, key: string, value: Uint8Array, expected: Revision): Txn {
  return { writeId, compares: [{ key, modRevision: expected }], writes: [{ kind: 'put', key, value }] };
}

/** The most writes in one transaction. etcd takes 128 operations, including the reads for the compares. */
export const TXN_WRITES_MAX = 110;

/** The number of transactions of one commitEach that share a revision: at least this many, if there are as many. */
export const COMMIT_EACH_TXNS = 100;

/** The outcome of a transaction. */
export type CommitResult =
  | { readonly ok: true; readonly revision: Revision }
  | {
      readonly ok: false;
      /** The revision at which the compares were evaluated. */
      readonly revision: Revision;
      /** The current entry of each compared key, in the order of the compares. */
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

/** The part of a store's history that concerns a range. */
export interface Past {
  /** The oldest revision that the store still has. */
  readonly from: Revision;
  /**
   * First the entries that existed at `from`, each at the revision that wrote it last, in the order of these revisions;
   * then every later revision.
   */
  readonly batches: AsyncIterable<RevisionBatch>;
}

/** A copy of a store at one revision. It takes room until it is closed. */
export interface StoreCopy {
  readonly revision: Revision;
  readonly bytes: number;
  readonly content: AsyncIterable<Uint8Array>;
  /** Frees the room. */
  close(): Promise<void>;
}

/** The tool that copies a store. */
export interface CopyTool {
  /** The command, for a person. */
  readonly command: string;
}

/** The batches that write entries, each at its mod revision, in the order of these revisions. */
export function* batchesByRevision(entries: Iterable<Entry>): Generator<RevisionBatch> {
  const sorted = [...entries].sort((a, b) => Number(a.modRevision - b.modRevision));
  for (let i = 0; i < sorted.length;) {
    const revision = sorted[i]!.modRevision;
    const changes: Change[] = [];
    for (; sorted[i]?.modRevision === revision; i++) changes.push({ kind: 'put', entry: sorted[i]! });
    yield { revision, changes };
  }
}

/**
 * The time that a member key outlives the last sign of life of its member: short enough to notice a dead replica soon,
 * long enough for a slow store.
 */
export const LEASE_MS = 10_000;

/** A key on a lease. */
export interface Member {
  readonly key: string;
  /** The revision at which the key was created. */
  readonly epoch: Revision;
  /** Aborts when the key is known to be gone. */
  readonly lost: AbortSignal;
  /** Rewrites the key and keeps its lease. Compares the epoch: returns false if the key is no longer this member's. */
  rewrite(value: Uint8Array): Promise<boolean>;
  /** Deletes the key. */
  leave(): Promise<void>;
}

/** The health of a store. */
export interface StoreHealth {
  /** Monotonic time since when the store has been unreachable. `undefined` if it is reachable. */
  readonly unreachableSinceMs: number | undefined;
  /** False if reads work but writes are refused, such as on a full disk. */
  readonly writable: boolean;
}

/** The store no longer has the history that the watch needs. The caller must list again. */
export class Compacted extends Error {
  override readonly name = 'Compacted';
  constructor(
    message: string,
    /** The oldest revision that the store still has, if it said so. */
    readonly oldest?: Revision,
  ) {
    super(message);
  }
}

/**
 * The store has a different history than before: it was restored or replaced. The caller must drop everything and list
 * again.
 */
export class RolledBack extends Error {
  override readonly name = 'RolledBack';
}

/**
 * The reply to a commit was lost, and other commits have written its keys since. It is unknown whether the commit
 * happened. The caller must read the keys before it tries again.
 */
export class OutcomeLost extends Error {
  override readonly name = 'OutcomeLost';
}

/** The store did not answer. A commit may or may not have happened. */
export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable';
}

/** The store refused the request. Nothing happened. */
export class StoreRefused extends Error {
  override readonly name = 'StoreRefused';
  constructor(
    readonly reason: 'FULL' | 'TOO_LARGE',
    message: string,
  ) {
    super(message);
  }
}

const LAST_ASCII = 0x7f;
const FIRST_SURROGATE = 0xd800;
const LAST_SURROGATE = 0xdfff;

/** Returns the range of all keys that begin with `prefix`. Its last character must be ASCII, such as "/". */
export function prefixRange(prefix: string): KeyRange {
  const last = prefix.charCodeAt(prefix.length - 1);
  assert(last < LAST_ASCII, `the prefix ${JSON.stringify(prefix)} ends with an ASCII character`);
  return { start: prefix, end: prefix.slice(0, -1) + String.fromCharCode(last + 1) };
}

/** Returns true if `key` lies in `range`. */
export function inRange({ start, end }: KeyRange, key: string): boolean {
  return compareKeys(start, key) <= 0 && compareKeys(key, end) < 0;
}

/**
 * Orders two keys by their UTF-8 bytes: returns a negative number, 0 or a positive number.
 *
 * JavaScript orders strings by UTF-16 units. That order differs where a surrogate pair, which is 4 bytes in UTF-8,
 * meets a character from U+E000 to U+FFFF, which is 3 bytes. Both orders agree everywhere else.
 */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const unitA = a.charCodeAt(i);
    const unitB = b.charCodeAt(i);
    if (unitA !== unitB) return utf8Rank(unitA) - utf8Rank(unitB);
  }
  return a.length - b.length;
}

/** Ranks a UTF-16 unit by the UTF-8 bytes that it begins: surrogates come after all other units. */
function utf8Rank(unit: number): number {
  return unit >= FIRST_SURROGATE && unit <= LAST_SURROGATE ? unit + 0x10000 : unit;
}

/** The range that is watched and kept in memory: instances, configs, members and the small records beside them. */
export const WATCHED_RANGE: KeyRange = prefixRange(WATCHED_ROOT);
