import { declareAlarms, declareCounters } from '../../base/telemetry.js';

/** The counters of overrides. */
export const COUNTERS = declareCounters({
  overrides_set: 'Overrides that operators set.',
  overrides_cleared: 'Overrides that operators ended.',
  overrides_ended: 'Overrides that ended by themselves.',
});

/** The alarms of overrides. */
export const ALARMS = declareAlarms({
  OVERRIDE_OLD: 'An override without an end was set more than 7 days ago. Perhaps it was forgotten.',
});
