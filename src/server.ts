import { LoopbackSelfBeat } from './api/self-beat.js';
import { GrpcServer } from './api/grpc/grpc-server.js';
import { systemClock } from './base/clock.js';
import { type Closeable, Closers } from './base/lifecycle.js';
import { systemRandom } from './base/random.js';
import { newEpoch } from './catalog/schema.js';
import { noPeers } from './health/peers.js';
import { startReplica } from './replica.js';
import type { Settings, StoreSettings } from './settings/settings.js';
import type { Store } from './store/store.js';
import type { ProcessTelemetry } from './telemetry/telemetry.js';
import { VERSION } from './version.js';

/** A server that takes calls. */
export interface RunningServer extends Closeable {
  readonly grpcPort: number;
}

/**
 * Starts a server: store, replica, gRPC, and only then health checks are told yes. Closing goes the other way.
 * `onFatal` is told of what the process cannot go on after.
 */
export async function startServer(
  settings: Settings,
  telemetry: ProcessTelemetry,
  onFatal: (error: Error) => void,
): Promise<RunningServer> {
  const clock = systemClock;
  const random = systemRandom;
  const closers = new Closers();
  try {
    const store = closers.add(await openStore(settings.store, telemetry, onFatal));
    const selfBeat = closers.add(await LoopbackSelfBeat.open(clock));
    const replica = closers.add(startReplica({ store, clock, random, telemetry, selfBeat, peers: noPeers }));
    const about = {
      version: VERSION,
      startedAtMs: clock.wall(),
      storeKind: store.kind,
      alarms: () => telemetry.alarms.raised(),
    };
    const grpc = new GrpcServer(replica, about, clock, random, telemetry);
    const grpcPort = await grpc.listen(settings.host, settings.grpcPort);
    closers.add(grpc);
    await replica.ready;
    grpc.serve();
    return { grpcPort, close: () => closers.close() };
  } catch (error) {
    await closers.close();
    throw error;
  }
}

/** Gives the store that the settings name a new epoch, and returns it: the last step of a restore. */
export async function renewEpoch(settings: StoreSettings, telemetry: ProcessTelemetry): Promise<string> {
  const fail = (error: Error): never => {
    throw error;
  };
  const store = await openStore(settings, telemetry, fail);
  try {
    return await newEpoch(store, systemRandom);
  } finally {
    await store.close();
  }
}

/** Opens the store that the settings name. An etcd that does not answer is no reason to fail: it is waited for. */
async function openStore(
  settings: StoreSettings,
  telemetry: ProcessTelemetry,
  onFatal: (error: Error) => void,
): Promise<Store> {
  const clock = systemClock;
  // Only the store that is used is loaded.
  if (settings.kind === 'embedded') {
    const { openEmbeddedStore } = await import('./store/embedded/embedded-store.js');
    return openEmbeddedStore({ folder: settings.dataDir, clock, telemetry, onFatal });
  }
  const { openEtcdStore } = await import('./store/etcd/etcd-store.js');
  return openEtcdStore({ connection: settings, prefix: settings.prefix, clock, random: systemRandom, telemetry });
}
