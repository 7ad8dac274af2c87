import { Health, HealthReason, ReportedState } from '../gen/rollcall/v1/instance.js';

/** What is known of an instance that decides its health. */
export interface HealthFacts {
  readonly silent: boolean;
  readonly reported: ReportedState;
}

/** What clients should make of an instance, and why. */
export interface FoldedHealth {
  readonly health: Health;
  readonly reason: HealthReason;
}

const REPORTED: Record<ReportedState, FoldedHealth> = {
  [ReportedState.REPORTED_STATE_UNSPECIFIED]: {
    health: Health.HEALTH_HEALTHY,
    reason: HealthReason.HEALTH_REASON_UNSPECIFIED,
  },
  [ReportedState.REPORTED_STATE_HEALTHY]: {
    health: Health.HEALTH_HEALTHY,
    reason: HealthReason.HEALTH_REASON_UNSPECIFIED,
  },
  [ReportedState.REPORTED_STATE_STARTING]: {
    health: Health.HEALTH_UNHEALTHY,
    reason: HealthReason.HEALTH_REASON_REPORTED,
  },
  [ReportedState.REPORTED_STATE_DEGRADED]: {
    health: Health.HEALTH_DEGRADED,
    reason: HealthReason.HEALTH_REASON_REPORTED,
  },
  [ReportedState.REPORTED_STATE_UNHEALTHY]: {
    health: Health.HEALTH_UNHEALTHY,
    reason: HealthReason.HEALTH_REASON_REPORTED,
  },
  [ReportedState.REPORTED_STATE_DRAINING]: {
    health: Health.HEALTH_DRAINING,
    reason: HealthReason.HEALTH_REASON_REPORTED,
  },
};
const SILENT: FoldedHealth = { health: Health.HEALTH_UNHEALTHY, reason: HealthReason.HEALTH_REASON_SILENT };

/** Folds the facts into one health: silence outweighs what the process last said of itself. */
export function foldHealth(facts: HealthFacts): FoldedHealth {
  return facts.silent ? SILENT : REPORTED[facts.reported];
}

/**
 * True: it is UNHEALTHY in a way that may be a fault of whoever looked, so that protection counts and shows it. What
 * says of itself that it is starting has never been well: a service must not become protected by being deployed.
 */
export function isAiling(facts: HealthFacts): boolean {
  const starting = !facts.silent && facts.reported === ReportedState.REPORTED_STATE_STARTING;
  return foldHealth(facts).health === Health.HEALTH_UNHEALTHY && !starting;
}

/** The states that Discover and watches show unless they are asked for others. */
export const VISIBLE_BY_DEFAULT: readonly Health[] = [Health.HEALTH_HEALTHY, Health.HEALTH_DEGRADED];
