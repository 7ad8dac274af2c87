import { TimerWheel } from '../../base/timer-wheel.js';
import type { CatalogChange } from '../../catalog/changes.js';
import type { ItemChange } from '../../catalog/collection.js';
import { INSTANCE } from '../../catalog/kinds.js';
import type { InstanceItem } from '../../model/instance.js';
import { EXPIRY_TTLS } from '../../model/limits.js';
import type { LivenessClock } from './liveness-clock.js';
import type { LivenessEntry, LivenessTable } from './liveness-table.js';
import type { Cluster } from './peers.js';

/** How often deadlines are checked: a small part of the 300 ms that a verdict may take. */
export const TICK_MS = 50;
/** Slots of the wheel: 4,096 ticks are 205 s, so most deadlines are reached in their first turn. */
const WHEEL_SLOTS = 4_096;

/**
 * One deadline for every instance that this member judges: the end of its TTL, or, for a silent one, the end of the time
 * that it is kept.
 */
export class Deadlines {
  readonly #wheel = new TimerWheel<LivenessEntry>(TICK_MS, WHEEL_SLOTS);
  /** The time (liveness clock) at which this process first saw each silent record. */
  readonly #silentSinceMs = new WeakMap<LivenessEntry, number>();

  constructor(
    private readonly table: LivenessTable,
    private readonly liveness: LivenessClock,
    private readonly cluster: Pick<Cluster, 'judges'>,
  ) {}

  /** Takes in a change of the catalog. */
  take(change: CatalogChange): void {
    const { cause, isSameHistory } = change;
    for (const one of change.of(INSTANCE)) this.#takeRecord(one, cause === 'FIRST_LISTING');
    if (cause === 'LISTING') this.#beginAgain();
    if (cause !== 'RESET') return;
    if (!isSameHistory) this.table.clear();
    this.table.disturb();
  }

  /** Takes out the entries whose deadline has passed. */
  takeDue(): LivenessEntry[] {
    const due: LivenessEntry[] = [];
    for (const entry of this.#wheel.advance(this.liveness.nowMs)) {
      const deadline = this.#deadlineMs(entry);
      if (deadline > this.liveness.nowMs) this.#wheel.arm(entry, deadline);
      else due.push(entry);
    }
    return due;
  }

  /** For how long this process has seen the record silent. */
  silentForMs(entry: LivenessEntry): number {
    return this.liveness.nowMs - this.#silentSinceMs.get(entry)!;
  }

  /** Arms the deadline of an entry, if this member judges it. The deadline is at least `notBeforeMs`. */
  arm(entry: LivenessEntry, notBeforeMs = -Infinity): void {
    const { namespace, scope, expectsHeartbeats } = entry.item;
    if (expectsHeartbeats && this.cluster.judges(namespace, scope))
      this.#wheel.arm(entry, Math.max(this.#deadlineMs(entry), notBeforeMs));
    else this.#wheel.disarm(entry);
  }

  /** Arms all deadlines again: the members have changed, and with them the services that are judged here. */
  armAll(): void {
    for (const entry of this.table.all()) this.arm(entry);
  }

  #takeRecord({ before, after }: ItemChange<InstanceItem>, found: boolean): void {
    if (!after || after.removedAtMs !== undefined) {
      const entry = after
        ? this.table.recordRemoved(after.key, after.modRevision)
        : this.table.recordEvicted(before!.key);
      if (entry) this.#wheel.disarm(entry);
      return;
    }
    const entry = this.table.recordSeen(after, found);
    if (!after.record.silent) this.#silentSinceMs.delete(entry);
    else if (!this.#silentSinceMs.has(entry)) this.#silentSinceMs.set(entry, this.liveness.stamp());
    this.arm(entry);
  }

  /** Events before a new listing were not seen as they happened, so every deadline begins again. */
  #beginAgain(): void {
    this.table.disturb();
    for (const entry of this.table.all()) {
      if (this.#silentSinceMs.has(entry)) this.#silentSinceMs.set(entry, this.liveness.stamp());
    }
  }

  #deadlineMs(entry: LivenessEntry): number {
    const silentSince = this.#silentSinceMs.get(entry);
    return silentSince === undefined ? this.table.deadlineMs(entry) : silentSince + EXPIRY_TTLS * entry.item.ttlMs;
  }
}
