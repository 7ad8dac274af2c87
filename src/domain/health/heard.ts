import { LIMITS, TTL_MS } from '../../model/limits.js';
import type { InstanceItem } from '../../model/records.js';
import type { Revision } from '../../store/store.js';
import type { LivenessClock } from './liveness-clock.js';

/** How long after a disturbance (such as a start) the ttl of an instance begins: time for clients to find us again. */
export const GRACE_MS = 30_000;

/** What this process knows of the liveness of one registered instance. */
export interface Trace {
  /** The record as the catalog holds it. */
  item: InstanceItem;
  /** The incarnation of the last heartbeat. */
  beatIncarnation: string;
  /** The revision of the record under which that heartbeat was settled. */
  beatRevision: Revision;
  /** When it came, by the liveness clock. -Infinity: never. */
  beatStampMs: number;
  /** When the record was last seen to change. -Infinity: it was found in a listing. */
  changeStampMs: number;
  /** Its ttl does not begin before this, as it was found at a start and not heard since. -Infinity: it was. */
  floorMs: number;
  /** When another member has heard this incarnation last, as far as we were told. -Infinity: never. */
  heardElsewhereMs: number;
  /** No heartbeat is acknowledged from memory while the record is at this revision or older. 0n: no promise. */
  promisedRevision: Revision;
}

/** What is known of an instance that the catalog does not show. */
interface Early {
  readonly incarnation: string;
  readonly revision: Revision;
  readonly stampMs: number;
  readonly promisedRevision: Revision;
}

/** What was heard of one instance, as members hand it over. */
export interface HeardNote {
  readonly key: string;
  readonly incarnation: string;
  readonly revision: Revision;
  /** How long ago, by the liveness clock of whoever hands it over. */
  readonly ageMs: number;
}

/** A question for whoever may have heard an instance. */
export interface Query {
  readonly key: string;
  readonly incarnation: string;
  readonly ttlMs: number;
  /** The revision of the record that a verdict will compare. */
  readonly revision: Revision;
}

/** What a member says to a query. */
export type Answer =
  /** That incarnation was heard this long ago. */
  | { readonly kind: 'HEARD'; readonly ageMs: number }
  /** The record of this id is newer here. */
  | { readonly kind: 'CHANGED' }
  /** Not heard for its ttl; with a promise if one was asked for. */
  | { readonly kind: 'SILENT'; readonly promisedRevision: Revision };

/** Everything this process has heard: one trace for every registered instance. */
export class Heard {
  readonly #traces = new Map<string, Trace>();
  /** What was heard of instances that the catalog does not show yet, by key. */
  readonly #early = new Map<string, Early>();
  /** No ttl begins before this: beats may have been lost until then. */
  #disturbedUntilMs = -Infinity;
  /** The last floor of what was found at a start. */
  #floorUntilMs = -Infinity;

  #sooner: (trace: Trace) => void = () => undefined;

  constructor(private readonly clock: LivenessClock) {}

  /** Tells `listener` of the one case in which a deadline moves earlier: what was found at a start has been heard. */
  onSooner(listener: (trace: Trace) => void): void {
    this.#sooner = listener;
  }

  trace(key: string): Trace | undefined {
    return this.#traces.get(key);
  }

  get size(): number {
    return this.#traces.size;
  }

  /** Beats may have been lost: every ttl begins anew after a grace. */
  disturb(): void {
    this.#disturbedUntilMs = this.clock.stamp() + GRACE_MS;
  }

  /** No ttl that began before ends before this, by the liveness clock; but for what was heard since it was found. */
  get graceUntilMs(): number {
    return Math.max(this.#disturbedUntilMs, this.#floorUntilMs);
  }

  /** The store has another history: revisions mean nothing any more. */
  forgetEverything(): void {
    this.#traces.clear();
    this.#early.clear();
  }

  /** What was heard within its ttl, for another member to take over. */
  recent(): HeardNote[] {
    const notes: HeardNote[] = [];
    for (const { item, beatIncarnation, beatRevision, beatStampMs } of this.#traces.values()) {
      const ageMs = this.clock.nowMs - beatStampMs;
      if (ageMs >= item.ttlMs) continue;
      notes.push({
        key: item.key,
        incarnation: beatIncarnation,
        revision: beatRevision,
        ageMs: Math.max(ageMs, 0),
      });
    }
    // What the catalog does not show yet has a ttl that is not known yet.
    for (const [key, { incarnation, revision, stampMs }] of this.#early) {
      const ageMs = this.clock.nowMs - stampMs;
      if (ageMs < TTL_MS.max) notes.push({ key, incarnation, revision, ageMs: Math.max(ageMs, 0) });
    }
    return notes;
  }

  /** Every trace. */
  all(): IterableIterator<Trace> {
    return this.#traces.values();
  }

  /** Another member has heard it, so long ago. */
  heardElsewhere(trace: Trace, incarnation: string, ageMs: number): void {
    if (trace.item.record.instance!.incarnation !== incarnation) return;
    trace.heardElsewhereMs = Math.max(trace.heardElsewhereMs, this.clock.nowMs - ageMs);
  }

  /** Takes in that a record stands at a key: seen to change now, or found in a listing. */
  stands(item: InstanceItem, found: boolean): Trace {
    const known = this.#traces.get(item.key);
    if (known) {
      if (known.item.record.instance!.incarnation !== item.record.instance!.incarnation)
        known.heardElsewhereMs = -Infinity;
      known.item = item;
      known.changeStampMs = this.clock.stamp();
      known.floorMs = -Infinity;
      if (item.modRevision > known.promisedRevision) known.promisedRevision = 0n;
      return known;
    }
    const early = this.#early.get(item.key);
    this.#early.delete(item.key);
    const floorMs = found && !early ? this.clock.stamp() + GRACE_MS : -Infinity;
    this.#floorUntilMs = Math.max(this.#floorUntilMs, floorMs);
    const trace: Trace = {
      item,
      beatIncarnation: early?.incarnation ?? '',
      beatRevision: early?.revision ?? 0n,
      beatStampMs: early?.stampMs ?? -Infinity,
      changeStampMs: found ? -Infinity : this.clock.stamp(),
      floorMs,
      heardElsewhereMs: -Infinity,
      promisedRevision: early && early.promisedRevision >= item.modRevision ? early.promisedRevision : 0n,
    };
    this.#traces.set(item.key, trace);
    return trace;
  }

  /**
   * Takes in that what stood at a key was removed at a revision. What was heard or promised under a newer record, which
   * the catalog does not show yet, is kept for it.
   */
  gone(key: string, removed: Revision): Trace | undefined {
    const trace = this.forgotten(key);
    const early = this.#early.get(key);
    if (!early) return trace;
    if (early.revision <= removed && early.promisedRevision <= removed) this.#early.delete(key);
    return trace;
  }

  /** Takes in that the catalog has forgotten a key, and will read it again: what was heard and promised is kept. */
  forgotten(key: string): Trace | undefined {
    const trace = this.#traces.get(key);
    if (!trace) return undefined;
    this.#traces.delete(key);
    const { beatIncarnation: incarnation, beatRevision: revision, beatStampMs: stampMs, promisedRevision } = trace;
    this.#early.set(key, { incarnation, revision, stampMs, promisedRevision });
    return trace;
  }

  /**
   * Notes a heartbeat of an instance that the catalog may not show yet; returns its trace if there is one. It came now,
   * or `ageMs` ago at the member that hands it over.
   */
  noteOf(key: string, incarnation: string, revision: Revision, ageMs = 0): Trace | undefined {
    const trace = this.#traces.get(key);
    const stampMs = this.clock.stamp() - ageMs;
    if (trace) this.note(trace, incarnation, revision, stampMs);
    else this.#noteEarly(key, incarnation, revision, stampMs);
    return trace;
  }

  /**
   * True: another process has been heard here under a newer record, so that a beat settled on this one would not be
   * noted. A beat that nobody has noted must not count: whoever judges would be told of silence.
   */
  isOutdated(key: string, incarnation: string, revision: Revision): boolean {
    const trace = this.#traces.get(key);
    const early = trace ? undefined : this.#early.get(key);
    const heard = trace?.beatIncarnation ?? early?.incarnation ?? '';
    const under = trace?.beatRevision ?? early?.revision ?? 0n;
    return heard !== '' && heard !== incarnation && under >= revision;
  }

  #noteEarly(key: string, incarnation: string, revision: Revision, stamp: number): void {
    const early = this.#early.get(key);
    if (!early && this.#early.size >= LIMITS.INSTANCES.value) return;
    if (early && early.incarnation !== incarnation && early.revision >= revision) return;
    const stampMs = early?.incarnation === incarnation ? Math.max(early.stampMs, stamp) : stamp;
    this.#early.set(key, { incarnation, revision, stampMs, promisedRevision: early?.promisedRevision ?? 0n });
  }

  /**
   * Notes a heartbeat. A note never lowers stamp or revision, and for another incarnation it replaces only
   * what was heard under an older revision.
   */
  note(trace: Trace, incarnation: string, revision: Revision, stamp = this.clock.stamp()): void {
    if (trace.beatIncarnation !== incarnation) {
      if (trace.beatRevision >= revision && trace.beatIncarnation !== '') return;
      trace.beatIncarnation = incarnation;
      trace.beatRevision = revision;
      trace.beatStampMs = stamp;
    } else {
      if (revision > trace.beatRevision) trace.beatRevision = revision;
      if (stamp > trace.beatStampMs) trace.beatStampMs = stamp;
    }
    if (trace.floorMs === -Infinity) return;
    trace.floorMs = -Infinity;
    this.#sooner(trace);
  }

  /** When an instance has been silent for its ttl, by all that is known here. */
  deadlineMs({ item, beatIncarnation, beatStampMs, changeStampMs, heardElsewhereMs, floorMs }: Trace): number {
    const beat = beatIncarnation === item.record.instance!.incarnation ? beatStampMs : -Infinity;
    return Math.max(beat, changeStampMs, heardElsewhereMs, floorMs, this.#disturbedUntilMs) + item.ttlMs;
  }

  /** Answers a query; with `promise`, SILENT is said and promised in one turn. */
  answer({ key, incarnation, ttlMs, revision }: Query, promise: boolean): Answer {
    const trace = this.#traces.get(key);
    if (!trace || trace.item.modRevision > revision) return { kind: 'CHANGED' };
    const ageMs = this.clock.nowMs - trace.beatStampMs;
    if (trace.beatIncarnation === incarnation && ageMs < ttlMs) return { kind: 'HEARD', ageMs: Math.max(ageMs, 0) };
    if (promise && revision > trace.promisedRevision) trace.promisedRevision = revision;
    return { kind: 'SILENT', promisedRevision: trace.promisedRevision };
  }
}
