import { declareAlarms, declareCounters } from '../base/telemetry.js';

/** The counters of the stores. */
export const COUNTERS = declareCounters({
  watch_restarts: 'Watches of the store that ended and were resumed at another endpoint.',
  watch_repeats: 'Revisions that the store delivered again and that were dropped.',
});

/** The histograms of the stores. */
export const HISTOGRAMS = {
  group: {
    name: 'store_group_commits',
    help: 'Transactions that were written together, with one flush of the disk.',
    bounds: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
  },
};

/** The alarms of the stores. */
export const ALARMS = declareAlarms({
  STORE_UNAVAILABLE: 'The store does not answer. Reads continue from memory; writes are refused.',
  STORE_DENIED: 'The store refuses the user, the password or the rights of this server.',
  STORE_FULL: 'The store has no room left. Reads continue; writes are refused.',
});
