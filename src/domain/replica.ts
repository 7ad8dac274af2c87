import type { Clock } from '../base/clock.js';
import { type Closeable, Closers } from '../base/lifecycle.js';
import type { Telemetry } from '../base/observe.js';
import type { Random } from '../base/random.js';
import { Catalog } from '../catalog/catalog.js';
import { Collector } from './retention/collector.js';
import { Comparison } from '../catalog/sync/comparison.js';
import { Follower } from '../catalog/sync/follow.js';
import { Reads } from '../catalog/reads.js';
import { Restorer } from '../catalog/sync/restorer.js';
import { StoreGate } from '../catalog/store-gate.js';
import { Membership } from './cluster/membership.js';
import { PeerEnd } from './cluster/peer-end.js';
import { Publishing } from './config/publishing.js';
import { Versions } from './config/versions.js';
import { Heard } from './health/heard.js';
import { Heartbeats } from './health/heartbeats.js';
import { Judge } from './health/judge.js';
import { LivenessClock, type SelfBeat } from './health/liveness-clock.js';
import { alone, type Cluster, type PeerConnector } from './health/peers.js';
import { Protection } from './health/protection.js';
import { Removals } from './health/removals.js';
import { Discovery } from './registry/discovery.js';
import { Registrations } from './registry/registrations.js';
import { prepareStore } from '../catalog/sync/schema.js';
import type { Store } from '../store/store.js';

/** What a replica is made from: everything that touches the world outside. */
export interface Surroundings {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
  readonly selfBeat: SelfBeat;
  /** How long the instances of a protected service stay silent before they are removed. */
  readonly protectedRemovalMs: number;
  /** How this process is a member among others. Undefined: nobody else can use the store. */
  readonly cluster: ClusterSettings | undefined;
}

/** What a member is known by. */
export interface ClusterSettings {
  /** The name of the node: the same after a restart. */
  readonly node: string;
  /** Where the others reach its PeerService: "host:port". */
  readonly address: string;
  readonly connect: PeerConnector;
}

/** One replica of the product, without its protocol edges. */
export interface Replica extends Closeable {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly reads: Reads;
  readonly registrations: Registrations;
  readonly heartbeats: Heartbeats;
  readonly discovery: Discovery;
  readonly protection: Protection;
  readonly publishing: Publishing;
  readonly versions: Versions;
  readonly liveness: LivenessClock;
  readonly heard: Heard;
  readonly judge: Judge;
  /** Undefined: this process is alone on its store. */
  readonly membership: Membership | undefined;
  /** What this member says to the others. */
  readonly peer: PeerEnd | undefined;
  /** Resolves when the first listing has been taken in, and the cluster joined, however long the store takes. */
  readonly ready: Promise<void>;
  /** Acknowledges no heartbeat from here on, and leaves the cluster; before the streams are ended. */
  leave(): Promise<void>;
}

/**
 * Wires a replica and starts it. The server, the simulation and the tests all get theirs here; a test may put others
 * around it than those of a cluster.
 */
export function startReplica(
  { store, clock, random, telemetry, selfBeat, protectedRemovalMs, cluster }: Surroundings,
  others?: Cluster,
): Replica {
  const named = (component: string): Telemetry => ({ ...telemetry, log: telemetry.log.child(component) });
  const { counters } = telemetry;
  const catalog = new Catalog(clock, named('catalog'));
  const gate = new StoreGate(store, catalog, random, counters);
  const reads = new Reads(() => store.health(), gate, catalog, clock);
  const liveness: LivenessClock = new LivenessClock(clock, selfBeat, () =>
    reasonsToStandStill(catalog, store, membership),
  );
  const heard = new Heard(liveness);
  const follower = new Follower(store, catalog, clock, random, named('catalog'));
  const membership: Membership | undefined =
    cluster &&
    new Membership({
      ...{ store, catalog, clock, random, ...cluster },
      telemetry: named('cluster'),
      recent: () => heard.recent(),
      relist: () => follower.relist(),
    });
  const members = others ?? membership ?? alone;
  const removals = new Removals(catalog, liveness, counters, protectedRemovalMs);
  const judge = new Judge(catalog, gate, heard, liveness, members, removals, clock, named('judge'));
  const protection = new Protection(catalog, gate, clock, named('protection'), (namespace, service) =>
    members.judges(namespace, service),
  );
  const versions = new Versions(catalog, gate, clock);
  const collector = new Collector(catalog, gate, clock, named('collector'));

  const closers = new Closers();
  judge.start();
  closers.add(judge);
  protection.start();
  closers.add(protection);
  const ready = prepareStore(store, clock, random, telemetry.log, closers).then(() => {
    follower.start();
    membership?.start();
    return Promise.all([catalog.whenReady(), membership?.whenJoined()]).then(() => undefined);
  });
  closers.add(follower);
  if (membership) closers.add(membership);
  collector.start();
  closers.add(collector);
  if (!store.exclusive) {
    const comparison = new Comparison(store, catalog, clock, random, named('catalog'), () => follower.beginAnew());
    closers.add(comparison).start();
  }
  const restorer = closers.add(new Restorer(catalog, gate, clock, named('catalog')));
  restorer.start();

  return {
    store,
    catalog,
    reads,
    registrations: new Registrations(catalog, gate, clock, random, counters),
    heartbeats: new Heartbeats(catalog, gate, heard, members, clock, counters),
    discovery: new Discovery(catalog, counters),
    protection,
    publishing: new Publishing(catalog, gate, versions, clock, counters, telemetry.log.child('config')),
    versions,
    liveness,
    heard,
    judge,
    membership,
    peer: membership && new PeerEnd(membership, heard),
    ready,
    leave: async () => membership?.leave(),
    close: () => closers.close(),
  };
}

/** Silence is judged only while this process could have heard and could record a verdict. */
function reasonsToStandStill(catalog: Catalog, store: Store, membership: Membership | undefined): string[] {
  const { outOfReachSinceMs, writable } = store.health();
  const reasons: string[] = [];
  if (!catalog.ready) reasons.push('STARTING');
  if (outOfReachSinceMs !== undefined) reasons.push('STORE_OUT_OF_REACH');
  if (!writable) reasons.push('STORE_NOT_WRITABLE');
  if (membership?.unconfirmed) reasons.push('MEMBERSHIP_UNCONFIRMED');
  return reasons;
}
