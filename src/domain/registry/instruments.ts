import { declareAlarms, declareCounters } from '../../base/telemetry.js';

/** The counters of the registry. */
export const COUNTERS = declareCounters({
  registers: 'Registrations that were committed.',
  deregisters: 'Deregistrations that were committed.',
  discovers: 'Discover calls answered.',
});

/** The alarms of the registry. */
export const ALARMS = declareAlarms({
  ID_CONTESTED:
    'An instance id changed its owner three times within a minute, each time from a process that was not silent.',
});
