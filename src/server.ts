import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { GrpcServer } from './edges/grpc/grpc-server.js';
import { connectPeer } from './edges/peer/peer-client.js';
import { LoopbackSelfBeat } from './edges/loopback/self-beat.js';
import { delay, systemClock } from './base/clock.js';
import { type Closeable, Closers } from './base/lifecycle.js';
import { systemRandom } from './base/random.js';
import { newEpoch } from './catalog/sync/schema.js';
import { memberNodes } from './domain/cluster/membership.js';
import { type Replica, startReplica } from './domain/replica.js';
import { MEMBERS } from './model/keys.js';
import type { Settings, StoreSettings } from './settings/settings.js';
import type { Store } from './store/store.js';
import type { ProcessTelemetry } from './telemetry/telemetry.js';
import { VERSION } from './version.js';

/** How long leaving the cluster may take: with the 10 s for calls in flight the process is gone within 15 s. */
const LEAVE_MAX_MS = 4_000;

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
    const grpc = new GrpcServer(clock, random, telemetry);
    const grpcPort = await grpc.listen(settings.host, settings.grpcPort);
    // Everything down to offer() happens in the turn in which the port is bound, before any call is read.
    const address = settings.advertise ?? `${advertisedHost(settings.host)}:${grpcPort}`;
    const cluster = store.exclusive ? undefined : { node: settings.node ?? address, address, connect: connectPeer };
    const { protectedRemovalMs } = settings;
    const replica = closers.add(
      startReplica({ store, clock, random, telemetry, selfBeat, protectedRemovalMs, cluster }),
    );
    closers.add(grpc);
    const about = {
      version: VERSION,
      startedAtMs: clock.wall(),
      storeKind: store.kind,
      alarms: () => telemetry.alarms.raised(),
    };
    grpc.offer(replica, about);
    await replica.ready;
    grpc.serve();
    replica.membership?.onServing((serving) => (serving ? grpc.serve() : grpc.stopServing()));
    return { grpcPort, close: () => stop(grpc, replica, closers) };
  } catch (error) {
    await closers.close();
    throw error;
  }
}

/**
 * Stops: health checks are told no, the cluster is left while calls are still taken, and then everything is closed. A
 * store that does not answer must not hold up the end.
 */
async function stop(grpc: GrpcServer, replica: Replica, closers: Closers): Promise<void> {
  grpc.stopServing();
  const timeUp = new AbortController();
  await Promise.race([replica.leave(), delay(systemClock, LEAVE_MAX_MS, timeUp.signal)]);
  timeUp.abort();
  await closers.close();
}

/** Where others reach this server: a host that stands for every address of the machine is none. */
function advertisedHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return hostname();
  return host.includes(':') ? `[${host}]` : host;
}

/**
 * Gives the store that the settings name a new epoch: the last step of a restore. Returns it, and the nodes whose member
 * keys stand in the store: their servers run, or ran less than a lease before the backup was taken.
 */
export async function renewEpoch(
  settings: StoreSettings,
  telemetry: ProcessTelemetry,
): Promise<{ epoch: string; nodes: readonly string[] }> {
  const fail = (error: Error): never => {
    throw error;
  };
  if (settings.kind === 'embedded' && !existsSync(settings.dataDir))
    throw new Error(`there is no data folder ${settings.dataDir}`);
  const store = await openStore(settings, telemetry, fail);
  try {
    const nodes = await memberNodes(store); // before they begin anew, and leave for a moment
    return { epoch: await newEpoch(store, systemRandom), nodes };
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
    const { openEmbeddedStore } = await import('./store/embedded/open.js');
    return openEmbeddedStore({ folder: settings.dataDir, memberPrefix: MEMBERS, clock, telemetry, onFatal });
  }
  const { openEtcdStore } = await import('./store/etcd/etcd-store.js');
  return openEtcdStore({ connection: settings, prefix: settings.prefix, clock, random: systemRandom, telemetry });
}
