import type { Clock } from '../../base/clock.js';
import type { Catalog } from '../../catalog/catalog.js';
import { ProbeOutcome } from '../../gen/rollcall/v1/check.js';
import { statesOf } from './check-state.js';
import type { ProbeQuery, ProbeResult } from '../../model/probe.js';
import type { Prober } from './prober.js';

/** The most probes that other servers may ask for within a second. */
const ASKED_MAX = 500;
const ASKED_WINDOW_MS = 1_000;

/** The dependencies of ProbeAnswers. */
export interface ProbeAnswersParts {
  readonly catalog: Catalog;
  /** `undefined`: this server does not probe. */
  readonly prober: Prober | undefined;
  readonly clock: Clock;
}

/**
 * Answers the questions of the other members, each after a probe of its own. The definition comes from the catalog of this
 * server, never from the one that asks.
 */
export class ProbeAnswers {
  #windowEndsMs = 0;
  #asked = 0;

  constructor(private readonly parts: ProbeAnswersParts) {}

  answer(queries: readonly ProbeQuery[]): Promise<ProbeResult[]> {
    return Promise.all(queries.map((query) => this.#answerOne(query)));
  }

  #answerOne({ namespace, service, id, incarnation, check, fingerprint }: ProbeQuery): Promise<ProbeResult> {
    const { catalog, prober } = this.parts;
    const item = catalog.instances.get(namespace, service, id);
    const state = item && statesOf(item).find((one) => one.check.name === check && one.fingerprint === fingerprint);
    if (!state || item.record.instance!.incarnation !== incarnation) return inconclusive('CHANGED');
    if (!prober) return inconclusive('checks are off');
    if (!prober.hasRoom() || !this.#mayAsk()) return inconclusive('BUSY');
    return prober.probe(state.target);
  }

  #mayAsk(): boolean {
    const nowMs = this.parts.clock.now();
    if (nowMs >= this.#windowEndsMs) {
      this.#windowEndsMs = nowMs + ASKED_WINDOW_MS;
      this.#asked = 0;
    }
    return ++this.#asked <= ASKED_MAX;
  }
}

function inconclusive(error: string): Promise<ProbeResult> {
  return Promise.resolve({ outcome: ProbeOutcome.PROBE_OUTCOME_INCONCLUSIVE, latencyMs: 0, error });
}
