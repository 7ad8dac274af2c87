import { SECONDS_BOUNDS } from '../../base/metrics.js';
import { declareAlarms, declareCounters, type Histogram } from '../../base/telemetry.js';

/** The counters of checks. */
export const COUNTERS = declareCounters({
  probes_passed: 'Probes of checks that passed, with or without a limitation.',
  probes_failed: 'Probes of checks that failed.',
  probes_inconclusive: 'Probes of checks that said nothing about the target: a fault or a setting of this server.',
  check_rounds: 'Questions to the other servers about a check that fails here.',
  checks_vetoed: 'Checks that failed here and passed at another server.',
  check_verdicts: 'Verdicts on checks that this server recorded.',
  check_verdicts_refused: 'Verdicts on checks that came too late: the record had changed.',
  check_removals: 'Instances that were removed because a check failed for longer than its deregister_after.',
});

/** The kinds of checks. */
export type CheckKind = 'tcp' | 'http' | 'https' | 'grpc';

const durations = (kind: CheckKind, outcome: 'pass' | 'fail'): Histogram => ({
  name: 'check_probe_duration_seconds',
  labels: { kind, outcome },
  help: 'Time of probes of health checks that passed, with or without a limitation, and of those that failed.',
  bounds: SECONDS_BOUNDS,
});

/** The histograms of checks, by kind. */
export const HISTOGRAMS: Readonly<Record<CheckKind, { readonly pass: Histogram; readonly fail: Histogram }>> = {
  tcp: { pass: durations('tcp', 'pass'), fail: durations('tcp', 'fail') },
  http: { pass: durations('http', 'pass'), fail: durations('http', 'fail') },
  https: { pass: durations('https', 'pass'), fail: durations('https', 'fail') },
  grpc: { pass: durations('grpc', 'pass'), fail: durations('grpc', 'fail') },
};

/** The alarms of checks. */
export const ALARMS = declareAlarms({
  CHECKS_HELD:
    'More than 30 % of the checks of a server that probes alone fail at once, and more than 3. It records no failure.',
  CHECKS_DISAGREE:
    'A check fails at this server and passes at the one that the alarm names, for 5 min. The instance counts as passing.',
  PROBER_BEHIND: 'Checks wait for more than half of their interval. Verdicts come later, and are not wrong.',
  CHECKS_INCONCLUSIVE:
    'This server cannot probe: no file descriptors, no network, a resolver that does not answer. Verdicts stay as they are.',
  CHECK_TARGETS_DENIED:
    'Settings of this server forbid to probe the target of a check. Such an instance stays pending.',
});
