import type { Rights } from '../../access/rights.js';
import type { Clock } from '../../base/clock.js';
import type { Replica } from '../../domain/replica.js';
import {
  AdminServiceDefinition,
  type InstanceLiveness,
  type ListLivenessRequest,
  type ListLivenessResponse,
} from '../../gen/rollcall/v1/admin_service.js';
import { matcher } from '../../domain/registry/filter.js';
import { toDuration } from '../../model/time.js';
import { encodePageToken, hashSelection } from '../../model/tokens.js';
import { Validator } from '../call/validator.js';
import { EveryServer } from '../peer/every-server.js';
import type { LocalParts } from '../peer/local-parts.js';
import { validateScope } from './transitions.js';
import { instanceKey } from '../../model/instance.js';

/** An answer is shared for this long. */
const SHARED_MS = 1_000;
/** The most answers that are kept for it. */
const SHARED_MAX = 100;

/** A validated ListLiveness. */
export interface LivenessQuery {
  readonly request: ListLivenessRequest;
  readonly size: number;
  /** The names behind which the page begins. */
  readonly after: readonly [string, string, string] | undefined;
  readonly selection: string;
}

/** Validates a ListLiveness. */
export function validateListLiveness(request: ListLivenessRequest): LivenessQuery {
  const validator = new Validator();
  const { namespace, service } = request;
  validateScope(validator, { namespace, service, id: '' });
  const selection = hashSelection(['ListLiveness', namespace, service]);
  const { size, after } = validator.page(request, selection);
  if (after.length > 0 && after.length !== 3) validator.refuse('page_token', 'is not a next_page_token of this list');
  validator.done();
  return { request, size, after: after.length === 3 ? (after as [string, string, string]) : undefined, selection };
}

/** The ages of the last heartbeats, over all servers. */
export class LivenessLists {
  readonly #every: EveryServer<ListLivenessRequest, ListLivenessResponse>;
  readonly #shared = new Map<string, { readonly atMs: number; readonly answer: Promise<ListLivenessResponse> }>();

  constructor(
    private readonly replica: Replica,
    private readonly clock: Clock,
    localParts: LocalParts,
  ) {
    this.#every = new EveryServer(replica, localParts, {
      service: AdminServiceDefinition,
      method: AdminServiceDefinition.methods.listLiveness,
      local: (request) => this.#local(validateListLiveness(request), () => true),
    });
  }

  /** One page, of the services that a caller with these rights may read. */
  async list(query: LivenessQuery, rights: Rights): Promise<ListLivenessResponse> {
    const own = this.#local(query, (namespace, service) => rights.service('read', namespace, service));
    const { instances, unanswered } = await this.#ofAll(query.request);
    const heard = new Map(instances.map((one) => [nameOf(one), one.heard]));
    return {
      ...own,
      instances: own.instances.map((one) => ({ ...one, heard: heard.get(nameOf(one)) ?? one.heard })),
      unanswered,
    };
  }

  /** The page of all servers, merged: one answer for all who ask within SHARED_MS. */
  #ofAll(request: ListLivenessRequest): Promise<ListLivenessResponse> {
    const now = this.clock.now();
    const key = JSON.stringify(request);
    const known = this.#shared.get(key);
    if (known && now - known.atMs < SHARED_MS) return known.answer;
    if (this.#shared.size >= SHARED_MAX) this.#shared.clear();
    const answer = this.#ask(request);
    this.#shared.set(key, { atMs: now, answer });
    return answer;
  }

  async #ask(request: ListLivenessRequest): Promise<ListLivenessResponse> {
    const { parts, unanswered } = await this.#every.ask(request);
    const merged = new Map<string, InstanceLiveness>();
    for (const { part } of parts)
      for (const one of part.instances) {
        const known = merged.get(nameOf(one));
        merged.set(nameOf(one), known ? { ...known, heard: [...known.heard, ...one.heard] } : one);
      }
    return { instances: [...merged.values()], nextPageToken: '', unanswered: [...unanswered] };
  }

  #local(
    { request, size, after, selection }: LivenessQuery,
    sees: (namespace: string, service: string) => boolean,
  ): ListLivenessResponse {
    const { lookup, table, node } = this.replica;
    const { namespace, service } = request;
    const { instances, next } = lookup.find(
      {
        namespace: namespace || undefined,
        service: service || undefined,
        ...{ address: '', filter: matcher(undefined), healthStates: new Set(), size, after },
      },
      sees,
    );
    return {
      instances: instances.map(({ namespace: of, service: scope, id, incarnation }) => {
        const ageMs = table.ageMs(instanceKey(of, scope, id));
        const age = ageMs === undefined ? undefined : toDuration(ageMs);
        return { namespace: of, service: scope, id, incarnation, heard: [{ node, age }] };
      }),
      nextPageToken: next ? encodePageToken({ after: next.map((name) => name ?? ''), selection }) : '',
      unanswered: [],
    };
  }
}

const nameOf = ({ namespace, service, id }: InstanceLiveness): string => `${namespace}/${service}/${id}`;
