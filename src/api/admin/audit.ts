import type { Audit, AuditEvent } from '../../audit/audit.js';
import { firstOf } from '../../catalog/paging.js';
import type { Replica } from '../../domain/replica.js';
import {
  AuditEvent as AuditEventMessage,
  AdminServiceDefinition,
  type ListAuditEventsRequest,
  type ListAuditEventsResponse,
} from '../../gen/rollcall/v1/admin_service.js';
import { fromTimestamp, toTimestamp } from '../../model/time.js';
import { encodePageToken, hashSelection } from '../../model/tokens.js';
import { Validator } from '../call/validator.js';
import { EveryServer } from '../peer/every-server.js';
import type { LocalParts } from '../peer/local-parts.js';

/** An id has 22 characters of its server and 8 of its number; the milliseconds before it have 9 in base 36. */
const POSITION = /^[0-9a-z]{9}\.[A-Za-z0-9_.-]{10,64}$/;
const TIME_CHARS = 9;

/** The longest text to look for: a config's name has up to 704 characters, and that of a caller up to 600. */
const TEXT_CHARS_MAX = 1_024;

/** A validated ListAuditEvents. */
interface EventQuery {
  readonly request: ListAuditEventsRequest;
  readonly size: number;
  /** The position after which the page begins; empty for the first one. */
  readonly after: string;
  readonly selection: string;
}

/** Validates a ListAuditEvents. */
export function validateListAuditEvents(request: ListAuditEventsRequest): EventQuery {
  const validator = new Validator();
  const { principal, method, resource, failuresOnly } = request;
  for (const [field, text] of Object.entries({ principal, method, resource }))
    validator.chars(field, text, TEXT_CHARS_MAX);
  const selection = hashSelection(['ListAuditEvents', principal, method, resource, failuresOnly]);
  const { size, after } = validator.page(request, selection);
  if (after[0] !== undefined && !POSITION.test(after[0]))
    validator.refuse('page_token', 'is not a next_page_token of this list');
  validator.done();
  return { request, size, after: after[0] ?? '', selection };
}

/** The events of all servers of the cluster. */
export class AuditEvents {
  readonly #every: EveryServer<ListAuditEventsRequest, ListAuditEventsResponse>;

  constructor(
    private readonly audit: Audit,
    replica: Pick<Replica, 'membership' | 'lostMembers' | 'node'>,
    localParts: LocalParts,
  ) {
    this.#every = new EveryServer(replica, localParts, {
      service: AdminServiceDefinition,
      method: AdminServiceDefinition.methods.listAuditEvents,
      local: (request) => this.#local(validateListAuditEvents(request)),
    });
  }

  /** One page of the events, newest first. */
  async list(query: EventQuery): Promise<ListAuditEventsResponse> {
    const { parts, unanswered } = await this.#every.ask(query.request);
    const answers = parts.map(({ part }) => part);
    const hasMore = answers.some(({ nextPageToken }) => nextPageToken !== '');
    return {
      ...pageOf(
        answers.flatMap(({ events }) => events),
        query,
        hasMore,
      ),
      unanswered: [...unanswered],
    };
  }

  #local(query: EventQuery): ListAuditEventsResponse {
    const { principal, method, resource, failuresOnly } = query.request;
    const wanted = (event: AuditEvent): boolean =>
      (principal === '' || event.principal === principal) &&
      (method === '' || event.method.endsWith(`/${method.replace(/^\//, '')}`)) &&
      (resource === '' || event.resources.some((name) => name.startsWith(resource))) &&
      (!failuresOnly || event.outcome !== 'OK');
    return { ...pageOf([...this.audit.recent()].filter(wanted).map(toMessage), query, false), unanswered: [] };
  }
}

/** The newest events behind the position of a query. `hasMore`: events that are not among these follow. */
function pageOf(
  events: readonly AuditEventMessage[],
  { size, after, selection }: EventQuery,
  hasMore: boolean,
): Pick<ListAuditEventsResponse, 'events' | 'nextPageToken'> {
  const behind = events.map((event) => ({ event, position: positionOf(event) }));
  const sorted = behind
    .filter(({ position }) => after === '' || position < after)
    .sort((a, b) => (a.position > b.position ? -1 : 1));
  const { entries, last } = firstOf(
    sorted,
    size,
    ({ position }) => position,
    ({ event }) => event,
    ({ event }) => AuditEventMessage.encode(event).finish().length,
  );
  const end = last ?? (hasMore ? sorted[entries.length - 1]?.position : undefined);
  return { events: [...entries], nextPageToken: end === undefined ? '' : encodePageToken({ after: [end], selection }) };
}

/** The place of an event in the order of all: by time, and then by id. */
const positionOf = ({ time, id }: AuditEventMessage): string =>
  `${Math.max(fromTimestamp(time!), 0).toString(36).padStart(TIME_CHARS, '0')}.${id}`;

function toMessage({ timeMs, resources, ...event }: AuditEvent): AuditEventMessage {
  return { ...event, resources: [...resources], time: toTimestamp(timeMs) };
}
