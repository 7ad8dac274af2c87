import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import {
  type GetStatusResponse,
  type ReleaseProtectionRequest,
  ReleaseProtectionResponse,
} from '../../gen/rollcall/v1/admin_service.js';
import type { Reads } from '../../catalog/reads.js';
import { LIMITS } from '../../model/limits.js';
import { toDuration, toTimestamp } from '../../model/time.js';
import type { Replica } from '../../replica.js';
import type { RaisedAlarm } from '../../telemetry/alarms.js';
import { checkReleaseProtection } from './admin-requests.js';
import type { Calls } from './calls.js';
import type { WatchHub } from './watch-hub.js';

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
  { catalog, discovery, liveness, store }: Replica,
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
    verdictsPostponed: [...liveness.still],
    protectedServices: protectedServices.services,
  };
}
