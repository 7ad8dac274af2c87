import {
  Server,
  ServerCredentials,
  setLogger,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { type Clock, delay } from '../../base/clock.js';
import type { Telemetry } from '../../base/observe.js';
import type { Random } from '../../base/random.js';
import { PeerServiceService } from '../../gen/rollcall/peer/v1/peer_service.js';
import { AdminServiceService } from '../../gen/rollcall/v1/admin_service.js';
import { ConfigServiceService } from '../../gen/rollcall/v1/config_service.js';
import { RegistryServiceService } from '../../gen/rollcall/v1/registry_service.js';
import { LIMITS } from '../../model/limits.js';
import type { Replica } from '../../domain/replica.js';
import { noMember } from '../../domain/cluster/peer-end.js';
import { peerService } from '../../api/peer/handlers.js';
import { type About, adminService } from '../../api/admin/handlers.js';
import { Calls, ours } from './calls.js';
import { configService } from '../../api/config/handlers.js';
import { HealthService } from './health-service.js';
import { thirdPartyService } from './image.js';
import { reflectionService } from './reflection-service.js';
import { registryService } from '../../api/registry/handlers.js';
import { WatchHub } from '../../api/watch/hub.js';

/** How long calls in flight may take to finish after a shutdown began; the process is gone within 15 s. */
const FINISH_MAX_MS = 10_000;

/** What grpc-js is told; each value has its reason. */
const OPTIONS = {
  // Half-open connections are found within 30 s.
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 10_000,
  // Connections move to other replicas in time, and streams of stuck readers do not stay for ever.
  'grpc.max_connection_age_ms': 1_800_000,
  'grpc.max_connection_age_grace_ms': 60_000,
  'grpc.max_concurrent_streams': LIMITS.STREAMS_PER_CONNECTION.value,
  'grpc.max_receive_message_length': LIMITS.RECEIVE_BYTES.value,
  // Channelz costs 10 to 20 % of the calls per second, and has leaked in the past.
  'grpc.enable_channelz': 0,
};

/** Says in a person's words why there is no listening. */
function notListening(error: Error, address: string): Error {
  if (!error.message.includes('EADDRINUSE')) return new Error(`cannot listen on ${address}: ${error.message}`);
  return new Error(`${address} is in use by another program (EADDRINUSE); choose another port with --grpc-port`);
}

/** The services of ours that health checks may ask about. */
const OWN_SERVICES = ['rollcall.v1.RegistryService', 'rollcall.v1.ConfigService', 'rollcall.v1.AdminService'];

/** The gRPC edge: services, reflection and health on one port. */
export class GrpcServer {
  readonly #server = new Server(OPTIONS);
  readonly #calls: Calls;
  readonly #health = new HealthService(new Set(OWN_SERVICES));
  #hub: WatchHub | undefined;
  #closing: Promise<void> | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly telemetry: Telemetry,
  ) {
    this.#calls = new Calls(clock, random, telemetry);
    // The library writes to standard error by itself; there is one log.
    const log = telemetry.log.child('grpc');
    const warn = (...words: unknown[]): void => log.warn({}, words.map(String).join(' '));
    setLogger({ error: warn, info: () => undefined, debug: () => undefined });
  }

  /** Offers what a replica does, and tells what there is. */
  offer(replica: Replica, about: About): void {
    const { clock, random, telemetry } = this;
    const calls = this.#calls;
    const hub = new WatchHub(replica.catalog, replica.reads, clock, random, telemetry);
    this.#hub = hub;
    hub.start();
    const add = (definition: ServiceDefinition, service: UntypedServiceImplementation): void =>
      this.#server.addService(ours(definition), service);
    add(RegistryServiceService, registryService(replica, calls, hub));
    add(ConfigServiceService, configService(replica, calls, hub));
    add(AdminServiceService, adminService(replica, calls, hub, about));
    add(PeerServiceService, peerService(replica.peer ?? noMember, calls));
    add(thirdPartyService('grpc.health.v1.Health'), this.#health.implementation(calls));
    const reflection = reflectionService(calls);
    for (const version of ['v1', 'v1alpha'])
      add(thirdPartyService(`grpc.reflection.${version}.ServerReflection`), reflection);
  }

  /** Listens; resolves to the port. */
  listen(host: string, port: number): Promise<number> {
    return new Promise<number>((resolve, reject) => {
      const address = `${host.includes(':') ? `[${host}]` : host}:${port}`;
      this.#server.bindAsync(address, ServerCredentials.createInsecure(), (error, actual) =>
        error ? reject(notListening(error, address)) : resolve(actual),
      );
    });
  }

  /** Tells health checks that calls are taken. */
  serve(): void {
    this.#health.set('SERVING');
  }

  /** Tells health checks no, so that no new client comes. */
  stopServing(): void {
    this.#health.set('NOT_SERVING');
  }

  /** Ends the streams, lets calls in flight finish, and cuts what is left. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.stopServing();
    const finished = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    const streams = this.#calls.openStreams;
    this.#calls.drain();
    this.#hub?.close();
    const timeUp = new AbortController();
    await Promise.race([finished, delay(this.clock, FINISH_MAX_MS, timeUp.signal)]);
    timeUp.abort();
    this.#server.forceShutdown();
    this.telemetry.log.info({ streams }, 'gRPC stopped');
  }
}
