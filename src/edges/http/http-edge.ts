import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Dispatcher } from '../../api/call/dispatcher.js';
import { type Failure, toFailure } from '../../api/call/failure.js';
import type { Method } from '../../api/call/method.js';
import type { Readiness } from '../../api/readiness.js';
import type { Clock } from '../../base/clock.js';
import { bracketed } from '../../base/hosts.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/telemetry.js';
import { RollcallError } from '../../model/errors.js';
import { LIMITS } from '../../model/limits.js';
import type { EdgeCallParts } from '../wire/edge-call.js';
import { finishInTime } from '../wire/finish.js';
import { contextOptions, type ListenerTls, listenerOptions } from '../wire/listener-tls.js';
import { perConnection } from '../wire/per-connection.js';
import { allowOrigin, answerPreflight } from './cors.js';
import { send } from './exchange.js';
import { Guard, type GuardParts } from './guard.js';
import { type MetricsText, Probes } from './probes.js';
import { Routes } from './routes.js';
import { eventsRefused, wantsEvents } from './stream-framings.js';
import { plainFailure } from './unary-framings.js';

/** The bounds of Node's server, each with its reason. */
const OPTIONS = {
  // A URL of parameters and a few headers; the rest of a request is in its body.
  maxHeaderSize: 16 * 1_024,
  // A client that sends its headers or its body slowly holds a connection for no longer.
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 5_000,
  // Longer than the 60 s for which load balancers keep idle connections, so that they close first.
  keepAliveTimeout: 65_000,
  requireHostHeader: true,
};

/**
 * How old a connection may become before its client is asked to open another, in ms: as old as one of gRPC. Client certificates
 * are verified when a connection opens, so one that is revoked lasts for no longer.
 */
const CONNECTION_AGE_MAX_MS = 1_800_000;

/** The dependencies of an HttpEdge. */
export interface HttpEdgeParts extends EdgeCallParts {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly dispatcher: Pick<
    Dispatcher,
    'admit' | 'refuseElsewhere' | 'unary' | 'serverStream' | 'refuse' | 'drain' | 'unread'
  >;
  /** The protos of the methods: a google.protobuf.FileDescriptorSet. */
  readonly image: Uint8Array;
  readonly readiness: Readiness;
  readonly guard: GuardParts;
  /** `undefined` if clients speak without TLS. */
  readonly tls: ListenerTls | undefined;
  readonly version: string;
  readonly metrics: MetricsText;
}

/**
 * The HTTP edge: the methods of the contract as Connect, gRPC-web, plain JSON and event streams, short paths for people,
 * and probes. It listens before the store answers, so that a probe can tell a server that starts from one that is gone.
 */
export class HttpEdge implements Closeable {
  readonly #server: Server;
  readonly #guard: Guard;
  readonly #probes: Probes;
  readonly #closed = new AbortController();
  /** When the first request of a connection came. */
  readonly #sinceMs = perConnection<Socket, number>(() => this.parts.clock.now());
  #routes: Routes | undefined;
  #closing: Promise<void> | undefined;

  constructor(private readonly parts: HttpEdgeParts) {
    this.#guard = new Guard(parts.guard);
    this.#probes = new Probes({ ...parts, log: parts.telemetry.log });
    this.#server = this.#createServer((request, response) => this.#handle(request, response));
    this.#server.maxConnections = LIMITS.HTTP_CONNECTIONS.value;
  }

  /** Adds the methods. Until then every call is refused with NOT_READY. */
  offer(methods: readonly Method[]): void {
    this.#routes = new Routes(methods, this.parts);
  }

  /** Listens; resolves to the port. */
  listen(host: string, port: number): Promise<number> {
    return new Promise<number>((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException): void => reject(notListening(error, host, port));
      this.#server.once('error', failed);
      this.#server.listen(port, host, () => {
        this.#server.off('error', failed);
        this.#server.on('error', (err) => this.parts.telemetry.log.error({ err }, 'the HTTP port failed'));
        const httpPort = (this.#server.address() as { port: number }).port;
        this.parts.telemetry.log.info({ host, httpPort }, 'HTTP answers probes; calls follow when the store is open');
        resolve(httpPort);
      });
    });
  }

  /** Ends the streams, lets calls in flight finish, and cuts the rest. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #createServer(handle: RequestListener): Server {
    const { tls } = this.parts;
    if (!tls) return createServer(OPTIONS, handle);
    const server = createTlsServer({ ...OPTIONS, ...listenerOptions(tls), ...contextOptions(tls) }, handle);
    tls.source.onChange(() => server.setSecureContext(contextOptions(tls)), this.#closed.signal);
    return server;
  }

  async #close(): Promise<void> {
    const { clock, dispatcher } = this.parts;
    const finished = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    dispatcher.drain();
    this.#server.closeIdleConnections();
    await finishInTime(clock, finished);
    this.#server.closeAllConnections();
    this.#closed.abort();
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    // A request that came before the one ahead of it was answered has no connection yet, and would not be notified of its end.
    if (!response.socket) return void response.once('socket', () => this.#handle(request, response));
    if (this.parts.clock.now() - this.#sinceMs(response.socket) > CONNECTION_AGE_MAX_MS)
      response.shouldKeepAlive = false;
    // A client that goes away is seen by the events of the response.
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    try {
      this.#guard.check(request.headers);
      allowOrigin(this.#guard, request, response);
      if (request.method === 'OPTIONS') return answerPreflight(response);
      const { path, query } = partsOf(request.url ?? '/');
      if (this.#probes.answer(request, response, path, query)) return;
      if (!this.#routes) throw new RollcallError('NOT_READY', 'the server is starting');
      this.#routes.handle(request, response, path, query);
    } catch (error) {
      const failure = this.#toFailure(error);
      const events = wantsEvents(request.headers) ? eventsRefused(failure) : undefined;
      send({ request, response }, events ?? plainFailure(failure));
    }
  }

  #toFailure(error: unknown): Failure {
    return toFailure(error, this.parts.telemetry.log, this.parts.random);
  }
}

/** The path and the parameters of a URL, which may be a whole one: proxies send such. */
function partsOf(url: string): { path: string; query: string } {
  const local = url.startsWith('/') ? url : url.replace(/^https?:\/\/[^/?]*/i, '');
  const mark = local.indexOf('?');
  return mark < 0 ? { path: local, query: '' } : { path: local.slice(0, mark), query: local.slice(mark + 1) };
}

/** The error of a failed start, in words for a person. */
function notListening(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const address = `${bracketed(host)}:${port}`;
  if (error.code !== 'EADDRINUSE') return new Error(`cannot listen on ${address}: ${error.message}`);
  return new Error(
    `${address} is in use by another program (EADDRINUSE). It is the port for HTTP: choose another with --http-port, or ` +
      'with --grpc-port, which it follows, or set --http-port off',
  );
}
