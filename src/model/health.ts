import { Health, HealthReason, ReportedState } from '../gen/rollcall/v1/instance.js';
import { OverrideState } from '../gen/rollcall/v1/override.js';

/** The facts about an instance that decide its health. */
export interface HealthFacts {
  readonly silent: boolean;
  readonly reported: ReportedState;
  /** The state that an operator forces. */
  readonly override: OverrideState;
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

/**
 * Folds the facts into one health. An operator who disables outweighs silence, silence the last report of the process, and
 * a process that reports itself unhealthy an operator who drains.
 */
export function foldHealth({ silent, reported, override }: HealthFacts): FoldedHealth {
  if (override === OverrideState.OVERRIDE_STATE_DISABLE) return DISABLED;
  if (silent) return SILENT;
  const ofProcess = REPORTED[reported];
  const isDrained = override === OverrideState.OVERRIDE_STATE_DRAIN && ofProcess.health !== Health.HEALTH_UNHEALTHY;
  return isDrained ? DRAINED : ofProcess;
}

/** The states that Discover and watches show by default. */
export const VISIBLE_BY_DEFAULT: readonly Health[] = [Health.HEALTH_HEALTHY, Health.HEALTH_DEGRADED];
