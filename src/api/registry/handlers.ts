import type { ReadOptions } from '../../catalog/freshness.js';
import type { ServiceCounts } from '../../domain/registry/discovery.js';
import type { Replica } from '../../domain/replica.js';
import { Health } from '../../gen/rollcall/v1/instance.js';
import type {
  DiscoverResponse,
  HeartbeatResponse,
  ListNamespacesResponse,
  ListServicesResponse,
  RegisterResponse,
  RegistryServiceDefinition,
  ServiceSummary,
} from '../../gen/rollcall/v1/registry_service.js';
import { toDuration } from '../../model/time.js';
import { bidiStream, type Handlers, type Reply, serverStream, unary } from '../call/method.js';
import { pageToken, readFields } from '../call/reads.js';
import { servicesCodec } from '../watch/codecs.js';
import type { WatchHub } from '../watch/hub.js';
import {
  checkDeregister,
  checkDiscover,
  checkGetInstance,
  checkListNamespaces,
  checkListServices,
  checkRegister,
  checkWatchServices,
} from './checks.js';
import { encodeDiscover } from './codec.js';
import { type CheckedBeats, checkHeartbeats, toResponse } from './heartbeats.js';

/** The handlers of RegistryService. */
export function registryHandlers(replica: Replica, hub: WatchHub): Handlers<RegistryServiceDefinition> {
  const { registrations, heartbeats, discovery, freshness, catalog } = replica;

  /** Answers now if the catalog is fresh enough, which is the common case. Otherwise it waits until the catalog is. */
  const reading = <T>(read: ReadOptions, answer: () => T): T | Promise<T> => {
    const wait = freshness.ready(read);
    return wait ? wait.then(answer) : answer();
  };

  const beat = (beats: CheckedBeats): Reply<HeartbeatResponse> | Promise<Reply<HeartbeatResponse>> => {
    const report = heartbeats.receive(beats.items);
    return report instanceof Promise ? report.then((late) => toResponse(beats, late)) : toResponse(beats, report);
  };

  return {
    register: unary(
      (request, call) => checkRegister(request, call.peerAddress),
      async ({ registration, warnings }): Promise<RegisterResponse> => {
        const registered = await registrations.register(registration);
        return {
          instance: registered.instance,
          revision: registered.revision,
          heartbeatInterval: registered.intervalMs === undefined ? undefined : toDuration(registered.intervalMs),
          warnings: [...warnings, ...registered.warnings],
        };
      },
    ),

    deregister: unary(checkDeregister, async ({ ref, signature }) => ({
      revision: await registrations.deregister(ref, signature),
    })),

    heartbeat: unary(({ instances }) => checkHeartbeats(instances), beat),

    streamHeartbeats: bidiStream(
      ({ instances }) => checkHeartbeats(instances),
      async function* (requests) {
        for await (const beats of requests) yield await beat(beats);
      },
    ),

    discover: unary(checkDiscover, ({ namespace, service, filter, subset, read }) =>
      reading<Reply<DiscoverResponse>>(read, () =>
        encodeDiscover(discovery.discover(namespace, service, filter, subset), freshness.stamp()),
      ),
    ),

    watchServices: serverStream(checkWatchServices, ({ selection, filter, resumeToken }, sink) =>
      hub.open({ collection: catalog.instances, selection, codec: servicesCodec(filter), resumeToken }, sink),
    ),

    getInstance: unary(checkGetInstance, ({ namespace, service, id, read }) =>
      reading(read, () => ({
        instance: discovery.get(namespace, service, id),
        ...readFields(freshness.stamp()),
      })),
    ),

    listServices: unary(checkListServices, ({ namespace, size, after, selection, read }) =>
      reading(read, (): ListServicesResponse => {
        const { entries, last } = discovery.services(namespace, size, after);
        return {
          services: entries.map(toSummary),
          nextPageToken: pageToken(last, selection),
          ...readFields(freshness.stamp()),
        };
      }),
    ),

    listNamespaces: unary(checkListNamespaces, ({ size, after, selection, read }) =>
      reading(read, (): ListNamespacesResponse => {
        const { entries, last } = discovery.namespaces(size, after);
        const namespaces = entries.map(({ namespace, services, instances, configs }) => ({
          namespace,
          serviceCount: services,
          instanceCount: instances,
          configCount: configs,
        }));
        return { namespaces, nextPageToken: pageToken(last, selection), ...readFields(freshness.stamp()) };
      }),
    ),
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
