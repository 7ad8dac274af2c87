import { declareCounters } from '../../base/telemetry.js';

/** The counters of configs. */
export const COUNTERS = declareCounters({
  publishes: 'Configs published, deleted or rolled back.',
});
