import type { CounterBoard } from '../../base/telemetry.js';
import { COUNTERS } from './instruments.js';
import type { LivenessClock } from './liveness-clock.js';
import type { LivenessEntry } from './liveness-table.js';
import { type ProtectionTimes, seasonMs } from './protection-times.js';
import type { Successors } from './successors.js';

/** The dependencies of Seasoning. */
export interface SeasoningParts {
  readonly liveness: LivenessClock;
  readonly successors: Successors;
  readonly protectionTimes: ProtectionTimes;
  readonly counters: CounterBoard;
}

/** Decides whether the fall of an instance counts as that of a member of its service. A verdict records it. */
export class Seasoning {
  constructor(private readonly parts: SeasoningParts) {}

  /** Returns true if it had been registered for its season, it was shown, and no successor has its address. */
  isSeasoned(entry: LivenessEntry): boolean {
    const { liveness, successors, protectionTimes, counters } = this.parts;
    const { ttlMs, isUp } = entry.item;
    const registeredMs = liveness.nowMs - entry.runBeganMs;
    const seasoned = registeredMs >= seasonMs(protectionTimes, ttlMs) && isUp && !successors.standsFor(entry);
    if (!seasoned) counters.add(COUNTERS.verdicts_unseasoned);
    return seasoned;
  }
}
