import { declareAlarms, declareCounters } from '../base/telemetry.js';

/** The counters of the audit. */
export const COUNTERS = declareCounters({
  audit_events: 'Events of the audit.',
  audit_lines_lost: 'Lines of the audit that could not be written to their file.',
});

/** The alarms of the audit. */
export const ALARMS = declareAlarms({
  AUDIT_LOST: 'Lines of the audit cannot be written to their file.',
});
