import type { Prober } from '../../src/domain/checks/prober.js';
import { ProbeOutcome } from '../../src/gen/rollcall/v1/check.js';
import type { ProbeResult, ProbeTarget } from '../../src/model/probe.js';

/** What a target answers to a probe. */
export type TargetState = 'pass' | 'fail' | 'degraded' | 'inconclusive' | 'denied' | 'hang';

const OUTCOMES: Record<Exclude<TargetState, 'hang'>, ProbeOutcome> = {
  pass: ProbeOutcome.PROBE_OUTCOME_PASS,
  fail: ProbeOutcome.PROBE_OUTCOME_FAIL,
  degraded: ProbeOutcome.PROBE_OUTCOME_DEGRADED,
  inconclusive: ProbeOutcome.PROBE_OUTCOME_INCONCLUSIVE,
  denied: ProbeOutcome.PROBE_OUTCOME_DENIED,
};

/** Targets that answer as a test says, and the prober that sees them. */
export class Targets implements Prober {
  /** The state of each target, by address. Those that are not named pass. */
  readonly states = new Map<string, TargetState>();
  /** The addresses that were probed, in order. */
  readonly probed: string[] = [];
  /** The addresses of which no further probe may begin now. */
  readonly busy = new Set<string>();
  room = Infinity;
  ours: string | undefined;
  open = 0;

  probe({ address }: ProbeTarget): Promise<ProbeResult> {
    this.probed.push(address);
    const state = this.states.get(address) ?? 'pass';
    this.open++;
    if (state === 'hang') return new Promise(() => undefined);
    this.open--;
    const error = state === 'pass' ? '' : state === 'fail' ? 'ECONNREFUSED' : state;
    return Promise.resolve({ outcome: OUTCOMES[state], latencyMs: 1, error });
  }

  refusal(): undefined {
    return undefined;
  }

  mayBegin({ address }: ProbeTarget): boolean {
    return !this.busy.has(address);
  }

  hasRoom(): boolean {
    return this.open < this.room;
  }

  trouble(): string | undefined {
    return this.ours;
  }
}
