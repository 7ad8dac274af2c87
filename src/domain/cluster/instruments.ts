import { SECONDS_BOUNDS } from '../../base/metrics.js';
import { declareAlarms, declareCounters, type Histogram } from '../../base/telemetry.js';

/** The counters of the membership. */
export const COUNTERS = declareCounters({
  memberships_lost: 'Memberships of this process that were lost.',
  disturbances: 'Disturbances: every TTL began again after the grace, because beats may have been lost.',
  canaries_missed: 'Rewrites that the watch of this member did not show, so that everything was listed again.',
});

const propagation = (place: string): Histogram => ({
  name: 'propagation_seconds',
  labels: { place },
  help: 'Time from the commit of a rewrite of this member until its own catalog, its watches and its peers have it. Only on etcd.',
  bounds: SECONDS_BOUNDS,
});

/** The histograms of the membership. */
export const HISTOGRAMS = {
  catalog: propagation('catalog'),
  watch: propagation('watch'),
  peer: propagation('peer'),
};

/** The alarms of the membership. */
export const ALARMS = declareAlarms({
  ACCESS_DIFFERS: 'The servers of the cluster have had different access files for more than 60 s.',
  MEMBER_LOST: 'A server left the cluster without a clean departure, and its node is not back.',
});
