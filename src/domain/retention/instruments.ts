import { declareCounters } from '../../base/telemetry.js';

/** The counters of garbage collection. */
export const COUNTERS = declareCounters({
  tombstones_collected: 'Tombstones deleted.',
});
