import type { Rights } from '../../access/rights.js';
import { CONFIG } from '../../catalog/kinds.js';
import type { Replica } from '../../domain/replica.js';
import {
  AdminServiceDefinition,
  type GetDeliveryRequest,
  type GetDeliveryResponse,
  type ListWatchersRequest,
  type ListWatchersResponse,
  type ServerDelivery,
  type Watcher,
} from '../../gen/rollcall/v1/admin_service.js';
import { CONFIG_KEY, GROUP, SERVICE } from '../../model/names.js';
import { toDuration, toTimestamp } from '../../model/time.js';
import { encodePageToken, hashSelection } from '../../model/tokens.js';
import { Validator } from '../call/validator.js';
import { EveryServer } from '../peer/every-server.js';
import type { LocalParts } from '../peer/local-parts.js';
import type { WatchHub } from '../watch/hub.js';
import type { WatchStream } from '../watch/stream.js';

/** The most watches that GetDelivery names for each server. */
const WAITING_MAX = 100;
/** A place in the list: the number of watches of one server that came before, and the node of the server. */
const PLACE = /^\d{1,9}$/;

/** A validated ListWatchers. */
export interface WatchersQuery {
  readonly request: ListWatchersRequest;
  readonly size: number;
  /** The node that the page begins with, and the number of its watches before it. */
  readonly node: string;
  readonly skip: number;
  readonly selection: string;
}

/** Validates a ListWatchers and fills the defaults. */
export function validateListWatchers(given: ListWatchersRequest): WatchersQuery {
  const validator = new Validator();
  const namespace = validator.namespace(given.namespace);
  const { service, key } = given;
  if (service !== '') validator.name('service', service, SERVICE);
  if (key !== '') validator.name('key', key, CONFIG_KEY);
  if (service !== '' && (key !== '' || given.group !== '')) validator.refuse('service', 'excludes group and key');
  if (given.group !== '' && key === '') validator.refuse('key', 'is required with group');
  const group = key === '' ? '' : validator.nameOrDefault('group', given.group, GROUP);
  const selection = hashSelection(['ListWatchers', namespace, service, group, key]);
  const { size, after } = validator.page(given, selection);
  const [skip = '0', node = ''] = after;
  if (!PLACE.test(skip)) validator.refuse('page_token', 'is not a next_page_token of this list');
  validator.done();
  return { request: { ...given, namespace, group }, size, node, skip: Number(skip), selection };
}

/** Validates a GetDelivery and fills the default. */
export function validateGetDelivery(request: GetDeliveryRequest): GetDeliveryRequest {
  const validator = new Validator();
  const namespace = validator.namespace(request.namespace);
  validator.name('service', request.service, SERVICE);
  if (request.revision <= 0n) validator.refuse('revision', 'is required, and must be more than 0');
  validator.done();
  return { ...request, namespace };
}

/** The open watches of all servers. */
export class Watchers {
  readonly #list: EveryServer<ListWatchersRequest, ListWatchersResponse>;
  readonly #delivery: EveryServer<GetDeliveryRequest, GetDeliveryResponse>;

  constructor(
    private readonly replica: Replica,
    private readonly hub: WatchHub,
    localParts: LocalParts,
  ) {
    const { listWatchers, getDelivery } = AdminServiceDefinition.methods;
    this.#list = new EveryServer(replica, localParts, {
      service: AdminServiceDefinition,
      method: listWatchers,
      local: (request) => this.#localPage(validateListWatchers(request)),
    });
    this.#delivery = new EveryServer(replica, localParts, {
      service: AdminServiceDefinition,
      method: getDelivery,
      local: (request) => this.#localDelivery(request),
    });
  }

  /** One page of the watches that a caller with these rights may see. */
  async list(query: WatchersQuery, rights: Rights): Promise<ListWatchersResponse> {
    const { size, node, skip, selection } = query;
    const { parts, unanswered } = await this.#list.ask(query.request);
    const sorted = [...parts].sort((a, b) => (a.node < b.node ? -1 : 1)).filter((one) => one.node >= node);
    const watchers: Watcher[] = [];
    let taken = 0;
    let nextPageToken = '';
    for (const { node: of, part } of sorted) {
      const ofServer = part.watchers.slice(0, size - taken);
      taken += ofServer.length;
      watchers.push(...ofServer.flatMap((watcher) => seenBy(rights, watcher) ?? []));
      const isCut = ofServer.length < part.watchers.length || part.nextPageToken !== '';
      if (!isCut && taken < size) continue;
      const isLast = !isCut && of === sorted.at(-1)!.node;
      const next = String(ofServer.length + (of === node ? skip : 0));
      if (!isLast) nextPageToken = encodePageToken({ after: [next, of], selection });
      break;
    }
    return { watchers, nextPageToken, unanswered: [...unanswered] };
  }

  /** How many watches of a service have been sent a revision. Those that wait are named to callers who may see them. */
  async delivery(request: GetDeliveryRequest, rights: Rights): Promise<GetDeliveryResponse> {
    const { parts, unanswered } = await this.#delivery.ask(request);
    const servers = parts
      .flatMap(({ part }) => part.servers)
      .map((one) => ({ ...one, waiting: one.waiting.flatMap((watcher) => seenBy(rights, watcher) ?? []) }))
      .sort((a, b) => (a.node < b.node ? -1 : 1));
    const isComplete = unanswered.length === 0 && servers.every(({ seen, watches, sent }) => seen && watches === sent);
    return { servers, unanswered: [...unanswered], complete: isComplete };
  }

  #localPage({ request, size, node, skip }: WatchersQuery): ListWatchersResponse {
    const own = this.replica.node;
    if (own < node) return { watchers: [], nextPageToken: '', unanswered: [] };
    const { namespace, service, group, key } = request;
    const isWanted = ({ group: { selection, collection } }: WatchStream): boolean => {
      if (selection.namespace !== namespace) return false;
      const isOfConfigs = this.#isOfConfigs(collection);
      if (service !== '') return !isOfConfigs && selection.covers(service, '');
      return key === '' || (isOfConfigs && selection.covers(group, key));
    };
    const streams = this.#slowestFirst([...this.hub.streams()].filter(isWanted));
    const from = own === node ? skip : 0;
    const watchers = streams.slice(from, from + size).map((stream) => this.#toMessage(stream));
    return { watchers, nextPageToken: streams.length > from + size ? 'more' : '', unanswered: [] };
  }

  #localDelivery({ namespace, service, revision }: GetDeliveryRequest): GetDeliveryResponse {
    const { catalog, node } = this.replica;
    const streams = [...this.hub.streams()].filter(
      ({ group: { selection, collection } }) =>
        selection.namespace === namespace && !this.#isOfConfigs(collection) && selection.covers(service, ''),
    );
    const waiting = streams.filter((stream) => stream.unsentBytes > 0 || this.hub.reached(stream) < revision);
    const server: ServerDelivery = {
      node,
      seen: catalog.has(revision),
      watches: streams.length,
      sent: streams.length - waiting.length,
      waiting: this.#slowestFirst(waiting)
        .slice(0, WAITING_MAX)
        .map((stream) => this.#toMessage(stream)),
    };
    return { servers: [server], unanswered: [], complete: false };
  }

  #isOfConfigs(collection: WatchStream['group']['collection']): boolean {
    return collection === (this.replica.catalog.of(CONFIG) as unknown);
  }

  #slowestFirst(streams: WatchStream[]): WatchStream[] {
    const lags = new Map(streams.map((stream) => [stream, this.hub.lagMs(stream)]));
    return streams.sort(
      (a, b) => lags.get(b)! - lags.get(a)! || b.unsentBytes - a.unsentBytes || (a.id < b.id ? -1 : 1),
    );
  }

  #toMessage(stream: WatchStream): Watcher {
    const { id, reader, group, unsentBytes, sinceWallMs } = stream;
    const { namespace, scopes = [] } = group.selection;
    const isOfConfigs = this.#isOfConfigs(group.collection);
    return {
      ...{ node: this.replica.node, watchId: id, identity: reader.identity, principal: reader.principal },
      ...{ address: reader.address, namespace, configs: isOfConfigs },
      services: isOfConfigs ? [] : [...scopes],
      groups: isOfConfigs ? [...scopes] : [],
      revision: this.hub.reached(stream),
      lag: toDuration(this.hub.lagMs(stream)),
      unsentBytes: BigInt(unsentBytes),
      since: toTimestamp(sinceWallMs),
    };
  }
}

/** The part of a watch that a caller may see; `undefined` if that is nothing. Configs belong to those who operate a namespace. */
function seenBy(rights: Rights, watcher: Watcher): Watcher | undefined {
  const { namespace } = watcher;
  if (rights.services('operate', namespace)) return watcher;
  const services = watcher.services.filter((service) => rights.service('operate', namespace, service));
  return services.length === 0 ? undefined : { ...watcher, services };
}
