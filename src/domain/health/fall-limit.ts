import type { Catalog } from '../../catalog/catalog.js';
import { recordedProtection } from '../../catalog/kinds.js';
import { CheckVerdict } from '../../gen/rollcall/v1/check.js';
import { canFall, type InstanceItem } from '../../model/instance.js';
import type { LivenessClock } from './liveness-clock.js';
import type { LivenessTable } from './liveness-table.js';

/**
 * The time in which members see one another's verdicts, and a protection that is due begins. Failures of checks that were
 * recorded within it count as falls of one moment. Two seconds: a busy member is seldom further behind, and the failures
 * of a service that is not protected need not wait long for each other.
 */
const SETTLE_MS = 2_000;

/** The dependencies of a FallLimit. */
export interface FallLimitParts {
  readonly catalog: Catalog;
  readonly table: LivenessTable;
  readonly liveness: Pick<LivenessClock, 'nowMs'>;
  /** The name of the node of this server. */
  readonly node: string;
}

/** How many instances of a service may fall at once, and how many fell a moment ago. */
interface Room {
  readonly limit: number;
  /** The failures of checks that members recorded within SETTLE_MS. */
  readonly recent: number;
  /** Those of them that this member recorded. */
  readonly own: number;
}

/**
 * Limits the verdicts that one service gets at once, to as many as leave fewer than half of its instances up. That is
 * where a protection begins. The rest are recorded afterwards, and a protection shows them: so no view of the service is
 * ever empty because many instances fell ill in the same moment.
 *
 * A service that is not protected then loses the others a moment later.
 */
export class FallLimit {
  /** The verdicts that are on their way, by service. */
  readonly #falling = new Map<string, number>();

  constructor(private readonly parts: FallLimitParts) {}

  /**
   * Chooses those cases whose verdicts may be recorded now. Call `done` with them when their outcome is visible. `partOf`: the
   * part of the limit that this member has, if others record falls of the same service too. It may not see theirs at once,
   * so its own count against its part until they do.
   */
  choose<C extends { readonly item: InstanceItem }>(
    cases: readonly C[],
    partOf?: (limit: number, one: C) => number,
  ): readonly C[] {
    const rooms = new Map<string, Room>();
    return cases.filter((one) => {
      const { item } = one;
      if (!item.isUp) return true; // it is left out of the default view already
      const key = serviceOf(item);
      let room = rooms.get(key);
      if (!room) rooms.set(key, (room = this.#roomOf(item, partOf ? SETTLE_MS : 0)));
      const limit = partOf ? Math.min(partOf(room.limit, one) - room.own, room.limit - room.recent) : room.limit;
      const falling = this.#falling.get(key) ?? 0;
      if (falling >= limit) return false;
      this.#falling.set(key, falling + 1);
      return true;
    });
  }

  /** Notes that the outcome of chosen cases is visible, or that they came to nothing. */
  done(chosen: readonly { readonly item: InstanceItem }[]): void {
    for (const { item } of chosen) {
      if (!item.isUp) continue;
      const key = serviceOf(item);
      const left = (this.#falling.get(key) ?? 0) - 1;
      if (left > 0) this.#falling.set(key, left);
      else this.#falling.delete(key);
    }
  }

  /** As many may fall as leave fewer than half of those that are up, or were before the falls of the last `settleMs`. */
  #roomOf({ namespace, scope: name }: InstanceItem, settleMs: number): Room {
    const { catalog, table, liveness, node } = this.parts;
    const scope = catalog.instances.scope(namespace, name);
    if (!scope || recordedProtection(scope)?.record.active) return UNLIMITED;
    const sinceMs = liveness.nowMs - settleMs;
    let [up, recent, own] = [0, 0, 0];
    for (const item of scope.live()) {
      if (!canFall(item)) continue;
      if (item.isUp) up++;
      else if (settleMs > 0 && failedSince(item, table, sinceMs)) {
        recent++;
        if (item.checks.item?.record.cause?.decidedBy === node) own++;
      }
    }
    return { limit: Math.floor((up + recent) / 2) + 1, recent, own };
  }
}

const UNLIMITED: Room = { limit: Infinity, recent: 0, own: 0 };

/** Returns true if a check of an instance was recorded as failed, and this process saw that after a time. */
function failedSince(item: InstanceItem, table: LivenessTable, sinceMs: number): boolean {
  const entry = table.entry(item.key);
  if (!entry || entry.foundFailed || entry.failedMs <= sinceMs) return false;
  return item.checks.verdict === CheckVerdict.CHECK_VERDICT_FAILED;
}

const serviceOf = ({ namespace, scope }: InstanceItem): string => `${namespace}/${scope}`;
