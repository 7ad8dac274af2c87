import type { ServerDuplexStream, ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { ReadStamp } from '../../catalog/reads.js';
import { Health } from '../../gen/rollcall/v1/instance.js';
import {
  type DeregisterRequest,
  type DeregisterResponse,
  type DiscoverRequest,
  DiscoverResponse,
  type GetInstanceRequest,
  type GetInstanceResponse,
  type HeartbeatRequest,
  type HeartbeatResponse,
  type ListNamespacesRequest,
  type ListNamespacesResponse,
  type ListServicesRequest,
  type ListServicesResponse,
  type RegisterRequest,
  type RegisterResponse,
  type StreamHeartbeatsRequest,
  type StreamHeartbeatsResponse,
  type WatchServicesRequest,
} from '../../gen/rollcall/v1/registry_service.js';
import type { BeatReport } from '../../domain/health/heartbeats.js';
import { RollcallError } from '../../model/errors.js';
import { LIMITS } from '../../model/limits.js';
import { encodePageToken } from '../../model/tokens.js';
import { toDuration } from '../../model/time.js';
import type { Replica } from '../../domain/replica.js';
import type { Selected } from '../../domain/registry/discovery.js';
import { assertWellFormed, type Calls, type Encoded, type Ending } from '../../edges/grpc/calls.js';
import {
  checkDiscover,
  checkHeartbeats,
  checkListNamespaces,
  checkListServices,
  checkRef,
  checkRegister,
  checkWatchServices,
} from './checks.js';
import type { WatchHub } from '../watch/hub.js';
import { servicesCodec } from '../watch/messages.js';

/** What every answer to a read carries. */
export function readFields({ revision, staleForMs }: ReadStamp) {
  return { revision, staleFor: staleForMs === undefined ? undefined : toDuration(staleForMs) };
}

/** RegistryService on gRPC: check, call, answer. */
export function registryService(replica: Replica, calls: Calls, hub: WatchHub): UntypedServiceImplementation {
  const { registrations, heartbeats, discovery, reads, catalog } = replica;

  const beat = (items: HeartbeatRequest['instances']) => {
    const checked = checkHeartbeats(items);
    const answer = ({ intervalMs, rejected }: BeatReport): HeartbeatResponse => ({
      heartbeatInterval: toDuration(intervalMs),
      rejected: rejected.map(({ index, reason }) => ({
        index,
        service: checked[index]!.service,
        id: checked[index]!.id,
        reason,
      })),
    });
    const report = heartbeats.receive(checked);
    return report instanceof Promise ? report.then(answer) : answer(report);
  };

  /** Answers now if the catalog is fresh enough, which is the common case; otherwise when it is. */
  const read = <T>(request: { minRevision: bigint; barrier: boolean }, answer: () => T): T | Promise<T> => {
    const wait = reads.ready(request);
    return wait ? wait.then(answer) : answer();
  };

  return {
    register: calls.unary(async (request: RegisterRequest, call): Promise<RegisterResponse> => {
      const { registration, warnings } = checkRegister(request, peerAddress(call.getPeer()));
      const registered = await registrations.register(registration);
      return {
        instance: registered.instance,
        revision: registered.revision,
        heartbeatInterval: registered.intervalMs === undefined ? undefined : toDuration(registered.intervalMs),
        warnings: [...warnings, ...registered.warnings],
      };
    }),

    deregister: calls.unary(async (request: DeregisterRequest): Promise<DeregisterResponse> => {
      return { revision: await registrations.deregister(checkRef(request)) };
    }),

    heartbeat: calls.unary((request: HeartbeatRequest) => beat(request.instances)),

    streamHeartbeats: calls.stream(
      (call: ServerDuplexStream<StreamHeartbeatsRequest, StreamHeartbeatsResponse>, ending) => {
        answerInOrder(call, ending, async ({ instances }) => beat(instances));
      },
    ),

    discover: calls.unary((request: DiscoverRequest) => {
      const { namespace, service, filter, subset } = checkDiscover(request);
      return read(request, () => encodeDiscover(discovery.discover(namespace, service, filter, subset), reads.stamp()));
    }),

    watchServices: calls.stream((call: ServerWritableStream<WatchServicesRequest, Encoded>, ending) => {
      const { selection, filter } = checkWatchServices(call.request);
      const { resumeToken } = call.request;
      hub.open({ collection: catalog.instances, selection, codec: servicesCodec(filter), resumeToken }, call, ending);
    }),

    getInstance: calls.unary((request: GetInstanceRequest) => {
      const { namespace, service, id } = checkRef(request);
      return read<GetInstanceResponse>(request, () => ({
        instance: discovery.get(namespace, service, id),
        ...readFields(reads.stamp()),
      }));
    }),

    listServices: calls.unary((request: ListServicesRequest) => {
      const { namespace, size, after, selection } = checkListServices(request);
      return read<ListServicesResponse>(request, () => {
        const { entries, last } = discovery.services(namespace, size, after);
        const services = entries.map(({ service, byHealth, revision, protection }) => ({
          service,
          healthyCount: byHealth.get(Health.HEALTH_HEALTHY) ?? 0,
          degradedCount: byHealth.get(Health.HEALTH_DEGRADED) ?? 0,
          unhealthyCount: byHealth.get(Health.HEALTH_UNHEALTHY) ?? 0,
          drainingCount: byHealth.get(Health.HEALTH_DRAINING) ?? 0,
          revision,
          protection,
        }));
        return {
          services,
          nextPageToken: pageToken(last, selection),
          ...readFields(reads.stamp()),
        };
      });
    }),

    listNamespaces: calls.unary((request: ListNamespacesRequest) => {
      const { size, after, selection } = checkListNamespaces(request);
      return read<ListNamespacesResponse>(request, () => {
        const { entries, last } = discovery.namespaces(size, after);
        const namespaces = entries.map(({ namespace, services, instances, configs }) => ({
          namespace,
          serviceCount: services,
          instanceCount: instances,
          configCount: configs,
        }));
        return {
          namespaces,
          nextPageToken: pageToken(last, selection),
          ...readFields(reads.stamp()),
        };
      });
    }),
  };
}

const nothing = DiscoverResponse.create();
const discoverBodies = new WeakMap<Selected, Buffer>();

/** The instances are encoded once for as long as they stay the same; revision and staleness are put behind them. */
function encodeDiscover(selected: Selected, stamp: ReadStamp): Encoded {
  let body = discoverBodies.get(selected);
  if (!body) {
    const { instances, hiddenCount, protection } = selected;
    body = Buffer.from(
      DiscoverResponse.encode({ ...nothing, instances: [...instances], hiddenCount, protection }).finish(),
    );
    discoverBodies.set(selected, body);
  }
  const { value } = LIMITS.ANSWER_BYTES;
  if (body.length > value) {
    throw new RollcallError(
      'ANSWER_TOO_LARGE',
      `the answer has ${body.length} bytes; at most ${value}: use subset, a filter, or WatchServices`,
      {
        metadata: { bytes: String(body.length), limit: String(value) },
      },
    );
  }
  return Buffer.concat([body, DiscoverResponse.encode({ ...nothing, ...readFields(stamp) }).finish()]);
}

/** Answers each message of a stream once, in order, and reads no further while one is being answered. */
function answerInOrder<Request, Response>(
  call: ServerDuplexStream<Request, Response>,
  ending: Ending,
  answer: (request: Request) => Promise<Response>,
): void {
  let answering = Promise.resolve();
  call.on('data', (request: Request) => {
    call.pause();
    answering = Promise.resolve()
      .then(() => {
        assertWellFormed(request);
        return answer(request);
      })
      .then(
        (response) => new Promise<void>((sent) => void (ending.ended ? sent() : call.write(response, () => sent()))),
      )
      .then(
        () => void call.resume(),
        (error: unknown) => ending.fail(error),
      );
  });
  call.on('end', () => void answering.then(() => void (ending.ended || call.end())));
}

/** The token of the next page of a list; empty after the last one. */
export function pageToken(last: string | undefined, selection: string): string {
  return last === undefined ? '' : encodePageToken({ after: [last], selection });
}

/** The address part of what grpc-js says of the other side, such as "10.0.0.1:1234" or "[::1]:1234". */
function peerAddress(peer: string): string {
  return peer
    .replace(/:\d+$/, '')
    .replace(/^\[|\]$/g, '')
    .replace(/^::ffff:/, '');
}
