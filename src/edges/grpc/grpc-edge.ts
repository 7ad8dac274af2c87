import { Server, ServerCredentials, setLogger } from '@grpc/grpc-js';
import type { Dispatcher } from '../../api/call/dispatcher.js';
import type { Method } from '../../api/call/method.js';
import type { Readiness } from '../../api/readiness.js';
import { STREAM_AGE_SPREAD } from '../../api/call/streams.js';
import type { Clock } from '../../base/clock.js';
import { bracketed } from '../../base/hosts.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/telemetry.js';
import { LIMITS } from '../../model/limits.js';
import type { EdgeCallParts } from '../wire/edge-call.js';
import { finishInTime } from '../wire/finish.js';
import type { ListenerTls } from '../wire/listener-tls.js';
import { ConnectionLimit } from './connection-limit.js';
import { ignoreFarDeadlines } from './far-deadlines.js';
import { HealthService } from './health-service.js';
import { noteDoubledCredentials } from './doubled-credentials.js';
import { http2ServersOf } from './http2-servers.js';
import { LeanUnary } from './lean-unary.js';
import { reflectionMethods } from './reflection-service.js';
import { definitionOf, GrpcHandlers } from './service.js';
import { TlsCredentials } from './tls-credentials.js';

/**
 * How much longer than any stream a connection lives after its age, so that the server ends its streams itself: a stream
 * that the transport cuts ends without a reason, and behind a proxy as INTERNAL.
 */
const AGE_GRACE_MS = 60_000;

/** The options of grpc-js, each with its reason. */
const OPTIONS = {
  // Half-open connections are found within 30 s.
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 10_000,
  // Connections move to other replicas in time.
  'grpc.max_connection_age_ms': 1_800_000,
  // A stream beyond this number waits in the client. Streams are refused before, so that unary calls never wait.
  'grpc.max_concurrent_streams': 2_000,
  'grpc.max_receive_message_length': LIMITS.RECEIVE_BYTES.value,
  // Channelz costs 10 to 20 % of the calls per second, and has leaked in the past.
  'grpc.enable_channelz': 0,
};

/** The dependencies of a GrpcEdge. */
export interface GrpcEdgeParts extends EdgeCallParts {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly dispatcher: Dispatcher;
  readonly readiness: Readiness;
  /** `undefined` if clients speak without TLS. */
  readonly tls: ListenerTls | undefined;
  /** The least age at which the dispatcher ends a stream. */
  readonly streamAgeMs: number;
}

/** The gRPC edge: the methods of the contract, reflection and health on one port. */
export class GrpcEdge implements Closeable {
  readonly #server: Server;
  readonly #health: HealthService;
  readonly #lean: LeanUnary;
  readonly #connections: ConnectionLimit;
  readonly #peerPaths = new Set<string>();
  readonly #closed = new AbortController();
  #closing: Promise<void> | undefined;
  #isListening = false;

  constructor(private readonly parts: GrpcEdgeParts) {
    this.#health = new HealthService(parts.clock);
    this.#lean = new LeanUnary(parts);
    const { value: limit } = LIMITS.GRPC_CONNECTIONS;
    this.#connections = new ConnectionLimit({ ...parts, limit, isForPeers: (path) => this.#peerPaths.has(path) });
    const follow = (ready: boolean): void => this.#health.set(ready ? 'SERVING' : 'NOT_SERVING');
    parts.readiness.onChange(follow, this.#closed.signal);
    const graceMs = parts.streamAgeMs * (1 + STREAM_AGE_SPREAD) + AGE_GRACE_MS;
    this.#server = new Server({ ...OPTIONS, 'grpc.max_connection_age_grace_ms': graceMs });
    // grpc-js writes to standard error by itself; this program has one log.
    const log = parts.telemetry.log.child('grpc');
    const warn = (...words: unknown[]): void => {
      if (!this.#isListening) return; // the error of a failed start says it better
      log.warn({}, words.map(String).join(' '));
    };
    setLogger({ error: warn, info: () => undefined, debug: () => undefined });
  }

  /** The number of open connections. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Adds the methods. Health checks may ask about the services that are not for peers. */
  offer(methods: readonly Method[]): void {
    for (const { path, audience } of methods) if (audience === 'peer') this.#peerPaths.add(path);
    const asked = methods.filter(({ audience }) => audience !== 'peer').map(({ path }) => path.split('/')[1]!);
    this.#lean.offer(methods);
    const handlers = new GrpcHandlers(this.parts.dispatcher, this.parts);
    for (const method of [...methods, ...this.#health.methods(new Set(asked)), ...reflectionMethods()]) {
      this.#server.addService({ [method.path]: definitionOf(method) }, { [method.path]: handlers.of(method) });
    }
  }

  /** Listens; resolves to the port. */
  listen(host: string, port: number): Promise<number> {
    return new Promise<number>((resolve, reject) => {
      const address = `${bracketed(host)}:${port}`;
      const { tls } = this.parts;
      const credentials = tls ? new TlsCredentials(tls, this.#closed.signal) : ServerCredentials.createInsecure();
      this.#server.bindAsync(address, credentials, (error, actual) => {
        if (error) return reject(notListening(error, address));
        this.#isListening = true;
        this.#reachInto();
        resolve(actual);
      });
    });
  }

  /** Takes over what grpc-js has no public way for. Without it every call still works, at the cost of grpc-js. */
  #reachInto(): void {
    const { log } = this.parts.telemetry;
    const http2Servers = http2ServersOf(this.#server);
    const taken = http2Servers.filter((http2Server) => this.#lean.takeOver(http2Server));
    http2Servers.forEach(ignoreFarDeadlines);
    http2Servers.forEach(noteDoubledCredentials);
    http2Servers.forEach((http2Server) => this.#connections.guard(http2Server));
    if (taken.length === 0 || taken.length < http2Servers.length)
      log.warn(
        {},
        'grpc-js is another one than expected: unary calls cost more, far deadlines pass at once, and connections are not bounded',
      );
  }

  /** Ends the streams, lets calls in flight finish, and cuts the rest. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { clock, telemetry, dispatcher } = this.parts;
    const finished = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    const streams = dispatcher.openStreams;
    dispatcher.drain();
    await finishInTime(clock, finished);
    this.#server.forceShutdown();
    this.#closed.abort();
    telemetry.log.info({ streams }, 'gRPC stopped');
  }
}

/** The error of a failed start, in words for a person. */
function notListening(error: Error, address: string): Error {
  if (!error.message.includes('EADDRINUSE')) return new Error(`cannot listen on ${address}: ${error.message}`);
  return new Error(`${address} is in use by another program (EADDRINUSE); choose another port with --grpc-port`);
}
