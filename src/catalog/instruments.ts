import { SECONDS_BOUNDS } from '../base/metrics.js';
import { declareAlarms, declareCounters } from '../base/telemetry.js';

/** The counters of the catalog. */
export const COUNTERS = declareCounters({
  commits: 'Transactions committed by the store.',
  commits_refused: 'Transactions refused by the store because a compare failed.',
  commits_failed: 'Transactions that failed.',
  relists: 'Listings of the whole store.',
  rollbacks: 'Changes of the history of the store, such as by a restore.',
  catalog_comparisons: 'Comparisons of the catalog with the store.',
  catalog_differences: 'Keys that differed between the catalog and the store, because events were lost.',
  bad_records: 'Stored records that could not be read.',
  unknown_keys:
    'Stored records of kinds that this version does not know, each counted when it is seen. They are left alone.',
  foreign_deletes: 'Stored records that were deleted by something other than Rollcall.',
});

/** The histograms of the catalog. */
export const HISTOGRAMS = {
  commit: {
    name: 'store_commit_duration_seconds',
    help: 'Time until the store answered a transaction, or a group of them that was sent together.',
    bounds: SECONDS_BOUNDS,
  },
};

/** The alarms of the catalog. */
export const ALARMS = declareAlarms({
  BAD_RECORD: 'The store holds a record that cannot be read. The record is left out.',
  FOREIGN_DELETE: 'Something other than Rollcall deleted a record. The record stays in memory and gets written back.',
});
