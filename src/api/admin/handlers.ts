import type { Clock } from '../../base/clock.js';
import { nodeNotFound } from '../../domain/cluster/lost-members.js';
import type { Replica } from '../../domain/replica.js';
import type { AdminServiceDefinition } from '../../gen/rollcall/v1/admin_service.js';
import { EVERYBODY } from '../../access/principal.js';
import type { Rights } from '../../access/rights.js';
import type { GetSelfResponse, Grant } from '../../gen/rollcall/v1/admin_service.js';
import { LIMITS } from '../../model/limits.js';
import { toTimestamp } from '../../model/time.js';
import type { Call } from '../call/call.js';
import type { May } from '../call/may.js';
import { type Handlers, needs, serverStream, unary } from '../call/method.js';
import { signedBy } from '../call/signature.js';
import type { WatchHub } from '../watch/hub.js';
import { validateForgetMember, validateReleaseProtection } from './validation.js';
import { sendBackup } from './backup-stream.js';
import { type AuditEvents, validateListAuditEvents } from './audit.js';
import { validateGetDelivery, validateListWatchers, type Watchers } from './watchers.js';
import { validateListLiveness, type LivenessLists } from './liveness.js';
import { validateWatchTransitions, TransitionStream } from './transition-stream.js';
import { validateListTransitions, validateWhy, type Explanations } from './why.js';
import { type About, publicPartOf, statusOf } from './status.js';

/** Everything that the handlers of AdminService ask. */
export interface AdminParts {
  readonly replica: Replica;
  readonly hub: WatchHub;
  readonly about: About;
  readonly clock: Clock;
  readonly auditEvents: AuditEvents;
  readonly watchers: Watchers;
  readonly explanations: Explanations;
  readonly livenessLists: LivenessLists;
}

/** The handlers of AdminService. */
export function adminHandlers(parts: AdminParts): Handlers<AdminServiceDefinition> {
  const { replica, hub, about, clock, auditEvents, watchers, explanations, livenessLists } = parts;
  return {
    getStatus: unary(
      () => undefined,
      (_, may) => {
        may.anything();
        return may.hasEverywhere('operate');
      },
      (mayOperate) => {
        const status = statusOf(replica, hub.size, about);
        return mayOperate ? status : publicPartOf(status);
      },
    ),

    getSelf: unary(
      () => undefined,
      (_, may) => may.rights,
      (rights, call) => selfOf(rights, call),
    ),

    listAuditEvents: unary(
      validateListAuditEvents,
      needs((_, may) => may.everywhere()),
      (query) => auditEvents.list(query),
    ),

    releaseProtection: unary(
      validateReleaseProtection,
      needs(({ namespace, service }, may) => may.service(namespace, service)),
      async ({ namespace, service, claim }, call) => ({
        revision: await replica.protection.release(namespace, service, signedBy(call, claim)),
      }),
    ),

    forgetMember: unary(
      validateForgetMember,
      needs((node, may) => may.everywhere(`node ${node}`)),
      async (node) => {
        if (!replica.lostMembers) throw nodeNotFound(node);
        return { revision: await replica.lostMembers.forget(node) };
      },
    ),

    why: unary(
      validateWhy,
      (request, may) => {
        may.service(request.namespace, request.service);
        return { request, rights: may.rights };
      },
      ({ request, rights }) => explanations.why(request, rights),
    ),

    listTransitions: unary(validateListTransitions, withRights, ({ query, rights }) =>
      explanations.list(query, rights),
    ),

    watchTransitions: serverStream(
      validateWatchTransitions,
      needs(({ request }, may) => someOrAny(request, may)),
      (query, sink, call) => {
        replica.catalog.assertReady();
        const stream = new TransitionStream(replica, clock, query);
        stream.serve(sink, call).catch((error: unknown) => sink.fail(error));
      },
    ),

    listLiveness: unary(validateListLiveness, withRights, ({ query, rights }) => livenessLists.list(query, rights)),

    listWatchers: unary(validateListWatchers, withRights, ({ query, rights }) => watchers.list(query, rights)),

    getDelivery: unary(
      validateGetDelivery,
      (query, may) => {
        may.service(query.namespace, query.service);
        return { query, rights: may.rights };
      },
      ({ query, rights }) => watchers.delivery(query, rights),
    ),

    backup: serverStream(
      () => undefined,
      needs((_, may) => may.everywhere('the store')),
      (_, sink) => void sendBackup({ replica, about, clock }, sink).catch((error: unknown) => sink.fail(error)),
    ),
  };
}

/** A question about one service needs the right to it; one about all is answered with the part that the caller may see. */
function someOrAny({ namespace, service }: { readonly namespace: string; readonly service: string }, may: May): void {
  if (service === '') may.anything();
  else may.service(namespace, service);
}

/** Lets a question through by `someOrAny`, with the rights by which its answer is cut. */
function withRights<Query extends { readonly request: Parameters<typeof someOrAny>[0] }>(
  query: Query,
  may: May,
): { readonly query: Query; readonly rights: Rights } {
  someOrAny(query.request, may);
  return { query, rights: may.rights };
}

/** The caller, and its rights. */
function selfOf({ grants }: Rights, { principal }: Call): GetSelfResponse {
  const expiresMs = principal.expiresMs();
  return {
    principal: principal.name,
    expireTime: expiresMs === undefined ? undefined : toTimestamp(expiresMs),
    grants: grants.slice(0, LIMITS.PAGE_SIZE.value).map(({ actions, namespaces, services, configs }): Grant => ({
      actions: [...actions],
      namespaces: namespaces.map(({ text }) => text),
      services: services.map(({ text }) => text),
      configs: configs.map(({ text }) => text),
    })),
    open: principal === EVERYBODY,
  };
}
