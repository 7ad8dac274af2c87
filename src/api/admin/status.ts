import type { Catalog } from '../../catalog/catalog.js';
import type { LostMember } from '../../domain/cluster/lost-members.js';
import type { ClusterView } from '../../domain/cluster/view.js';
import type { Replica } from '../../domain/replica.js';
import {
  type ClusterStatus,
  GetStatusResponse,
  MembershipState,
  StoreStatus,
} from '../../gen/rollcall/v1/admin_service.js';
import { LIMITS } from '../../model/limits.js';
import { toDuration, toTimestamp } from '../../model/time.js';

/** Facts about the process that GetStatus reports beside the state of the replica. */
export interface About {
  readonly version: string;
  /** Wall-clock milliseconds. */
  readonly startedAtMs: number;
  /** A short name for the text of the access file in force; empty without access control. */
  accessHash(): string;
  /** Whether a load balancer should send calls here. */
  ready(): boolean;
  /** The alarms that are raised now. */
  alarms(): readonly { readonly name: string; readonly message: string; readonly sinceMs: number }[];
}

/** The answer to GetStatus. `watches` is the number of open watches. */
export function statusOf(replica: Replica, watches: number, about: About): GetStatusResponse {
  const { catalog, discovery, judge, membership, lostMembers, store, freshness } = replica;
  const { unreachableSinceMs, writable } = store.health();
  const reachable = unreachableSinceMs === undefined;
  const { revision, staleForMs } = freshness.stamp();
  const { services, namespaces } = discovery.totals();
  const protectedServices = discovery.protectedServices(LIMITS.PAGE_SIZE.value);
  return {
    version: about.version,
    startTime: toTimestamp(about.startedAtMs),
    ready: about.ready(),
    store: {
      kind: store.kind,
      epoch: catalog.storeEpoch,
      reachable,
      writable: reachable && writable,
      staleFor: staleForMs === undefined ? undefined : toDuration(staleForMs),
    },
    revision,
    counts: {
      namespaces,
      services,
      instances: catalog.instances.liveCount,
      configs: catalog.configs.liveCount,
      tombstones: catalog.instances.tombstoneCount + catalog.configs.tombstoneCount,
      watches,
      protectedServices: protectedServices.count,
    },
    alarms: about.alarms().map(({ name, message, sinceMs }) => ({ name, message, since: toTimestamp(sinceMs) })),
    verdictsPostponed: judge.postponements().map(({ reason, sinceMs, untilMs }) => ({
      reason,
      since: toTimestamp(sinceMs),
      until: untilMs === undefined ? undefined : toTimestamp(untilMs),
    })),
    protectedServices: protectedServices.services,
    accessHash: about.accessHash(),
    cluster: membership && clusterOf(membership.view(), lostMembers?.lost ?? [], catalog),
  };
}

/** The part of a status that every caller may see: whether it can work with this server. */
export const publicPartOf = ({ version, ready, store }: GetStatusResponse): GetStatusResponse => ({
  ...GetStatusResponse.create(),
  ...{ version, ready, store: StoreStatus.fromPartial({ reachable: store?.reachable ?? false }) },
});

const STATES = {
  OUT: MembershipState.MEMBERSHIP_STATE_OUT,
  WAITING: MembershipState.MEMBERSHIP_STATE_WAITING,
  IN: MembershipState.MEMBERSHIP_STATE_IN,
  LEAVING: MembershipState.MEMBERSHIP_STATE_LEAVING,
  GONE: MembershipState.MEMBERSHIP_STATE_GONE,
};

function clusterOf(view: ClusterView, lost: readonly LostMember[], { instances }: Catalog): ClusterStatus {
  const judged = new Map<string, number>();
  for (const [namespace, { scopes }] of instances.namespaces()) {
    for (const [service, { value: scope }] of scopes) {
      const judge = scope.liveCount > 0 ? view.judgeOf(namespace, service) : undefined;
      if (judge !== undefined) judged.set(judge, (judged.get(judge) ?? 0) + 1);
    }
  }
  const replicas = view.members.map(({ name: id, epoch, record: { node, address, accessHash } }) => ({
    id,
    node,
    address,
    epoch,
    judgedServices: judged.get(id) ?? 0,
    unreachable: view.unreachable.includes(id),
    accessHash,
  }));
  return {
    self: view.id,
    state: STATES[view.state],
    fenced: view.fenced ?? '',
    waitingUntil: view.waitsUntilMs === undefined ? undefined : toTimestamp(view.waitsUntilMs),
    lag: toDuration(view.lagMs),
    replicas: replicas.sort((a, b) => (a.id < b.id ? -1 : 1)),
    lostMembers: lost.map(({ node, sinceMs }) => ({ node, since: toTimestamp(sinceMs) })),
  };
}
