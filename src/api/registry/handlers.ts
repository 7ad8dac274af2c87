import type { ReadOptions } from '../../catalog/freshness.js';
import type { ServiceCounts, Visible } from '../../domain/registry/discovery.js';
import type { Replica } from '../../domain/replica.js';
import { Health } from '../../gen/rollcall/v1/instance.js';
import type {
  DeregisterInstancesResponse,
  DeregisterResult,
  DiscoverResponse,
  GetInstanceResponse,
  HeartbeatResponse,
  ListInstanceOverridesResponse,
  ListInstancesResponse,
  ListNamespacesResponse,
  ListServiceChecksResponse,
  ListServicesResponse,
  RegisterResponse,
  RegistryServiceDefinition,
  ServiceSummary,
} from '../../gen/rollcall/v1/registry_service.js';
import type { InstanceRef } from '../../domain/registry/registrations.js';
import { RollcallError } from '../../model/errors.js';
import { withoutNames } from '../../model/actor.js';
import type { ServiceChecksItem } from '../../model/check.js';
import type { OverrideItem } from '../../model/override.js';
import type { CheckResults } from './check-results.js';
import {
  validateGetCheckResults,
  validateListServiceChecks,
  validateReleaseChecks,
  validateSetServiceChecks,
} from './check-call-validation.js';
import { toDuration } from '../../model/time.js';
import { bidiStream, type Handlers, needs, type Reply, serverStream, unary } from '../call/method.js';
import { callerOf, readerOf, signedBy } from '../call/signature.js';
import type { May } from '../call/may.js';
import { pageToken, readFields } from '../call/reads.js';
import { servicesCodec } from '../watch/codecs.js';
import type { WatchHub } from '../watch/hub.js';
import {
  validateDeregister,
  validateDiscover,
  validateGetInstance,
  validateListNamespaces,
  validateListServices,
  validateRegister,
  validateWatchServices,
} from './validation.js';
import { encodeDiscover } from './codec.js';
import { validateDeregisterInstances, validateListInstances, listToken } from './lookup.js';
import { validateClearOverride, validateListOverrides, validateSetOverride } from './overrides.js';
import { allowedBeats, type ValidatedBeats, validateHeartbeats, toResponse } from './heartbeats.js';

/** The most removals of one call that are on their way to the store: one group of its transactions. */
const REMOVALS_AT_A_TIME = 100;
const NOT_ALLOWED = 'the caller may not remove instances of this service';

/** The handlers of RegistryService. */
export function registryHandlers(
  replica: Replica,
  hub: WatchHub,
  results: CheckResults,
): Handlers<RegistryServiceDefinition> {
  const { registrations, heartbeats, discovery, lookup, overrides, serviceChecks, freshness, catalog } = replica;

  /** Answers now if the catalog is fresh enough, which is the common case. Otherwise it waits until the catalog is. */
  const reading = <T>(read: ReadOptions, answer: () => T): T | Promise<T> => {
    const wait = freshness.ready(read);
    return wait ? wait.then(answer) : answer();
  };

  const beat = (beats: ValidatedBeats): Reply<HeartbeatResponse> | Promise<Reply<HeartbeatResponse>> => {
    const report = heartbeats.receive(beats.items);
    return report instanceof Promise ? report.then((late) => toResponse(beats, late)) : toResponse(beats, report);
  };

  return {
    register: unary(
      (request, call) => validateRegister(request, call.peerAddress),
      ({ registration, warnings }, may) => {
        const { namespace, service, id } = registration.instance;
        may.service(namespace, service, id);
        if (registration.instance.checks.length > 0) may.also('check', namespace, service);
        return { registration, warnings, sees: (other: string) => may.hasService(namespace, other, 'read') };
      },
      async ({ registration, warnings, sees }, call): Promise<RegisterResponse> => {
        const registered = await registrations.register(registration, callerOf(call), sees);
        return {
          instance: registered.instance,
          revision: registered.revision,
          heartbeatInterval: registered.intervalMs === undefined ? undefined : toDuration(registered.intervalMs),
          warnings: [...warnings, ...registered.warnings],
        };
      },
    ),

    deregister: unary(
      validateDeregister,
      needs(({ ref }, may) => may.service(ref.namespace, ref.service, ref.id)),
      async ({ ref, claim }, call) => ({
        revision: await registrations.deregister(ref, signedBy(call, claim)),
      }),
    ),

    heartbeat: unary(({ instances }) => validateHeartbeats(instances), allowedBeats, beat),

    streamHeartbeats: bidiStream(
      ({ instances }) => validateHeartbeats(instances),
      allowedBeats,
      async function* (requests) {
        for await (const beats of requests) yield await beat(beats);
      },
    ),

    discover: unary(
      validateDiscover,
      needs(({ namespace, service }, may) => may.service(namespace, service)),
      ({ namespace, service, filter, subset, read }) =>
        reading<Reply<DiscoverResponse>>(read, () =>
          encodeDiscover(discovery.discover(namespace, service, filter, subset), freshness.stamp()),
        ),
    ),

    watchServices: serverStream(
      validateWatchServices,
      needs(({ selection: { namespace, scopes } }, may) => {
        if (!scopes) may.allServices(namespace);
        else for (const service of scopes) may.service(namespace, service);
      }),
      ({ selection, filter, resumeToken, watcher }, sink, call) => {
        const reader = readerOf(call, watcher);
        hub.open({ collection: catalog.instances, selection, codec: servicesCodec(filter), resumeToken, reader }, sink);
      },
    ),

    getInstance: unary(
      validateGetInstance,
      (request, may) => {
        const { namespace, service } = request;
        may.service(namespace, service);
        return { ...request, mayKnowWho: may.hasService(namespace, service, 'operate') };
      },
      ({ namespace, service, id, read, mayKnowWho }) => {
        const answer = reading(read, (): GetInstanceResponse => {
          const instance = discovery.get(namespace, service, id, mayKnowWho);
          return { instance, ...readFields(freshness.stamp()), checkSummary: undefined, checks: [] };
        });
        // Without checks, and with nothing to wait for, the answer needs no promise.
        if (!(answer instanceof Promise) && !results.has({ namespace, service, id })) return answer;
        return Promise.resolve(answer).then(async (shown): Promise<GetInstanceResponse> => {
          const { summary, checks } = await results.of({ namespace, service, id }, mayKnowWho, 1);
          return { ...shown, checkSummary: summary, checks };
        });
      },
    ),

    listServices: unary(
      validateListServices,
      (list, may) => {
        may.anything();
        return { ...list, sees: (service: string) => may.hasService(list.namespace, service) };
      },
      ({ namespace, size, after, selection, read, sees }) =>
        reading(read, (): ListServicesResponse => {
          const { entries, last } = discovery.services(namespace, size, after, sees);
          return {
            services: entries.map(toSummary),
            nextPageToken: pageToken(last, selection),
            ...readFields(freshness.stamp()),
          };
        }),
    ),

    listNamespaces: unary(
      validateListNamespaces,
      (list, may) => {
        may.anything();
        return { ...list, sees: visibleTo(may) };
      },
      ({ size, after, selection, read, sees }) =>
        reading(read, (): ListNamespacesResponse => {
          const { entries, last } = discovery.namespaces(size, after, sees);
          const namespaces = entries.map(({ namespace, services, instances, configs }) => ({
            namespace,
            serviceCount: services,
            instanceCount: instances,
            configCount: configs,
          }));
          return { namespaces, nextPageToken: pageToken(last, selection), ...readFields(freshness.stamp()) };
        }),
    ),

    listInstances: unary(
      validateListInstances,
      (query, may) => {
        may.anything();
        return { ...query, rights: may.rights };
      },
      ({ search, selection, read, rights }) =>
        reading(read, (): ListInstancesResponse => {
          const sees = (namespace: string, service: string): boolean => rights.service('read', namespace, service);
          const { instances, next } = lookup.find(search, sees);
          const stamp = readFields(freshness.stamp());
          const nextPageToken = next ? listToken(next, stamp.revision, selection) : '';
          return { instances: [...instances], nextPageToken, ...stamp };
        }),
    ),

    deregisterInstances: unary(
      validateDeregisterInstances,
      ({ refs, claim }, may) => {
        may.takeItems(refs.length);
        const allowed = refs.map(({ namespace, service }) => may.hasService(namespace, service));
        if (!allowed.includes(true)) may.known();
        may.noteRefused(refs.filter((_, i) => !allowed[i]));
        refs.forEach(({ namespace, service, id }, i) => allowed[i] && may.service(namespace, service, id));
        return { refs, claim, allowed };
      },
      async ({ refs, claim, allowed }, call): Promise<DeregisterInstancesResponse> => {
        const signature = signedBy(call, claim);
        const remove = async (ref: InstanceRef, i: number): Promise<DeregisterResult> => {
          const { service, id } = ref;
          if (!allowed[i]) return { service, id, revision: 0n, reason: 'NOT_ALLOWED', message: NOT_ALLOWED };
          try {
            return { service, id, revision: await registrations.deregister(ref, signature), reason: '', message: '' };
          } catch (error) {
            if (!(error instanceof RollcallError)) throw error;
            return { service, id, revision: 0n, reason: error.reason, message: error.message };
          }
        };
        const results: DeregisterResult[] = [];
        for (let at = 0; at < refs.length; at += REMOVALS_AT_A_TIME)
          results.push(
            ...(await Promise.all(refs.slice(at, at + REMOVALS_AT_A_TIME).map((ref, i) => remove(ref, at + i)))),
          );
        return { results };
      },
    ),

    setInstanceOverride: unary(
      validateSetOverride,
      needs(({ request: { namespace, service, id } }, may) => may.service(namespace, service, id)),
      ({ request, claim }, call) => overrides.set(request, signedBy(call, claim)),
    ),

    clearInstanceOverride: unary(
      validateClearOverride,
      needs(({ names: { namespace, service, id } }, may) => may.service(namespace, service, id)),
      ({ names, expectedRevision, claim }, call) => overrides.clear(names, expectedRevision, signedBy(call, claim)),
    ),

    setServiceChecks: unary(
      validateSetServiceChecks,
      needs(({ names: { namespace, service } }, may) => may.service(namespace, service)),
      async ({ names, checks, claim }, call) => ({
        revision: await serviceChecks.set(names, checks, signedBy(call, claim)),
      }),
    ),

    listServiceChecks: unary(
      validateListServiceChecks,
      (list, may) => {
        may.anything();
        return { ...list, rights: may.rights };
      },
      ({ namespace, size, after, selection, read, rights }) =>
        reading(read, (): ListServiceChecksResponse => {
          const sees = (item: ServiceChecksItem): boolean => rights.service('read', item.namespace, item.scope);
          const { entries, last } = serviceChecks.list(namespace, size, after, sees);
          const services = entries.map((one) =>
            rights.service('operate', one.namespace, one.service) ? one : { ...one, actor: withoutNames(one.actor) },
          );
          return { services, nextPageToken: pageToken(last, selection), ...readFields(freshness.stamp()) };
        }),
    ),

    releaseChecks: unary(
      validateReleaseChecks,
      needs(({ scope: { namespace, service, id } }, may) =>
        service === '' ? may.allServices(namespace) : may.service(namespace, service, id),
      ),
      ({ scope, claim }, call) => serviceChecks.release(scope, signedBy(call, claim)),
    ),

    getCheckResults: unary(
      validateGetCheckResults,
      ({ names }, may) => {
        may.service(names.namespace, names.service);
        return { names, mayKnowWho: may.hasService(names.namespace, names.service, 'operate') };
      },
      async ({ names, mayKnowWho }) => {
        discovery.get(names.namespace, names.service, names.id, mayKnowWho); // throws if it is not registered
        return results.of(names, mayKnowWho);
      },
    ),

    listInstanceOverrides: unary(
      validateListOverrides,
      (list, may) => {
        may.anything();
        return { ...list, rights: may.rights };
      },
      ({ namespace, service, size, after, selection, read, rights }) =>
        reading(read, (): ListInstanceOverridesResponse => {
          const sees = (item: OverrideItem): boolean => rights.service('read', item.namespace, item.scope);
          const { entries, last } = overrides.list(namespace, service, size, after, sees);
          const shown = entries.map((override) =>
            rights.service('operate', override.namespace, override.service)
              ? override
              : { ...override, actor: withoutNames(override.actor) },
          );
          return { overrides: shown, nextPageToken: pageToken(last, selection), ...readFields(freshness.stamp()) };
        }),
    ),
  };
}

/** The part of the contents of the server that a caller may read. */
function visibleTo({ rights }: May): Visible {
  return {
    allServices: (namespace) => rights.services('read', namespace),
    service: (namespace, service) => rights.service('read', namespace, service),
    allConfigs: (namespace) => rights.configs('config:read', namespace, ''),
    config: (namespace, group, key) => rights.config('config:read', namespace, group, key),
  };
}

function toSummary({ service, byHealth, revision, protection }: ServiceCounts): ServiceSummary {
  return {
    service,
    healthyCount: byHealth.get(Health.HEALTH_HEALTHY) ?? 0,
    degradedCount: byHealth.get(Health.HEALTH_DEGRADED) ?? 0,
    unhealthyCount: byHealth.get(Health.HEALTH_UNHEALTHY) ?? 0,
    drainingCount: byHealth.get(Health.HEALTH_DRAINING) ?? 0,
    revision,
    protection,
  };
}
