import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Reads } from '../../catalog/reads.js';
import type { ClusterView } from '../../domain/cluster/membership.js';
import {
  type ClusterStatus,
  type GetStatusResponse,
  MembershipState,
  type ReleaseProtectionRequest,
  ReleaseProtectionResponse,
} from '../../gen/rollcall/v1/admin_service.js';
import { LIMITS } from '../../model/limits.js';
import { toDuration, toTimestamp } from '../../model/time.js';
import type { Replica } from '../../domain/replica.js';
import type { RaisedAlarm } from '../../telemetry/alarms.js';
import { checkReleaseProtection } from './checks.js';
import type { Calls } from '../../edges/grpc/calls.js';
import type { WatchHub } from '../watch/hub.js';

/** What GetStatus tells beside the state of the replica. */
export interface About {
  readonly version: string;
  /** By the wall clock. */
  readonly startedAtMs: number;
  readonly storeKind: string;
  alarms(): readonly RaisedAlarm[];
}

/** AdminService on gRPC. */
export function adminService(
  replica: Replica,
  calls: Calls,
  hub: WatchHub,
  about: About,
): UntypedServiceImplementation {
  return {
    getStatus: calls.unary(() => statusOf(replica, replica.reads, hub, about)),

    releaseProtection: calls.unary(async (request: ReleaseProtectionRequest) => {
      const { namespace, service, author } = checkReleaseProtection(request);
      return ReleaseProtectionResponse.create({
        revision: await replica.protection.release(namespace, service, author),
      });
    }),
  };
}

function statusOf(
  { catalog, discovery, judge, membership, store }: Replica,
  reads: Reads,
  hub: WatchHub,
  about: About,
): GetStatusResponse {
  const { outOfReachSinceMs, writable } = store.health();
  const { revision, staleForMs } = reads.stamp();
  const { services, namespaces } = discovery.totals();
  const protectedServices = discovery.protectedServices(LIMITS.PAGE_SIZE.value);
  return {
    version: about.version,
    startTime: toTimestamp(about.startedAtMs),
    ready: catalog.ready,
    store: {
      kind: about.storeKind,
      epoch: catalog.epoch,
      reachable: outOfReachSinceMs === undefined,
      writable,
      staleFor: staleForMs === undefined ? undefined : toDuration(staleForMs),
    },
    revision,
    counts: {
      namespaces,
      services,
      instances: catalog.instances.liveCount,
      configs: catalog.configs.liveCount,
      tombstones: catalog.instances.tombstoneCount + catalog.configs.tombstoneCount,
      watches: hub.size,
      protectedServices: protectedServices.count,
    },
    alarms: about.alarms().map(({ name, message, sinceMs }) => ({ name, message, since: toTimestamp(sinceMs) })),
    verdictsPostponed: judge.postponements.map(({ reason, sinceMs, untilMs }) => ({
      reason,
      since: toTimestamp(sinceMs),
      until: untilMs === undefined ? undefined : toTimestamp(untilMs),
    })),
    protectedServices: protectedServices.services,
    cluster: membership && clusterOf(membership.view(), catalog),
  };
}

const STATES = {
  OUT: MembershipState.MEMBERSHIP_STATE_OUT,
  WAITING: MembershipState.MEMBERSHIP_STATE_WAITING,
  IN: MembershipState.MEMBERSHIP_STATE_IN,
  LEAVING: MembershipState.MEMBERSHIP_STATE_LEAVING,
  GONE: MembershipState.MEMBERSHIP_STATE_GONE,
};

function clusterOf(view: ClusterView, { instances }: Catalog): ClusterStatus {
  const judged = new Map<string, number>();
  for (const [namespace, { scopes }] of instances.namespaces()) {
    for (const [service, { value: scope }] of scopes) {
      const judge = scope.liveCount > 0 ? view.judgeOf(namespace, service) : undefined;
      if (judge !== undefined) judged.set(judge, (judged.get(judge) ?? 0) + 1);
    }
  }
  const replicas = view.members.map(({ id, epoch, record: { node, address } }) => ({
    ...{ id, node, address, epoch },
    judgedServices: judged.get(id) ?? 0,
    unreachable: view.unreachable.includes(id),
  }));
  return {
    self: view.id,
    state: STATES[view.state],
    fenced: view.fenced ?? '',
    waitingUntil: view.waitsUntilMs === undefined ? undefined : toTimestamp(view.waitsUntilMs),
    lag: toDuration(view.lagMs),
    replicas: replicas.sort((a, b) => (a.id < b.id ? -1 : 1)),
  };
}
