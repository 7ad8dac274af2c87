import type { Clock } from '../base/clock.js';
import { type Closeable, Closers } from '../base/lifecycle.js';
import type { Random } from '../base/random.js';
import type { Telemetry } from '../base/telemetry.js';
import { Addresses } from '../catalog/addresses.js';
import { Catalog } from '../catalog/catalog.js';
import { InstanceOrder } from '../catalog/instance-order.js';
import { Commits } from '../catalog/commits.js';
import { Backups } from './backups.js';
import { Checker } from './checks/checker.js';
import { FailingShare } from './checks/failing-share.js';
import { ProbeAnswers } from './checks/probe-answers.js';
import type { Prober } from './checks/prober.js';
import { ServiceChecks } from './checks/service-checks.js';
import { Verdicts } from './checks/verdicts.js';
import { AccessComparison } from './cluster/access-comparison.js';
import { Freshness } from '../catalog/freshness.js';
import { ConsistencyCheck } from '../catalog/sync/consistency-check.js';
import { ForeignDeleteRepair } from '../catalog/sync/foreign-delete-repair.js';
import { prepareStore } from '../catalog/sync/schema.js';
import { StoreSync } from '../catalog/sync/store-sync.js';
import type { Store } from '../store/store.js';
import { History } from './history/history.js';
import { LostMembers } from './cluster/lost-members.js';
import { Membership } from './cluster/membership.js';
import { PeerProofs } from './cluster/peer-proofs.js';
import { PeerResponder } from './cluster/peer-responder.js';
import { PeerSecret } from './cluster/peer-secret.js';
import { Publishing } from './config/publishing.js';
import { Versions } from './config/versions.js';
import { Heartbeats } from './health/heartbeats.js';
import { Judge } from './health/judge.js';
import { LivenessClock, type SelfBeat } from './health/liveness-clock.js';
import { LivenessTable } from './health/liveness-table.js';
import type { PauseReason } from './health/pause-reason.js';
import { ALONE, type Cluster, type PeerConnector } from './health/peers.js';
import { Extent } from './health/extent.js';
import { ProtectionKeeper } from './health/protection-keeper.js';
import { ProtectionRule } from './health/protection-rule.js';
import type { ProtectionTimes } from './health/protection-times.js';
import { FallLimit } from './health/fall-limit.js';
import { Seasoning } from './health/seasoning.js';
import { Successors } from './health/successors.js';
import { OverrideKeeper } from './overrides/override-keeper.js';
import { Overrides } from './overrides/overrides.js';
import { Discovery } from './registry/discovery.js';
import { Lookup } from './registry/lookup.js';
import { Registrations } from './registry/registrations.js';
import { Takeovers } from './registry/takeovers.js';
import { GarbageCollector } from './retention/garbage-collector.js';

/** Everything that a replica needs from the world outside. */
export interface Surroundings {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
  readonly selfBeat: SelfBeat;
  readonly protectionTimes: ProtectionTimes;
  /** The name of the node of this process: the same after a restart. Records say which node wrote them. */
  readonly node: string;
  /** The identity of this process among other members. `undefined` if no other process can use the store. */
  readonly cluster: ClusterSettings | undefined;
  /** Probes the targets of checks. `undefined`: this server does not probe. */
  readonly prober?: Prober;
  /** Takes the place of the membership. For tests. */
  readonly members?: Cluster;
}

/** The identity of a member. */
export interface ClusterSettings {
  /** The address at which the others reach its PeerService: "host:port". */
  readonly address: string;
  /** The port for HTTP of this process, at the same host. `undefined`: it has none. */
  readonly httpPort: number | undefined;
  /** A short name for the text of the access file in force; empty without access control. */
  readonly accessHash: () => string;
  /** Connects to the others; its questions are proven by `proofs`. */
  readonly connect: (proofs: PeerProofs) => PeerConnector;
}

/** One replica of the product, without API and edges. */
export interface Replica extends Closeable {
  /** The name of the node of this server. */
  readonly node: string;
  readonly store: Store;
  readonly catalog: Catalog;
  readonly freshness: Freshness;
  readonly registrations: Registrations;
  readonly heartbeats: Heartbeats;
  readonly discovery: Discovery;
  readonly lookup: Lookup;
  readonly protection: ProtectionKeeper;
  readonly overrides: Overrides;
  readonly checker: Checker;
  readonly serviceChecks: ServiceChecks;
  /** The transitions of instances, protections and members. */
  readonly history: History;
  readonly publishing: Publishing;
  readonly versions: Versions;
  readonly backups: Backups;
  readonly table: LivenessTable;
  readonly judge: Judge;
  /** `undefined` if this process is alone on its store. */
  readonly membership: Membership | undefined;
  /** The members that left without a clean departure. `undefined` as for `membership`. */
  readonly lostMembers: LostMembers | undefined;
  /** The answers of this member to the others. */
  readonly peer: PeerResponder | undefined;
  /** The proofs between this member and the others. `undefined` as for `membership`. */
  readonly peerProofs: PeerProofs | undefined;
  /** Resolves when the first listing has been taken in and the cluster joined, however long the store takes. */
  readonly ready: Promise<void>;
  /** Acknowledges no heartbeat from here on, and leaves the cluster. To be called before the streams are ended. */
  leave(): Promise<void>;
}

/** Wires a replica and starts it. The server, the simulation and the tests all use it. */
export function startReplica(surroundings: Surroundings): Replica {
  const { store, clock, random, telemetry, selfBeat, node, protectionTimes: times } = surroundings;
  const { counters } = telemetry;
  const named = (component: string): Telemetry => ({ ...telemetry, log: telemetry.log.child(component) });

  const catalog = new Catalog({ clock, telemetry: named('catalog') });
  const addresses = new Addresses();
  const order = new InstanceOrder();
  const commits = new Commits({ store, catalog, clock, random, node, telemetry });
  const freshness = new Freshness({ health: () => store.health(), commits, catalog, clock });
  const sync = new StoreSync({ store, catalog, clock, random, telemetry: named('catalog') });

  let membership: Membership | undefined;
  const pauseReasons = (): PauseReason[] => reasonsToPause(catalog, store, membership);
  const liveness = new LivenessClock(clock, selfBeat, pauseReasons);
  const table = new LivenessTable(liveness);
  let proofs: PeerProofs | undefined;
  if (surroundings.cluster) {
    proofs = new PeerProofs({
      secret: new PeerSecret({ store, clock, random }),
      self: () => membership!.ref,
      isMember: (ref) => catalog.members.some(({ name, epoch }) => name === ref.id && epoch === ref.epoch),
    });
    membership = new Membership({
      ...surroundings.cluster,
      connect: surroundings.cluster.connect(proofs),
      ...{ store, catalog, clock, random, node, telemetry: named('cluster') },
      probes: surroundings.prober !== undefined,
      recent: () => table.recent(),
      relist: () => sync.relist(),
    });
  }
  const cluster = surroundings.members ?? membership ?? ALONE;

  const successors = new Successors(addresses, table);
  const health = { catalog, commits, table, liveness, cluster, clock, counters, node };
  const seasoning = new Seasoning({ liveness, successors, protectionTimes: times, counters });
  const limit = new FallLimit(health);
  const verdicts = { ...health, seasoning, limit };
  const judge = new Judge({ ...verdicts, successors, protectionTimes: times, telemetry: named('judge') });
  const seen = { catalog, table, liveness, times };
  const rule = new ProtectionRule({ ...seen, extent: new Extent(seen) });
  const protection = new ProtectionKeeper({ ...health, rule, times, telemetry: named('protection') });
  const { prober } = surroundings;
  const checks = { ...health, share: new FailingShare(), telemetry: named('checks') };
  const checkVerdicts = new Verdicts({ ...verdicts, ...checks });
  const checker = new Checker({ ...checks, prober, verdicts: checkVerdicts });
  const probeAnswers = new ProbeAnswers({ catalog, prober, clock });
  const overrideKeeper = new OverrideKeeper({ ...health, telemetry: named('overrides') });
  const history = new History({ store, catalog, clock, addresses, node, log: telemetry.log.child('history') });
  const versions = new Versions(catalog, commits, clock);
  const collector = new GarbageCollector({ catalog, commits, clock, telemetry: named('collector') });
  const repair = new ForeignDeleteRepair({ catalog, commits, clock, telemetry: named('catalog') });
  const takeovers = new Takeovers({ catalog, clock, alarms: telemetry.alarms });
  const check = new ConsistencyCheck({
    ...{ store, catalog, clock, random, telemetry: named('catalog') },
    beginAgain: () => sync.beginAgain(),
  });

  const closers = new Closers();
  addresses.start(catalog, closers.addSignal());
  order.start(catalog, closers.addSignal());
  for (const part of [judge, protection, checker, overrideKeeper, takeovers, history]) closers.add(part).start();
  const preparing = closers.addSignal();
  const ready = prepareStore({ store, clock, random, log: telemetry.log }, preparing).then(async () => {
    sync.start();
    membership?.start();
    await Promise.all([catalog.whenReady(), membership?.whenJoined()]);
  });
  const lostMembers = membership && new LostMembers({ catalog, commits, clock, telemetry: named('cluster') });
  closers.add(sync);
  if (membership) closers.add(membership);
  if (lostMembers) closers.add(lostMembers).start();
  if (membership) closers.add(new AccessComparison({ catalog, clock, alarms: telemetry.alarms })).start();
  closers.add(collector).start();
  if (!store.exclusive) closers.add(check).start();
  closers.add(repair).start();

  return {
    node,
    store,
    catalog,
    freshness,
    registrations: new Registrations({
      ...{ catalog, commits, addresses, random, telemetry: named('registry') },
      refusal: prober && ((target) => prober.refusal(target)),
    }),
    heartbeats: new Heartbeats(health),
    discovery: new Discovery(catalog, counters),
    lookup: new Lookup(order),
    protection,
    history,
    checker,
    serviceChecks: new ServiceChecks({ catalog, commits, telemetry: named('checks') }),
    overrides: new Overrides({ catalog, commits, telemetry: named('overrides') }),
    publishing: new Publishing({ catalog, commits, versions, clock, counters }),
    versions,
    backups: new Backups({ store, telemetry: named('backups') }),
    table,
    judge,
    membership,
    lostMembers,
    peer: membership && new PeerResponder(membership, table, probeAnswers),
    peerProofs: proofs,
    ready,
    leave: async () => membership?.leave(),
    close: () => closers.close(),
  };
}

/** The liveness clock is paused unless this process could have heard beats and could record a verdict. */
function reasonsToPause(catalog: Catalog, store: Store, membership: Membership | undefined): PauseReason[] {
  const { unreachableSinceMs, writable } = store.health();
  const reasons: PauseReason[] = [];
  if (!catalog.ready) reasons.push('STARTING');
  if (unreachableSinceMs !== undefined) reasons.push('STORE_UNREACHABLE');
  if (!writable) reasons.push('STORE_NOT_WRITABLE');
  if (membership?.unconfirmed) reasons.push('MEMBERSHIP_UNCONFIRMED');
  return reasons;
}
