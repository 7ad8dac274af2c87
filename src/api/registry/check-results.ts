import type { Replica } from '../../domain/replica.js';
import type { CheckResult, CheckStatus, CheckSummary } from '../../gen/rollcall/v1/check.js';
import {
  type GetCheckResultsRequest,
  type GetCheckResultsResponse,
  RegistryServiceDefinition,
} from '../../gen/rollcall/v1/registry_service.js';
import { ActorKind } from '../../gen/rollcall/v1/cause.js';
import { withoutNames } from '../../model/actor.js';
import { type InstanceItem, instanceKey, isLive } from '../../model/instance.js';
import { toDuration, toTimestamp } from '../../model/time.js';
import type { TimedResult } from '../../domain/checks/check-state.js';
import { EveryServer } from '../peer/every-server.js';
import type { LocalParts } from '../peer/local-parts.js';
import { validateGetCheckResults } from './check-call-validation.js';

/** Names one instance. */
interface Names {
  readonly namespace: string;
  readonly service: string;
  readonly id: string;
}

/** The verdicts on checks, with the probes behind them, which only the server that makes them has. */
export class CheckResults {
  readonly #every: EveryServer<GetCheckResultsRequest, GetCheckResultsResponse>;

  constructor(
    private readonly replica: Replica,
    localParts: LocalParts,
  ) {
    this.#every = new EveryServer(replica, localParts, {
      service: RegistryServiceDefinition,
      method: RegistryServiceDefinition.methods.getCheckResults,
      local: (request) => ({ summary: undefined, checks: this.#local(validateGetCheckResults(request).names) }),
    });
  }

  /** Returns true if an instance has checks. */
  has(names: Names): boolean {
    return this.#item(names) !== undefined;
  }

  /** The verdict and the checks of an instance, each with its newest results. */
  async of(names: Names, mayKnowWho: boolean, resultsMax = Infinity): Promise<GetCheckResultsResponse> {
    const item = this.#item(names);
    if (!item) return { summary: undefined, checks: [] };
    const own = this.#local(names);
    const parts = own.length > 0 ? [{ part: { checks: own } }] : (await this.#every.ask(names)).parts;
    const probed = parts.flatMap(({ part }) => part.checks);
    const { definitions, ofService } = item.checks;
    return {
      summary: summaryOf(item, mayKnowWho),
      checks: definitions.map((check) => {
        const found = probed.find((one) => one.check!.name === check.name);
        const none = { node: '', results: [], failedInRow: 0, passedInRow: 0, nextIn: undefined, note: '' };
        return { ...(found ?? none), check, ofService, results: (found?.results ?? []).slice(0, resultsMax) };
      }),
    };
  }

  #item({ namespace, service, id }: Names): InstanceItem | undefined {
    const item = this.replica.catalog.instances.get(namespace, service, id);
    return item && isLive(item) && item.checks.definitions.length > 0 ? item : undefined;
  }

  /** The checks that this server probes. */
  #local({ namespace, service, id }: Names): CheckStatus[] {
    const { checker, node } = this.replica;
    const tracked = checker.mine(instanceKey(namespace, service, id));
    if (!tracked) return [];
    const note = checker.noteOn(tracked);
    return tracked.states.map((state) => {
      const nextInMs = checker.nextInMs(state);
      return {
        ...{ check: state.check, ofService: tracked.item.checks.ofService, node },
        results: state.results.map(toResult),
        ...{ failedInRow: state.fails, passedInRow: state.passes },
        nextIn: nextInMs === undefined ? undefined : toDuration(nextInMs),
        note,
      };
    });
  }
}

const toResult = ({ wallMs, outcome, latencyMs, error }: TimedResult): CheckResult => ({
  time: toTimestamp(wallMs),
  outcome,
  latency: toDuration(latencyMs),
  error,
});

function summaryOf({ checks: { verdict, item } }: InstanceItem, mayKnowWho: boolean): CheckSummary {
  const { check = '', error = '', time, cause, actor, comment = '' } = item?.record ?? {};
  const isReleased = actor?.kind === ActorKind.ACTOR_KIND_OPERATOR;
  return {
    ...{ verdict, check, error, time, cause, revision: item?.revision ?? 0n },
    releaseComment: comment,
    releasedBy: isReleased ? (mayKnowWho ? actor : withoutNames(actor)) : undefined,
  };
}
