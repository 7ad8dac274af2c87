import type { ProbeResult, ProbeTarget } from '../../model/probe.js';

/** Probes targets from this server. */
export interface Prober {
  /** Probes once, within the timeout of the check. Never rejects: a fault of this server is INCONCLUSIVE. */
  probe(target: ProbeTarget): Promise<ProbeResult>;
  /** Why a target is not probed, as far as that is known without resolving its name. `undefined` if nothing speaks against it. */
  refusal(target: ProbeTarget): string | undefined;
  /** Returns true if a probe of this target may begin now, and counts it: one address must not be flooded. */
  mayBegin(target: ProbeTarget): boolean;
  /** True if another probe may begin now. */
  hasRoom(): boolean;
  /** Why this server cannot probe anything now, such as without file descriptors. `undefined` if it can. */
  trouble(): string | undefined;
}
