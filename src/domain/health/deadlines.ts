import { TimerWheel } from '../../base/timer-wheel.js';
import type { CatalogChange } from '../../catalog/changes.js';
import type { ItemChange } from '../../catalog/collection.js';
import { INSTANCE } from '../../catalog/kinds.js';
import type { InstanceItem } from '../../model/instance.js';
import { EXPIRY_TTLS } from '../../model/limits.js';
import type { LivenessClock } from './liveness-clock.js';
import type { LivenessEntry, LivenessTable } from './liveness-table.js';
import type { Cluster } from './peers.js';
import type { ProtectionTimes } from './protection-times.js';
import type { Successors } from './successors.js';

/** How often deadlines are checked: a small part of the 300 ms that a verdict may take. */
export const TICK_MS = 50;
/** Slots of the wheel: 4,096 ticks are 205 s, so most deadlines are reached in their first turn. */
const WHEEL_SLOTS = 4_096;

/** The dependencies of Deadlines. */
export interface DeadlinesParts {
  readonly table: LivenessTable;
  readonly liveness: LivenessClock;
  readonly cluster: Pick<Cluster, 'judges'>;
  readonly successors: Successors;
  readonly protectionTimes: ProtectionTimes;
}

/**
 * One deadline for every instance that this member judges: the end of its TTL, or, for a silent one, the end of the time
 * that it is kept.
 */
export class Deadlines {
  readonly #wheel = new TimerWheel<LivenessEntry>(TICK_MS, WHEEL_SLOTS);

  constructor(private readonly parts: DeadlinesParts) {}

  /** Takes in a change of the catalog. */
  take(change: CatalogChange): void {
    const { cause, isSameHistory } = change;
    for (const one of change.of(INSTANCE)) this.#takeRecord(one, cause === 'FIRST_LISTING');
    for (const { after } of change.moved(INSTANCE)) if (after) this.parts.table.recordMoved(after);
    if (cause === 'LISTING') this.#beginAgain();
    if (cause !== 'RESET') return;
    if (!isSameHistory) this.parts.table.clear();
    this.parts.table.disturb();
  }

  /** Takes out the entries whose deadline has passed. */
  takeDue(): LivenessEntry[] {
    const due: LivenessEntry[] = [];
    for (const entry of this.#wheel.advance(this.parts.liveness.nowMs)) {
      const deadline = this.#deadlineMs(entry);
      if (deadline > this.parts.liveness.nowMs) this.#wheel.arm(entry, deadline);
      else due.push(entry);
    }
    return due;
  }

  /** Arms the deadline of an entry, if this member judges it. The deadline is at least `notBeforeMs`. */
  arm(entry: LivenessEntry, notBeforeMs = -Infinity): void {
    const { namespace, scope, expectsHeartbeats } = entry.item;
    if (expectsHeartbeats && this.parts.cluster.judges(namespace, scope))
      this.#wheel.arm(entry, Math.max(this.#deadlineMs(entry), notBeforeMs));
    else this.#wheel.disarm(entry);
  }

  /** Arms all deadlines again: the members have changed, and with them the services that are judged here. */
  armAll(): void {
    for (const entry of this.parts.table.all()) this.arm(entry);
  }

  #takeRecord({ before, after }: ItemChange<InstanceItem>, found: boolean): void {
    if (!after || after.removedAtMs !== undefined) {
      const entry = after
        ? this.parts.table.recordRemoved(after.key, after.modRevision)
        : this.parts.table.recordEvicted(before!.key);
      if (entry) this.#wheel.disarm(entry);
      return;
    }
    const { table, successors } = this.parts;
    const entry = table.recordSeen(after, found);
    this.arm(entry);
    if (found || entry.placedMs !== entry.changeStampMs) return;
    // It has registered this address and port now: silent instances that had them are due.
    for (const { key, record } of successors.beside(after)) {
      const replaced = record.silent ? table.entry(key) : undefined;
      if (replaced) this.arm(replaced);
    }
  }

  /** Events before a new listing were not seen as they happened, so every deadline begins again. */
  #beginAgain(): void {
    const { table, liveness } = this.parts;
    table.disturb();
    for (const entry of table.all()) entry.keptFromMs = liveness.stamp();
  }

  #deadlineMs(entry: LivenessEntry): number {
    const { table, successors, protectionTimes } = this.parts;
    const { silent, seasoned } = entry.item.record;
    if (!silent) return table.deadlineMs(entry);
    if (successors.hasReplaced(entry)) return entry.fellMs;
    const keptMs = EXPIRY_TTLS * entry.item.ttlMs;
    return entry.keptFromMs + (seasoned ? Math.max(keptMs, protectionTimes.memoryMs) : keptMs);
  }
}
