import type { Clock } from '../../base/clock.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { LivenessClock } from './liveness-clock.js';
import { GRACE_MS, type LivenessTable } from './liveness-table.js';
import { ALARMS, COUNTERS } from './instruments.js';
import type { PauseReason } from './pause-reason.js';

/**
 * A round without all answers is repeated within this time. If no round follows, there is no instance left to judge.
 */
const UNANSWERED_OVER_MS = 3_000;
/** Verdicts that are postponed for this long are an alarm. */
const POSTPONED_ALARM_MS = 120_000;

/** A cause for which silent instances are not judged now. Times are by the wall clock. */
export interface Postponement {
  readonly reason: PauseReason;
  readonly sinceMs: number;
  /** `undefined`: until the cause is gone. */
  readonly untilMs?: number;
}

/** The dependencies of Postponements. */
export interface PostponementsParts {
  readonly liveness: LivenessClock;
  readonly table: LivenessTable;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

/** Keeps the causes for which verdicts are postponed, and raises an alarm if that takes long. */
export class Postponements {
  /** The monotonic start of the rounds without all answers. `undefined`: the last round had them, or none was needed. */
  #unansweredSinceMs: number | undefined;
  #unansweredLastMs = -Infinity;

  constructor(private readonly parts: PostponementsParts) {}

  /** Notes that a round ended without all answers, so without a verdict. A member that seems gone is never left out. */
  unanswered(): void {
    this.#unansweredLastMs = this.parts.clock.now();
    this.#unansweredSinceMs ??= this.#unansweredLastMs;
    this.parts.telemetry.counters.add(COUNTERS.rounds_unanswered);
  }

  /** A round had all its answers. */
  answered(): void {
    this.#unansweredSinceMs = undefined;
  }

  /** The present causes. Empty if silent instances are judged. */
  list(): readonly Postponement[] {
    const { clock, liveness, table } = this.parts;
    const wallOf = (ms: number): number => clock.wall() - clock.now() + ms;
    const causes = new Map(liveness.pauses);
    if (this.#unansweredSinceMs !== undefined) causes.set('PEER_UNREACHABLE', this.#unansweredSinceMs);
    const postponements: Postponement[] = [...causes].map(([reason, sinceMs]) => ({
      reason,
      sinceMs: wallOf(sinceMs),
    }));
    const graceLeftMs = table.graceUntilMs - liveness.nowMs;
    // While the liveness clock is paused, the end of the grace is unknown.
    if (graceLeftMs > 0 && liveness.pauses.size === 0) {
      const untilMs = clock.wall() + graceLeftMs;
      postponements.push({ reason: 'GRACE', sinceMs: untilMs - GRACE_MS, untilMs });
    }
    return postponements;
  }

  /** Raises or clears the alarm. */
  check(): void {
    const { clock, liveness, telemetry } = this.parts;
    if (clock.now() - this.#unansweredLastMs > UNANSWERED_OVER_MS) this.#unansweredSinceMs = undefined;
    const unansweredMs = this.#unansweredSinceMs === undefined ? 0 : clock.now() - this.#unansweredSinceMs;
    if (Math.max(liveness.pausedForMs, unansweredMs) < POSTPONED_ALARM_MS)
      return telemetry.alarms.clear(ALARMS.VERDICTS_POSTPONED);
    const reasons = this.list().map(({ reason }) => reason);
    telemetry.alarms.raise(ALARMS.VERDICTS_POSTPONED, `silent instances are not judged: ${reasons.join(', ')}`);
  }
}
