import type { Clock } from './base/clock.js';
import { type Closeable, Closers } from './base/lifecycle.js';
import type { Telemetry } from './base/observe.js';
import type { Random } from './base/random.js';
import { Catalog } from './catalog/catalog.js';
import { Collector } from './catalog/collector.js';
import { Follower } from './catalog/follow.js';
import { Reads } from './catalog/reads.js';
import { Restorer } from './catalog/restorer.js';
import { StoreGate } from './catalog/store-gate.js';
import { Publishing } from './config/publishing.js';
import { Versions } from './config/versions.js';
import { Heard } from './health/heard.js';
import { Heartbeats } from './health/heartbeats.js';
import { Judge } from './health/judge.js';
import { LivenessClock, type SelfBeat } from './health/liveness-clock.js';
import type { Peers } from './health/peers.js';
import { Protection } from './health/protection.js';
import { Removals } from './health/removals.js';
import { Discovery } from './registry/discovery.js';
import { Registrations } from './registry/registrations.js';
import { prepareStore } from './catalog/schema.js';
import type { Store } from './store/store.js';

/** What a replica is made from: everything that touches the world outside. */
export interface Surroundings {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
  readonly selfBeat: SelfBeat;
  readonly peers: Peers;
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
  /** Resolves when the first listing has been taken in, however long the store takes. */
  readonly ready: Promise<void>;
}

/** Wires a replica and starts it. The server, the simulation and the tests all get theirs here. */
export function startReplica({ store, clock, random, telemetry, selfBeat, peers }: Surroundings): Replica {
  const named = (component: string): Telemetry => ({ ...telemetry, log: telemetry.log.child(component) });
  const { counters } = telemetry;
  const catalog = new Catalog(clock, named('catalog'));
  const gate = new StoreGate(store, catalog, random, counters);
  const reads = new Reads(() => store.health(), gate, catalog, clock);
  const liveness = new LivenessClock(clock, selfBeat, () => reasonsToStandStill(catalog, store));
  const heard = new Heard(liveness);
  const removals = new Removals(catalog, liveness, counters);
  const judge = new Judge(catalog, gate, heard, liveness, peers, removals, clock, named('judge'));
  const protection = new Protection(catalog, gate, clock, named('protection'), () => true);
  const versions = new Versions(catalog, gate, clock);
  const follower = new Follower(store, catalog, clock, random, named('catalog'));
  const collector = new Collector(catalog, gate, clock, named('collector'));

  const closers = new Closers();
  judge.start();
  closers.add(judge);
  protection.start();
  closers.add(protection);
  const ready = prepareStore(store, clock, random, telemetry.log, closers).then(() => {
    follower.start();
    return catalog.whenReady();
  });
  closers.add(follower);
  collector.start();
  closers.add(collector);
  const restorer = closers.add(new Restorer(catalog, gate, clock, named('catalog')));
  restorer.start();

  return {
    store,
    catalog,
    reads,
    registrations: new Registrations(catalog, gate, clock, random, counters),
    heartbeats: new Heartbeats(catalog, gate, heard, clock, counters),
    discovery: new Discovery(catalog, counters),
    protection,
    publishing: new Publishing(catalog, gate, versions, clock, counters, telemetry.log.child('config')),
    versions,
    liveness,
    heard,
    ready,
    close: () => closers.close(),
  };
}

/** Silence is judged only while this process could have heard and could record a verdict. */
function reasonsToStandStill(catalog: Catalog, store: Store): string[] {
  const { outOfReachSinceMs, writable } = store.health();
  const reasons: string[] = [];
  if (!catalog.ready) reasons.push('STARTING');
  if (outOfReachSinceMs !== undefined) reasons.push('STORE_OUT_OF_REACH');
  if (!writable) reasons.push('STORE_NOT_WRITABLE');
  return reasons;
}
