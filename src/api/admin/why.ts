import type { Rights } from '../../access/rights.js';
import type { Replica } from '../../domain/replica.js';
import { reasonsFor } from '../../domain/why.js';
import { matcher } from '../../domain/registry/filter.js';
import {
  AdminServiceDefinition,
  type ListTransitionsRequest,
  type ListTransitionsResponse,
  type TransitionSource,
  type WhyRequest,
  WhyResponse,
} from '../../gen/rollcall/v1/admin_service.js';
import type { Transition } from '../../gen/rollcall/v1/transition.js';
import { RollcallError } from '../../model/errors.js';
import { instanceKey } from '../../model/instance.js';
import { LIMITS } from '../../model/limits.js';
import { INSTANCE_ID, SERVICE } from '../../model/names.js';
import { fromDuration, toDuration, toTimestamp } from '../../model/time.js';
import { encodePageToken, hashSelection } from '../../model/tokens.js';
import { Validator } from '../call/validator.js';
import { readFields } from '../call/reads.js';
import { EveryServer } from '../peer/every-server.js';
import type { LocalParts } from '../peer/local-parts.js';
import { validateFilter, validateSubset } from '../registry/validation.js';
import { validateScope, shownTo, toTransition } from './transitions.js';
import { encodeDiscover } from '../registry/codec.js';

/** The transitions of a Why that asks for no number. */
const LIMIT_DEFAULT = 50;
/** A revision in a page token. */
const REVISION = /^\d{1,16}$/;

/** Validates a Why and fills the defaults. */
export function validateWhy(request: WhyRequest): WhyRequest {
  const validator = new Validator();
  const namespace = validator.namespace(request.namespace);
  validator.name('service', request.service, SERVICE);
  validator.name('id', request.id, INSTANCE_ID);
  validator.runId('incarnation', request.incarnation);
  validateFilter(validator, request.filter);
  validateSubset(validator, request.subset);
  const limit = validator.range('limit', request.limit, 0, LIMITS.PAGE_SIZE.value) || LIMIT_DEFAULT;
  validator.done();
  return { ...request, namespace, limit };
}

/** A validated ListTransitions. */
export interface TransitionsQuery {
  readonly request: ListTransitionsRequest;
  readonly size: number;
  /** The page begins behind this revision; 0: at the newest. */
  readonly revision: number;
  readonly selection: string;
}

/** Validates a ListTransitions. */
export function validateListTransitions(request: ListTransitionsRequest): TransitionsQuery {
  const validator = new Validator();
  const { namespace, service, id } = request;
  validateScope(validator, request);
  const selection = hashSelection(['ListTransitions', namespace, service, id]);
  const { size, after } = validator.page(request, selection);
  const [revision = '0'] = after;
  if (!REVISION.test(revision)) validator.refuse('page_token', 'is not a next_page_token of this list');
  validator.done();
  return { request, size, revision: Number(revision), selection };
}

/** The grounds of what is shown, and the transitions that led there. */
export class Explanations {
  readonly #why: EveryServer<WhyRequest, WhyResponse>;
  readonly #transitions: EveryServer<ListTransitionsRequest, ListTransitionsResponse>;

  constructor(
    private readonly replica: Replica,
    localParts: LocalParts,
  ) {
    const { why, listTransitions } = AdminServiceDefinition.methods;
    this.#why = new EveryServer(replica, localParts, {
      service: AdminServiceDefinition,
      method: why,
      local: (request) => this.#localWhy(validateWhy(request)),
    });
    this.#transitions = new EveryServer(replica, localParts, {
      service: AdminServiceDefinition,
      method: listTransitions,
      local: (request) => this.#localPage(validateListTransitions(request)),
    });
  }

  async why(request: WhyRequest, rights: Rights): Promise<WhyResponse> {
    const { namespace, service, id, incarnation, filter, subset, limit } = request;
    const { catalog, freshness } = this.replica;
    catalog.assertReady();
    const { parts, unanswered } = await this.#why.ask(request);
    const heard = parts.flatMap(({ part }) => part.heard);
    const ttlMs = catalog.instances.get(namespace, service, id)?.ttlMs ?? 0;
    const { presence, instance, grounds, similar } = reasonsFor(this.replica, {
      ...{ namespace, service, id, incarnation, filter, subset },
      tooLarge: () => this.#isTooLarge(request),
      wasHeard: heard.some(({ age }) => age !== undefined && fromDuration(age) < ttlMs),
      sees: (of, scope) => rights.service('read', of, scope),
    });
    const transitions = merged(parts.flatMap(({ part }) => part.transitions)).slice(0, limit);
    return {
      ...{ presence, instance, grounds: [...grounds], similar: [...similar], heard, unanswered: [...unanswered] },
      transitions: transitions.flatMap((one) => shownTo(rights, one) ?? []),
      sources: parts.flatMap(({ part }) => part.sources),
      ...readFields(freshness.stamp()),
    };
  }

  /** One page of the transitions that a caller with these rights may see. */
  async list({ request, size, selection }: TransitionsQuery, rights: Rights): Promise<ListTransitionsResponse> {
    const { parts, unanswered } = await this.#transitions.ask(request);
    const all = merged(parts.flatMap(({ part }) => part.transitions));
    // A page ends between two revisions, so that its token names no object: the caller may not see the last one.
    const end = all.findIndex((one, i) => i >= size && one.revision !== all[i - 1]!.revision);
    const page = end < 0 ? all : all.slice(0, end);
    const hasMore = end >= 0 || parts.some(({ part }) => part.nextPageToken !== '');
    const last = page.at(-1);
    return {
      transitions: page.flatMap((one) => shownTo(rights, one) ?? []),
      nextPageToken: hasMore && last ? encodePageToken({ after: [String(last.revision)], selection }) : '',
      sources: parts.flatMap(({ part }) => part.sources),
      unanswered: [...unanswered],
    };
  }

  #localWhy({ namespace, service, id, limit }: WhyRequest): WhyResponse {
    const { history, table, node } = this.replica;
    const ageMs = table.ageMs(instanceKey(namespace, service, id));
    const entries = history.ring.ofInstance(namespace, service, id).slice(0, limit);
    return {
      ...WhyResponse.create(),
      heard: [{ node, age: ageMs === undefined ? undefined : toDuration(ageMs) }],
      transitions: entries.map(toTransition),
      sources: [this.#source({ namespace, service, id })],
    };
  }

  #localPage({ request, size, revision }: TransitionsQuery): ListTransitionsResponse {
    const { ring } = this.replica.history;
    const { namespace, service, id } = request;
    const found =
      id !== ''
        ? ring.ofInstance(namespace, service, id)
        : service !== ''
          ? ring.ofService(namespace, service)
          : ring.newest();
    const transitions: Transition[] = [];
    for (const entry of found) {
      if (namespace !== '' && entry.namespace !== namespace) continue;
      if (revision !== 0 && entry.revision >= revision) continue;
      if (transitions.length >= size && entry.revision !== Number(transitions.at(-1)!.revision))
        return { transitions, nextPageToken: 'more', sources: [this.#source()], unanswered: [] };
      transitions.push(toTransition(entry));
    }
    return { transitions, nextPageToken: '', sources: [this.#source()], unanswered: [] };
  }

  #source(names?: { readonly namespace: string; readonly service: string; readonly id: string }): TransitionSource {
    const { history, node } = this.replica;
    const { revision, timeMs } = history.completeSince(names);
    return {
      node,
      completeSinceRevision: BigInt(revision),
      completeSince: timeMs === 0 ? undefined : toTimestamp(timeMs),
    };
  }

  #isTooLarge({ namespace, service, filter, subset }: WhyRequest): boolean {
    const { discovery, freshness } = this.replica;
    try {
      encodeDiscover(discovery.discover(namespace, service, matcher(filter), subset), freshness.stamp());
      return false;
    } catch (error) {
      if (error instanceof RollcallError && error.reason === 'ANSWER_TOO_LARGE') return true;
      throw error;
    }
  }
}

/** The names of the subject of a transition: of a revision, with the kind they are unique. */
const keyOf = ({ namespace, service, id, node, kind }: Transition): string =>
  [namespace, service, id, node, kind].join('/');

/** The transitions of several servers, each once, newest first. */
function merged(all: readonly Transition[]): Transition[] {
  const unique = new Map(all.map((one) => [`${one.revision} ${keyOf(one)}`, one]));
  return [...unique.values()].sort(
    (a, b) => Number(b.revision - a.revision) || (keyOf(a) < keyOf(b) ? -1 : keyOf(a) > keyOf(b) ? 1 : 0),
  );
}
