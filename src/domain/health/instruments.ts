import { declareAlarms, declareCounters } from '../../base/telemetry.js';

/** The counters of heartbeats, verdicts and protection. */
export const COUNTERS = declareCounters({
  heartbeats: 'Heartbeat items received.',
  heartbeats_rejected: 'Heartbeat items answered with a rejection.',
  heals: 'Records that a heartbeat changed: a silent instance was heard, or its report changed.',
  touches: 'Heartbeats that needed a commit because a verdict was in progress.',
  verdicts: 'Instances recorded as SILENT.',
  verdicts_refused: 'Verdicts and removals that the store refused because a record had changed.',
  rounds_unanswered: 'Rounds without a verdict because a member did not answer, or this process was not a member.',
  expiries: 'Instances removed because they stayed SILENT.',
  removals_held: 'Removals delayed by protection or by the removal limit.',
  protections_entered: 'Protections that began.',
  protections_released: 'Protections that ended, by themselves or by an operator.',
});

/** The alarms of verdicts and protection. */
export const ALARMS = declareAlarms({
  PROTECTION: 'Most instances of a service are UNHEALTHY at once. They are still shown, and not removed.',
  VERDICTS_POSTPONED: 'Silent instances have not been judged for more than 2 min.',
});
