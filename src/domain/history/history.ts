import { type Clock, delay } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Log } from '../../base/telemetry.js';
import type { CatalogChange } from '../../catalog/changes.js';
import { Health } from '../../gen/rollcall/v1/instance.js';
import { TransitionKind } from '../../gen/rollcall/v1/transition.js';
import type { Revision, Store } from '../../store/store.js';
import { earlierTransitions } from './refill.js';
import { type Entry, Ring, type RingBounds } from './ring.js';
import { type Seen, transitionsOf } from './transitions.js';

/** Enough for a day of a busy cluster, and at most 40 MB. */
const BOUNDS: RingBounds = { all: 100_000, ofInstance: 256, ofService: 20_000 };

/** The number of entries that are added during one turn of the event loop. */
const TURN_ENTRIES = 1_000;

/** Since when a history is complete. */
export interface CompleteSince {
  readonly revision: number;
  /** Wall-clock milliseconds. */
  readonly timeMs: number;
}

/** The dependencies of a History. */
export interface HistoryParts extends Seen {
  readonly store: Pick<Store, 'past'>;
  readonly clock: Clock;
  /** The name of the node of this server. */
  readonly node: string;
  readonly log: Log;
}

/**
 * The transitions that this process has seen in the change feed, and those before its start that the store's own history
 * still shows. Every replica keeps the same ones, because who acted and why is in the records. Each transition that this server wrote is
 * one line of its log.
 */
export class History implements Closeable {
  readonly ring = new Ring(BOUNDS);
  readonly #stop = new AbortController();
  readonly #listeners = new Set<() => void>();
  #since: CompleteSince = { revision: 0, timeMs: 0 };
  /** Ends the refill that is under way. */
  #refilling = new AbortController();
  #id: string | undefined;

  constructor(private readonly parts: HistoryParts) {}

  /** Names the ring: one of another process has another name. */
  get id(): string {
    const { node, clock } = this.parts;
    return (this.#id ??= `${node}@${clock.wall()}`);
  }

  start(): void {
    this.parts.catalog.subscribe('other', (change) => this.#take(change), this.#stop.signal);
  }

  close(): void {
    this.#stop.abort();
    this.#refilling.abort();
  }

  /** Calls `listener` after every change that brought transitions. Returns a function that stops it. */
  onTransitions(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The moment after which nothing is missing; of one instance, if names are given. */
  completeSince(names?: { readonly namespace: string; readonly service: string; readonly id: string }): CompleteSince {
    const dropped = names ? this.ring.droppedOf(names.namespace, names.service, names.id) : this.ring.droppedUpTo;
    return dropped > this.#since.revision ? { revision: dropped, timeMs: 0 } : this.#since;
  }

  #take(change: CatalogChange): void {
    const { cause, revision, isSameHistory } = change;
    if (cause === 'RESET') {
      this.#refilling.abort();
      if (!isSameHistory) this.ring.clear();
      return;
    }
    if (cause === 'FIRST_LISTING') {
      this.#begin(revision);
      if (this.ring.size === 0) void this.#refill(revision);
      return;
    }
    const entries = transitionsOf(change, this.parts, this.parts.clock.wall());
    for (const entry of entries) {
      this.ring.add(entry);
      this.#log(entry);
    }
    if (entries.length > 0) for (const listener of this.#listeners) listener();
    // Several changes of one record appear as one in a listing, and those before it may be missing.
    if (cause === 'LISTING') this.#begin(revision);
  }

  #begin(revision: Revision): void {
    this.#refilling.abort();
    this.#since = { revision: Number(revision), timeMs: this.parts.clock.wall() };
  }

  async #refill(until: Revision): Promise<void> {
    const { store, clock, log } = this.parts;
    const { signal } = (this.#refilling = new AbortController());
    const earlier = await earlierTransitions({ store, clock, log }, until, BOUNDS.all, signal);
    if (!earlier) return;
    const { entries, since } = earlier;
    for (let next = entries.length; next > 0; next -= TURN_ENTRIES) {
      if (signal.aborted) return;
      for (const entry of entries.slice(Math.max(0, next - TURN_ENTRIES), next).reverse()) this.ring.addOlder(entry);
      await delay(clock, 0, signal);
    }
    if (signal.aborted) return;
    // The time of the revision is unknown. The first transition that has a time came after it.
    const timeMs = entries.find((one) => one.timeMs > 0)?.timeMs ?? this.#since.timeMs;
    this.#since = { revision: Number(since), timeMs };
    log.info({ transitions: entries.length, since: Number(since) }, 'the history before the start was read');
  }

  /** Logs a transition if this server wrote it. */
  #log({ kind, revision, namespace, service, id, from, to, actor, cause, comment, incarnation, node }: Entry): void {
    const by = actor?.node ?? cause?.decidedBy;
    if (by !== this.parts.node) return;
    const transition = TransitionKind[kind].replace('TRANSITION_KIND_', '');
    const health = { from: Health[from].replace('HEALTH_', ''), to: Health[to].replace('HEALTH_', '') };
    const who = {
      ...(actor?.subject && { subject: actor.subject }),
      ...(actor?.address && { address: actor.address }),
    };
    const fields = { transition, revision, namespace, service, id, incarnation, ...health, ...who };
    this.parts.log.info({ ...fields, ...(comment && { comment }), ...(node && { node }) }, 'transition');
  }
}
