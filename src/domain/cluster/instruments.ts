import { declareCounters } from '../../base/telemetry.js';

/** The counters of the membership. */
export const COUNTERS = declareCounters({
  memberships_lost: 'Memberships of this process that were lost.',
  disturbances: 'Disturbances: every TTL began again after the grace, because beats may have been lost.',
  canaries_missed: 'Rewrites that the watch of this member did not show, so that everything was listed again.',
});
