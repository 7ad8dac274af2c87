import { fromTimestamp } from '../../model/time.js';
import { LIMITS, TTL_MS } from '../../model/limits.js';
import type { InstanceItem } from '../../model/instance.js';
import type { Revision } from '../../store/store.js';
import type { LivenessClock } from './liveness-clock.js';

/** How far the wall clocks of two servers may lie apart. */
const WALL_SKEW_MS = 5 * 60_000;

/** How long after a disturbance (such as a start) every TTL begins: time for clients to find a server again. */
export const GRACE_MS = 30_000;

/** The liveness of one registered instance, as far as this process knows. */
export interface LivenessEntry {
  /** The record as the catalog holds it. */
  item: InstanceItem;
  /** The incarnation of the last heartbeat. */
  beatIncarnation: string;
  /** The revision of the record under which that heartbeat was settled. */
  beatRevision: Revision;
  /** Arrival of that heartbeat (liveness clock). -Infinity: none arrived. */
  beatStampMs: number;
  /** The last change of the record that this process saw. -Infinity: the record was found in a listing. */
  changeStampMs: number;
  /** Earliest start of the TTL: set if the record was found at a start; -Infinity once the instance was heard. */
  floorMs: number;
  /** The last beat of this incarnation that another member reported. -Infinity: none was reported. */
  heardElsewhereMs: number;
  /** While the record is at this revision or older, no beat is acknowledged from memory. 0n: no promise was given. */
  promisedRevision: Revision;
  /** When this process saw the incarnation register, for the last time after another one. -Infinity: it was found at a start. */
  runBeganMs: number;
  /** The same as monotonic time: while the liveness clock is paused, runs seem younger than they are. */
  runBeganMonotonicMs: number;
  /** When this process saw it register its present address and port. -Infinity: they were found at a start. */
  placedMs: number;
  /** When this process saw the record fall silent. Means something only while the record is silent. */
  fellMs: number;
  /** True if the record was silent when it was found at a start. */
  foundSilent: boolean;
  /** When this process saw the last verdict on its checks. Means something only while a check has failed. */
  failedMs: number;
  /** True if that verdict was found at a start. */
  foundFailed: boolean;
  /** When the time began that a silent record is kept: `fellMs`, or a later listing. */
  keptFromMs: number;
}

/** A beat, or a promise, for an instance that the catalog does not show yet. */
interface PendingNote {
  readonly incarnation: string;
  readonly revision: Revision;
  readonly stampMs: number;
  readonly promisedRevision: Revision;
}

/** The last beat of one instance, as members hand it over. */
export interface HeardNote {
  readonly key: string;
  readonly incarnation: string;
  readonly revision: Revision;
  /** The age of the beat by the liveness clock of the member that hands it over. */
  readonly ageMs: number;
}

/** A question to a member that may have heard an instance. */
export interface Query {
  readonly key: string;
  readonly incarnation: string;
  readonly ttlMs: number;
  /** The mod revision of the record that the verdict will compare. */
  readonly revision: Revision;
}

/** The answer of a member to a query. */
export type Answer =
  /** The incarnation was heard this long ago. */
  | { readonly kind: 'HEARD'; readonly ageMs: number }
  /** The answering member's catalog holds a newer record of this id. */
  | { readonly kind: 'CHANGED' }
  /** The incarnation was not heard for its TTL. The promise counts if one was asked for. */
  | {
      readonly kind: 'SILENT';
      /** How long ago the incarnation was heard. `undefined` if it never was, as far as the member knows. */
      readonly ageMs: number | undefined;
      readonly promisedRevision: Revision;
    };

/** The beats that this process has heard: one entry for every registered instance. */
export class LivenessTable {
  readonly #entries = new Map<string, LivenessEntry>();
  /** Notes about instances that the catalog does not show yet, by key. */
  readonly #pending = new Map<string, PendingNote>();
  /** No TTL begins before this: beats may have been lost until then. */
  #disturbedUntilMs = -Infinity;
  /** The latest `floorMs` of all entries that were found at a start. */
  #floorUntilMs = -Infinity;

  #sooner: (entry: LivenessEntry) => void = () => undefined;

  constructor(private readonly clock: LivenessClock) {}

  /**
   * Sets the listener of the one event that moves a deadline earlier: an entry found at a start was heard. It is called
   * until `signal` is aborted.
   */
  onSooner(listener: (entry: LivenessEntry) => void, signal: AbortSignal): void {
    this.#sooner = listener;
    signal.addEventListener('abort', () => (this.#sooner = () => undefined), { once: true });
  }

  entry(key: string): LivenessEntry | undefined {
    return this.#entries.get(key);
  }

  /** For how long this process has seen the record unchanged. 0 if the catalog does not show it. */
  unchangedForMs(key: string): number {
    const entry = this.#entries.get(key);
    return entry ? this.clock.nowMs - entry.changeStampMs : 0;
  }

  /** How long ago this process heard the standing incarnation beat. `undefined` if it never did. */
  ageMs(key: string): number | undefined {
    const entry = this.#entries.get(key);
    if (!entry || entry.beatIncarnation !== entry.item.record.instance!.incarnation) return undefined;
    return Math.max(this.clock.nowMs - entry.beatStampMs, 0);
  }

  /** Beats may have been lost: every TTL begins again after the grace. */
  disturb(): void {
    this.#disturbedUntilMs = this.clock.stamp() + GRACE_MS;
  }

  /**
   * End of the present grace (liveness clock). Before it, only TTLs of entries that were heard since a start can end.
   */
  get graceUntilMs(): number {
    return Math.max(this.#disturbedUntilMs, this.#floorUntilMs);
  }

  /** Drops everything: the store has another history, and revisions mean nothing. */
  clear(): void {
    this.#entries.clear();
    this.#pending.clear();
  }

  /** The beats within their TTL, for another member to take over. */
  recent(): HeardNote[] {
    const notes: HeardNote[] = [];
    for (const { item, beatIncarnation, beatRevision, beatStampMs } of this.#entries.values()) {
      const ageMs = this.clock.nowMs - beatStampMs;
      if (ageMs >= item.ttlMs) continue;
      notes.push({
        key: item.key,
        incarnation: beatIncarnation,
        revision: beatRevision,
        ageMs: Math.max(ageMs, 0),
      });
    }
    // The TTL of an instance that the catalog does not show yet is unknown.
    for (const [key, { incarnation, revision, stampMs }] of this.#pending) {
      const ageMs = this.clock.nowMs - stampMs;
      if (ageMs < TTL_MS.max) notes.push({ key, incarnation, revision, ageMs: Math.max(ageMs, 0) });
    }
    return notes;
  }

  /** All entries. */
  all(): IterableIterator<LivenessEntry> {
    return this.#entries.values();
  }

  /** Notes that another member heard the instance `ageMs` ago. */
  heardElsewhere(entry: LivenessEntry, incarnation: string, ageMs: number): void {
    if (entry.item.record.instance!.incarnation !== incarnation) return;
    entry.heardElsewhereMs = Math.max(entry.heardElsewhereMs, this.clock.nowMs - ageMs);
  }

  /**
   * How long ago a check of an instance was recorded as failed, at the least. Unlike a silent instance, one that fails its checks stays
   * registered, so that one which is found at a start may have failed days ago.
   */
  #failedForMs({ checks: { item } }: InstanceItem): number {
    const time = item?.record.time;
    return time ? Math.max(0, this.clock.wallMs - fromTimestamp(time) - WALL_SKEW_MS) : 0;
  }

  /** Takes in a record that changed now or, if `found`, that existed when this process started. */
  recordSeen(item: InstanceItem, found: boolean): LivenessEntry {
    const known = this.#entries.get(item.key);
    if (known) {
      this.#recordChanged(known, item);
      return known;
    }
    const pending = this.#pending.get(item.key);
    this.#pending.delete(item.key);
    const stamp = this.clock.stamp();
    const floorMs = found && !pending ? stamp + GRACE_MS : -Infinity;
    this.#floorUntilMs = Math.max(this.#floorUntilMs, floorMs);
    const entry: LivenessEntry = {
      item,
      beatIncarnation: pending?.incarnation ?? '',
      beatRevision: pending?.revision ?? 0n,
      beatStampMs: pending?.stampMs ?? -Infinity,
      changeStampMs: found ? -Infinity : stamp,
      floorMs,
      heardElsewhereMs: -Infinity,
      promisedRevision: pending && pending.promisedRevision >= item.modRevision ? pending.promisedRevision : 0n,
      runBeganMs: found ? -Infinity : stamp,
      runBeganMonotonicMs: found ? -Infinity : this.clock.monotonicMs,
      placedMs: found ? -Infinity : stamp,
      fellMs: stamp,
      foundSilent: found && item.record.silent,
      failedMs: found ? stamp - this.#failedForMs(item) : stamp,
      foundFailed: found,
      keptFromMs: stamp,
    };
    this.#entries.set(item.key, entry);
    return entry;
  }

  #recordChanged(entry: LivenessEntry, item: InstanceItem): void {
    const before = entry.item.record;
    const now = item.record;
    const stamp = this.clock.stamp();
    // Between two listings an incarnation may have been replaced, or removed, and have registered again.
    const isNewRun = entry.item.incarnationRevision !== item.incarnationRevision;
    const { address, port } = before.instance!;
    if (isNewRun) {
      entry.heardElsewhereMs = -Infinity;
      entry.runBeganMs = stamp;
      entry.runBeganMonotonicMs = this.clock.monotonicMs;
    }
    if (isNewRun || address !== now.instance!.address || port !== now.instance!.port) entry.placedMs = stamp;
    if (isNewRun || !before.silent || !now.silent) {
      entry.fellMs = stamp;
      entry.keptFromMs = stamp;
      entry.foundSilent = false;
    }
    this.#verdictSeen(entry, item);
    entry.item = item;
    entry.changeStampMs = stamp;
    entry.floorMs = -Infinity;
    if (item.modRevision > entry.promisedRevision) entry.promisedRevision = 0n;
  }

  /** Takes in that a record of another kind changed how an instance is shown. That is no sign of life. */
  recordMoved(item: InstanceItem): void {
    const entry = this.#entries.get(item.key);
    if (entry?.item.modRevision !== item.modRevision) return;
    this.#verdictSeen(entry, item);
    entry.item = item;
  }

  #verdictSeen(entry: LivenessEntry, { checks }: InstanceItem): void {
    if (entry.item.checks.item?.revision === checks.item?.revision) return;
    entry.failedMs = this.clock.stamp();
    entry.foundFailed = false;
  }

  /** The last sign of life of the standing incarnation. -Infinity: there was none since this process started. */
  lastHeardMs({ item, beatIncarnation, beatStampMs, changeStampMs, heardElsewhereMs }: LivenessEntry): number {
    const beat = beatIncarnation === item.record.instance!.incarnation ? beatStampMs : -Infinity;
    return Math.max(beat, changeStampMs, heardElsewhereMs);
  }

  /**
   * Takes in that a record was removed at a revision. Beats and promises under a newer record, which the catalog does not
   * show yet, are kept for it.
   */
  recordRemoved(key: string, removed: Revision): LivenessEntry | undefined {
    const entry = this.recordEvicted(key);
    const pending = this.#pending.get(key);
    if (!pending) return entry;
    if (pending.revision <= removed && pending.promisedRevision <= removed) this.#pending.delete(key);
    return entry;
  }

  /** Takes in that the catalog dropped a key and may read it again: the beat and the promise are kept. */
  recordEvicted(key: string): LivenessEntry | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    this.#entries.delete(key);
    const { beatIncarnation: incarnation, beatRevision: revision, beatStampMs: stampMs, promisedRevision } = entry;
    this.#pending.set(key, { incarnation, revision, stampMs, promisedRevision });
    return entry;
  }

  /**
   * Notes a heartbeat of an instance that the catalog may not show yet; returns its entry if there is one. The beat
   * arrived now, or `ageMs` ago at the member that hands it over.
   */
  noteOf(key: string, incarnation: string, revision: Revision, ageMs = 0): LivenessEntry | undefined {
    const entry = this.#entries.get(key);
    const stampMs = this.clock.stamp() - ageMs;
    if (entry) this.note(entry, incarnation, revision, stampMs);
    else this.#notePending(key, incarnation, revision, stampMs);
    return entry;
  }

  /**
   * Returns true if another process was heard here under a newer record, so that a beat settled on this record would not
   * be noted. A beat that is not noted must not count: this member would report silence to the judge.
   */
  isOutdated(key: string, incarnation: string, revision: Revision): boolean {
    const entry = this.#entries.get(key);
    const pending = entry ? undefined : this.#pending.get(key);
    const heard = entry?.beatIncarnation ?? pending?.incarnation ?? '';
    const under = entry?.beatRevision ?? pending?.revision ?? 0n;
    return heard !== '' && heard !== incarnation && under >= revision;
  }

  #notePending(key: string, incarnation: string, revision: Revision, stamp: number): void {
    const pending = this.#pending.get(key);
    if (!pending && this.#pending.size >= LIMITS.INSTANCES.value) return;
    if (pending && pending.incarnation !== incarnation && pending.revision >= revision) return;
    const stampMs = pending?.incarnation === incarnation ? Math.max(pending.stampMs, stamp) : stamp;
    this.#pending.set(key, { incarnation, revision, stampMs, promisedRevision: pending?.promisedRevision ?? 0n });
  }

  /**
   * Notes a heartbeat. A note never lowers stamp or revision. For another incarnation it replaces only a beat that was
   * heard under an older revision.
   */
  note(entry: LivenessEntry, incarnation: string, revision: Revision, stamp = this.clock.stamp()): void {
    if (entry.beatIncarnation !== incarnation) {
      if (entry.beatRevision >= revision && entry.beatIncarnation !== '') return;
      entry.beatIncarnation = incarnation;
      entry.beatRevision = revision;
      entry.beatStampMs = stamp;
    } else {
      if (revision > entry.beatRevision) entry.beatRevision = revision;
      if (stamp > entry.beatStampMs) entry.beatStampMs = stamp;
    }
    if (entry.floorMs === -Infinity) return;
    entry.floorMs = -Infinity;
    this.#sooner(entry);
  }

  /** The time at which the instance will have been silent for its TTL, by everything that is known here. */
  deadlineMs(entry: LivenessEntry): number {
    return Math.max(this.lastHeardMs(entry), entry.floorMs, this.#disturbedUntilMs) + entry.item.ttlMs;
  }

  /** Answers a query. With `promise`, the answer SILENT and the promise are given in one turn. */
  answer({ key, incarnation, ttlMs, revision }: Query, promise: boolean): Answer {
    const entry = this.#entries.get(key);
    if (!entry || entry.item.modRevision > revision) return { kind: 'CHANGED' };
    const ageMs = this.clock.nowMs - entry.beatStampMs;
    const wasHeard = entry.beatIncarnation === incarnation;
    if (wasHeard && ageMs < ttlMs) return { kind: 'HEARD', ageMs: Math.max(ageMs, 0) };
    if (promise && revision > entry.promisedRevision) entry.promisedRevision = revision;
    return { kind: 'SILENT', ageMs: wasHeard ? ageMs : undefined, promisedRevision: entry.promisedRevision };
  }
}
