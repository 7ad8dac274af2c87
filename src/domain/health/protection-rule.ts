import type { Scope } from '../../catalog/collection.js';
import { canFall, fallsOf, type InstanceItem } from '../../model/instance.js';
import type { ProtectedEvent, ProtectionItem } from '../../model/protection.js';
import { findEvent, type Fallen } from './events.js';
import type { Extent } from './extent.js';
import type { LivenessClock } from './liveness-clock.js';
import type { LivenessEntry, LivenessTable } from './liveness-table.js';
import { fallSince, memoryMs, type ProtectionTimes, seasonMs } from './protection-times.js';

/**
 * A service that loses more than this number is protected by itself: the failure of a node or a bad
 * rollout seldom takes more of one service.
 */
const ALONE_COUNT = 3;

/** Why a protection begins. ALONE: more than ALONE_COUNT of the service fell. WIDESPREAD: its surroundings fell too. */
export type Beginning = ProtectedEvent & { readonly reason: 'ALONE' | 'WIDESPREAD' };

/** The dependencies of a ProtectionRule. */
export interface ProtectionRuleParts {
  readonly table: LivenessTable;
  readonly liveness: LivenessClock;
  readonly extent: Pick<Extent, 'isWidespread'>;
  readonly times: ProtectionTimes;
}

/** An instance that can fall, with what this process noted about it. */
interface Known {
  readonly item: InstanceItem;
  readonly entry: LivenessEntry;
  readonly seasonedAtMs: number;
}

/** Decides by the records of a service and the stamps of this process whether it must be protected. */
export class ProtectionRule {
  constructor(private readonly parts: ProtectionRuleParts) {}

  /** The number of instances of a service that are up now, as far as they count; see `#upNow`. */
  upCount(scope: Scope<InstanceItem>): number {
    return this.#upNow(this.#known(scope)).length;
  }

  /**
   * The number of instances that an operator has set aside since a protection began, and that were registered before. They were
   * counted in the size of its event, and count no longer.
   */
  setAsideSince(scope: Scope<InstanceItem>, { record }: ProtectionItem, sinceMs: number): number {
    return this.#known(scope).filter(
      ({ item, entry }) => item.isSetAside && item.revision > record.fromRevision && entry.runBeganMs <= sinceMs,
    ).length;
  }

  /** The event that a service must be protected from. `undefined` if there is none. */
  beginning(scope: Scope<InstanceItem>, protection: ProtectionItem | undefined): Beginning | undefined {
    const known = this.#known(scope);
    const after = protection?.revision ?? 0n;
    const falls = this.#falls(known, after);
    const up = this.#upNow(known);
    const event = findEvent(
      falls,
      up.map(({ seasonedAtMs }) => seasonedAtMs),
    );
    if (!event || 2 * this.#mayBeUp(known) >= event.before) return undefined;
    const isAlone = event.fallen.length > ALONE_COUNT;
    if (!isAlone && !this.parts.extent.isWidespread(event.fallen.map(({ item }) => item))) return undefined;
    // Falls that were found at the start may belong to any event.
    const members = [...event.fallen, ...falls.filter(({ found }) => found)].map(({ revision }) => revision);
    const fromRevision = members.reduce((a, b) => (a < b ? a : b));
    return { reason: isAlone ? 'ALONE' : 'WIDESPREAD', fromRevision, before: event.before };
  }

  #known(scope: Scope<InstanceItem>): Known[] {
    const { table, times } = this.parts;
    const known: Known[] = [];
    for (const item of scope.live()) {
      const entry = canFall(item) ? table.entry(item.key) : undefined;
      if (entry) known.push({ item, entry, seasonedAtMs: entry.runBeganMs + seasonMs(times, item.ttlMs) });
    }
    return known;
  }

  /** The falls that count, and that no protection has ended yet. */
  #falls(known: readonly Known[], after: bigint): (Fallen & { readonly item: InstanceItem })[] {
    const { liveness, times } = this.parts;
    const since =
      liveness.nowMs -
      memoryMs(
        times,
        known.map(({ item }) => item),
      );
    return known.flatMap(({ item, entry, seasonedAtMs }) => {
      const fall = fallSince(item, entry, since);
      return fall && fall.revision > after ? [{ item, seasonedAtMs, ...fall }] : [];
    });
  }

  /**
   * The instances that are up now. While an instance is ill that was too young to count, those younger than their ttl
   * do not count either: the next process of a loop that starts and dies looks healthy until then.
   */
  #upNow(known: readonly Known[]): Known[] {
    const { nowMs } = this.parts.liveness;
    const hasLoop = hasYoungFallen(known);
    return known.filter(({ item: { isUp, ttlMs }, entry }) => isUp && (!hasLoop || nowMs - entry.runBeganMs >= ttlMs));
  }

  /**
   * The number of instances that are up now, every doubt counted as up. A member whose liveness clock was paused, such as
   * one that waits to join, takes runs for younger than they are.
   */
  #mayBeUp(known: readonly Known[]): number {
    const { monotonicMs } = this.parts.liveness;
    const hasLoop = hasYoungFallen(known);
    return known.filter(
      ({ item: { isUp, ttlMs }, entry }) => isUp && (!hasLoop || monotonicMs - entry.runBeganMonotonicMs >= ttlMs),
    ).length;
  }
}

/** Returns true if an instance is ill that was too young to count: a process may be starting and dying in a loop. */
function hasYoungFallen(known: readonly Known[]): boolean {
  return known.some(({ item }) => !item.isSetAside && fallsOf(item).some(({ seasoned }) => !seasoned));
}
