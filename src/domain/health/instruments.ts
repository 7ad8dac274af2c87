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
  verdicts_unseasoned: 'Instances recorded as SILENT that do not count for protection: too young, hidden, or replaced.',
  protections_begun_alone: 'Protections that began because more than three instances of the service fell silent.',
  protections_begun_widespread: 'Protections that began because much of the registry, namespace or zone fell silent.',
  protections_ended_full: 'Protections that ended because as many instances were up as before.',
  protections_ended_half: 'Protections that ended because half as many instances had been up for long enough.',
  protections_ended_empty: 'Protections that ended because no member was left.',
  protections_ended_late: 'Protections that ended because they had lasted for the longest time.',
  protections_released: 'Protections that an operator ended.',
});

/** The alarms of verdicts and protection. */
export const ALARMS = declareAlarms({
  PROTECTION: 'Many instances of a service fell silent in one event. They are still shown, and not removed.',
  VERDICTS_POSTPONED: 'Silent instances have not been judged for more than 2 min.',
});
