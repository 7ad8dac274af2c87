import { type HealthCheck, ProbeOutcome } from '../gen/rollcall/v1/check.js';
import type { InstanceItem } from './instance.js';

/** The target of a probe: an endpoint of an instance, as its record has it. */
export interface ProbeTarget {
  /** An IP address or a host name. */
  readonly address: string;
  readonly port: number;
  /** The address from which the instance registered. Empty if that is not known. */
  readonly registrant: string;
  /** The check, with its defaults filled. */
  readonly check: HealthCheck;
}

/** The result of a probe. */
export interface ProbeResult {
  readonly outcome: ProbeOutcome;
  /** How long it took, in milliseconds. */
  readonly latencyMs: number;
  /** Why it did not pass: a code or a number of our own. It never holds text of the target. */
  readonly error: string;
  /** When the certificate of the target ends, in milliseconds of the wall clock. Absent: it showed none. */
  readonly certificateEndsMs?: number | undefined;
}

/** Returns true if the target answered as expected, with a limitation or without. */
export function isPass({ outcome }: Pick<ProbeResult, 'outcome'>): boolean {
  return outcome === ProbeOutcome.PROBE_OUTCOME_PASS || outcome === ProbeOutcome.PROBE_OUTCOME_DEGRADED;
}

/** A question to a member: does this check of this instance pass from where it is? */
export interface ProbeQuery {
  readonly namespace: string;
  readonly service: string;
  readonly id: string;
  readonly incarnation: string;
  /** The name of the check. */
  readonly check: string;
  /** Names the definition and the place of the check. */
  readonly fingerprint: string;
}

/** The place that a check probes. `undefined` if a check of the service names an endpoint that the instance does not have. */
export function targetOf({ instance, record }: InstanceItem, check: HealthCheck): ProbeTarget | undefined {
  const { address, port, endpoints } = instance;
  const registrant = record.registeredBy?.address ?? '';
  if (check.endpoint === '') return port === 0 ? undefined : { address, port, registrant, check };
  const endpoint = endpoints.find(({ name }) => name === check.endpoint);
  return endpoint && { address: endpoint.address || address, port: endpoint.port, registrant, check };
}
