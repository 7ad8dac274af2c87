import { declareCounters } from '../../base/telemetry.js';

/** The counters of the registry. */
export const COUNTERS = declareCounters({
  registers: 'Registrations that were committed.',
  deregisters: 'Deregistrations that were committed.',
  discovers: 'Discover calls answered.',
});
