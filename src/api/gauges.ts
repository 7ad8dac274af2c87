import type { Gauge, Sample } from '../base/metrics.js';
import { oneOf } from '../base/metrics.js';
import { FENCE_REASONS } from '../domain/cluster/fence.js';
import { STATE_NAMES } from '../domain/cluster/view.js';
import { PAUSE_REASONS } from '../domain/health/pause-reason.js';
import type { Replica } from '../domain/replica.js';
import { LIMITS } from '../model/limits.js';
import type { Dispatcher } from './call/dispatcher.js';
import type { Readiness } from './readiness.js';

/** The parts that the gauges read. */
export interface GaugeSource {
  readonly replica: Replica;
  readonly dispatcher: Pick<Dispatcher, 'unsent' | 'openStreams'>;
  readonly readiness: Readiness;
  readonly version: string;
  /** The ends of the own certificates, in milliseconds of the wall clock. */
  readonly certificates: () => readonly { readonly use: string; readonly notAfterMs: number }[];
  /** The number of open connections of the gRPC port. */
  readonly grpcConnections: () => number;
  /** The number of open watches. */
  readonly watches: () => number;
}

/** The gauges of a server. No label has a value that a client chooses, so their number has a bound. */
export const GAUGES: readonly Gauge<GaugeSource>[] = [
  {
    name: 'build_info',
    labels: ['version'],
    help: 'Always 1; the label is the version of Rollcall.',
    read: ({ version }) => [{ labels: { version }, value: 1 }],
  },
  {
    name: 'ready_check',
    labels: ['name'],
    help: '1 for each condition of readiness that holds, else 0.',
    read: ({ readiness }) =>
      readiness
        .checks()
        .map(({ name, failure }): Sample => ({ labels: { name }, value: failure === undefined ? 1 : 0 })),
  },
  {
    name: 'namespaces',
    help: 'Namespaces with an instance or a config.',
    read: ({ replica }) => replica.discovery.totals().namespaces,
  },
  {
    name: 'services',
    help: 'Services with an instance.',
    read: ({ replica }) => replica.discovery.totals().services,
  },
  {
    name: 'protected_services',
    help: 'Services whose silent instances are still shown, because many fell silent in one event.',
    read: ({ replica }) => replica.discovery.protectedServices(0).count,
  },
  {
    name: 'checked_instances',
    labels: ['verdict'],
    help: 'Instances with health checks, by the verdict on them.',
    read: ({ replica }) =>
      Object.entries(replica.checker.byVerdict()).map(([verdict, value]): Sample => ({ labels: { verdict }, value })),
  },
  {
    name: 'checks_mine',
    help: 'Instances whose health checks this server probes.',
    read: ({ replica }) => replica.checker.mineCount(),
  },
  {
    name: 'checks_waiting',
    help: 'Health checks that are due and wait, because as many probes are open as may be.',
    read: ({ replica }) => replica.checker.waiting,
  },
  {
    name: 'check_certificate_expiry_timestamp_seconds',
    help: 'Unix time at which the first certificate ends, of those that the targets of health checks showed this server.',
    read: ({ replica }) => {
      const endsMs = replica.checker.firstCertificateEndsMs();
      return endsMs && endsMs / 1_000;
    },
  },
  {
    name: 'instances',
    help: 'Registered instances, silent ones included.',
    read: ({ replica: { catalog } }) => catalog.instances.liveCount,
  },
  {
    name: 'instances_max',
    help: 'The limit of instances.',
    read: () => LIMITS.INSTANCES.value,
  },
  {
    name: 'configs',
    help: 'Configs that are not deleted.',
    read: ({ replica: { catalog } }) => catalog.configs.liveCount,
  },
  {
    name: 'configs_max',
    help: 'The limit of configs.',
    read: () => LIMITS.CONFIGS.value,
  },
  {
    name: 'tombstones',
    help: 'Records of removed instances and deleted configs that are kept for watches that resume.',
    read: ({ replica: { catalog } }) => catalog.instances.tombstoneCount + catalog.configs.tombstoneCount,
  },
  {
    name: 'grpc_connections',
    help: 'Open connections of the gRPC port.',
    read: ({ grpcConnections }) => grpcConnections(),
  },
  {
    name: 'grpc_connections_max',
    help: 'The limit of open connections of the gRPC port.',
    read: () => LIMITS.GRPC_CONNECTIONS.value,
  },
  {
    name: 'watches',
    help: 'Open watches.',
    read: ({ watches }) => watches(),
  },
  {
    name: 'watches_max',
    help: 'The limit of open watches.',
    read: () => LIMITS.WATCHES.value,
  },
  {
    name: 'streams',
    help: 'Open streams: watches, and streams of heartbeats.',
    read: ({ dispatcher }) => dispatcher.openStreams,
  },
  {
    name: 'unsent_bytes',
    help: 'Bytes of watches and of large answers that clients have not read yet.',
    read: ({ dispatcher }) => dispatcher.unsent.bytes,
  },
  {
    name: 'store_revision',
    help: 'The revision of the store that reads of this server show.',
    read: ({ replica: { catalog } }) => Number(catalog.revision),
  },
  {
    name: 'store_reachable',
    help: '1 if the store answers, else 0.',
    read: ({ replica: { store } }) => (store.health().unreachableSinceMs === undefined ? 1 : 0),
  },
  {
    name: 'store_writable',
    help: '1 if the store takes writes as far as this server knows, 0 if its disk or quota is full.',
    read: ({ replica: { store } }) => (store.health().writable ? 1 : 0),
  },
  {
    name: 'stale_seconds',
    help: 'How old answers to reads may be, in seconds; 0 if the store answers.',
    read: ({ replica: { freshness } }) => (freshness.stamp().staleForMs ?? 0) / 1_000,
  },
  {
    name: 'catalog_lag_seconds',
    help: 'Seconds since the watch of this member last showed its own rewrite, of which there is one every 3 s. Only on etcd.',
    read: ({ replica: { membership } }) => membership && membership.view().lagMs / 1_000,
  },
  {
    name: 'members',
    help: 'Servers in the cluster. Only on etcd.',
    read: ({ replica: { membership } }) => membership?.view().members.length,
  },
  {
    name: 'members_unreachable',
    help: 'Members that did not answer the last question of this one. Only on etcd.',
    read: ({ replica: { membership } }) => membership?.view().unreachable.length,
  },
  {
    name: 'member',
    labels: ['state'],
    help: '1 for the state of the membership of this server, 0 for each other state. Only on etcd.',
    read: ({ replica: { membership } }) => membership && oneOf('state', STATE_NAMES, [membership.view().state]),
  },
  {
    name: 'fenced',
    labels: ['reason'],
    help: '1 for the reason for which this server acknowledges no heartbeat, 0 for each other reason. Only on etcd.',
    read: ({ replica: { membership } }) => membership && oneOf('reason', FENCE_REASONS, definedOf(membership.fenced())),
  },
  {
    name: 'certificate_not_after_seconds',
    labels: ['use'],
    help: 'Unix time at which a certificate of this server ends.',
    read: ({ certificates }) =>
      certificates().map(({ use, notAfterMs }) => ({ labels: { use }, value: notAfterMs / 1_000 })),
  },
  {
    name: 'verdicts_postponed',
    labels: ['reason'],
    help: '1 for each reason for which silent instances are not judged now, 0 for each other reason.',
    read: ({ replica: { judge } }) =>
      oneOf(
        'reason',
        PAUSE_REASONS,
        judge.postponements().map(({ reason }) => reason),
      ),
  },
];

const definedOf = <T>(value: T | undefined): T[] => (value === undefined ? [] : [value]);
