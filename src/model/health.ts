import { Health, HealthReason, ReportedState } from '../gen/rollcall/v1/instance.js';
import { CheckVerdict } from '../gen/rollcall/v1/check.js';
import { OverrideState } from '../gen/rollcall/v1/override.js';

/** The facts about an instance that decide its health. */
export interface HealthFacts {
  readonly silent: boolean;
  readonly reported: ReportedState;
  /** The state that an operator forces. */
  readonly override: OverrideState;
  /** The verdict on the checks. */
  readonly check: CheckVerdict;
}

/** The health that clients see, and its reason. */
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

const DISABLED: FoldedHealth = { health: Health.HEALTH_UNHEALTHY, reason: HealthReason.HEALTH_REASON_DISABLED };
const DRAINED: FoldedHealth = { health: Health.HEALTH_DRAINING, reason: HealthReason.HEALTH_REASON_DRAINED };
const CHECK_FAILED: FoldedHealth = { health: Health.HEALTH_UNHEALTHY, reason: HealthReason.HEALTH_REASON_CHECK_FAILED };
const CHECK_PENDING: FoldedHealth = {
  health: Health.HEALTH_UNHEALTHY,
  reason: HealthReason.HEALTH_REASON_CHECK_PENDING,
};
const CHECK_DEGRADED: FoldedHealth = {
  health: Health.HEALTH_DEGRADED,
  reason: HealthReason.HEALTH_REASON_CHECK_DEGRADED,
};

/**
 * Folds the facts into one health. An operator who disables outweighs silence, silence a check that failed, and that the
 * last report of the process. A process that reports itself unhealthy outweighs an operator who drains.
 */
export function foldHealth({ silent, reported, override, check }: HealthFacts): FoldedHealth {
  if (override === OverrideState.OVERRIDE_STATE_DISABLE) return DISABLED;
  if (silent) return SILENT;
  if (check === CheckVerdict.CHECK_VERDICT_FAILED) return CHECK_FAILED;
  if (check === CheckVerdict.CHECK_VERDICT_PENDING) return CHECK_PENDING;
  const ofProcess = REPORTED[reported];
  if (ofProcess.health === Health.HEALTH_UNHEALTHY) return ofProcess;
  if (override === OverrideState.OVERRIDE_STATE_DRAIN) return DRAINED;
  const isDegraded = check === CheckVerdict.CHECK_VERDICT_DEGRADED && ofProcess.health === Health.HEALTH_HEALTHY;
  return isDegraded ? CHECK_DEGRADED : ofProcess;
}

/** The states that Discover and watches show by default. */
export const VISIBLE_BY_DEFAULT: readonly Health[] = [Health.HEALTH_HEALTHY, Health.HEALTH_DEGRADED];
