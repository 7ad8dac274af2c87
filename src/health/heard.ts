import type { InstanceItem } from '../model/records.js';
import type { Revision } from '../store/store.js';
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
  /** Its ttl does not begin before this. -Infinity: nothing disturbs it. */
  floorMs: number;
  /** No heartbeat is acknowledged from memory while the record is at this revision or older. 0n: no promise. */
  promisedRevision: Revision;
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

  /** Takes in that a record stands at a key: seen to change now, or found in a listing. */
  stands(item: InstanceItem, found: boolean): Trace {
    const known = this.#traces.get(item.key);
    if (known) {
      known.item = item;
      known.changeStampMs = this.clock.stamp();
      known.floorMs = -Infinity;
      if (item.modRevision > known.promisedRevision) known.promisedRevision = 0n;
      return known;
    }
    const trace: Trace = {
      item,
      beatIncarnation: '',
      beatRevision: 0n,
      beatStampMs: -Infinity,
      changeStampMs: found ? -Infinity : this.clock.stamp(),
      floorMs: found ? this.clock.stamp() + GRACE_MS : -Infinity,
      promisedRevision: 0n,
    };
    this.#traces.set(item.key, trace);
    return trace;
  }

  /** Takes in that nothing is registered at a key any more. */
  gone(key: string): Trace | undefined {
    const trace = this.#traces.get(key);
    this.#traces.delete(key);
    return trace;
  }

  /**
   * Notes a heartbeat. A note never lowers stamp or revision, and for another incarnation it replaces only
   * what was heard under an older revision.
   */
  note(trace: Trace, incarnation: string, revision: Revision): void {
    const stamp = this.clock.stamp();
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
  deadlineMs({ item, beatIncarnation, beatStampMs, changeStampMs, floorMs }: Trace): number {
    const beat = beatIncarnation === item.record.instance!.incarnation ? beatStampMs : -Infinity;
    return Math.max(beat, changeStampMs, floorMs) + item.ttlMs;
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
