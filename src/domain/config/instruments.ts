import { declareCounters } from '../../base/telemetry.js';

/** The counters of configs. */
export const COUNTERS = declareCounters({
  publishes: 'Configs published, deleted or rolled back.',
  inspections_refused: 'Publishes that were refused because too many others were being parsed.',
  inspections_given_up: 'Publishes that were refused because parsing them took too much time or memory.',
});
