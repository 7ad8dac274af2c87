import { type CallOptions, InterceptingCall, type Interceptor } from '@grpc/grpc-js';
import { noop } from 'cockatiel';
import { Etcd3, type IOptions } from 'etcd3';
import { type Clock, delay } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { TlsSource } from '../../base/tls-source.js';
import { StoreUnavailable } from '../store.js';
import { failureOf, TOKEN_EXPIRED } from './failures.js';

/** How to reach etcd. */
export interface EtcdConnection {
  /** URLs such as "http://10.0.0.1:2379": all of them http, or all https. */
  readonly endpoints: readonly string[];
  /** For https: the CA certificates to trust, and the certificate and key of this server. */
  readonly tls: TlsSource | undefined;
  /** `undefined` if etcd has no authentication. */
  readonly user: { readonly name: string; readonly password: string } | undefined;
}

/** How long a call may take. */
export interface Timeouts {
  /** The most that one attempt at one endpoint takes. */
  readonly attemptMs: number;
  /** After this time no further attempt is made. */
  readonly totalMs: number;
}

/** Pause after every endpoint has failed once. A refused connection fails at once, and retries would be a hot loop. */
const PAUSE_MS = 100;
/** How long etcd may take to check a password and answer with a token. */
const AUTHENTICATE_MS = 2_000;

/** Calls on clients whose certificates were replaced may go on for this long: longer than any call takes. */
const RETIRED_MS = 30_000;

const CHANNEL = {
  // etcd sends GOAWAY to a client that pings more often than every 5 s, or without a call.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 3_000,
  'grpc.keepalive_permit_without_calls': 0,
  // The store bounds pages and transactions itself. A watch message is as large as its events.
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.enable_channelz': 0,
  // Each client has its own connection, so that a large list does not starve a watch.
  'grpc.use_local_subchannel_pool': 1,
};

/** The clients of one endpoint. */
interface EndpointClients {
  readonly url: string;
  readonly calls: Etcd3;
  readonly streams: StreamClient;
}

/** The client of the streams to one endpoint. Once others take its place it is closed with its last stream. */
export class StreamClient {
  #users = 0;
  #retired = false;

  constructor(readonly etcd: Etcd3) {}

  take(): void {
    this.#users++;
  }

  /** Its stream is over. */
  release(): void {
    this.#users--;
    this.#closeIfUnused();
  }

  retire(): void {
    this.#retired = true;
    this.#closeIfUnused();
  }

  #closeIfUnused(): void {
    if (this.#retired && this.#users === 0) this.etcd.close();
  }
}

/**
 * The endpoints of one etcd cluster. A call goes to the endpoint that answered last, and moves on to the next one when
 * that fails. So a call may be sent twice, and callers must pass only calls that allow it.
 *
 * Only the raw stubs of the client library are used, with its policies off, because its retries repeat writes.
 */
export class Endpoints implements Closeable {
  #all: readonly EndpointClients[];
  readonly #stop = new AbortController();
  #preferred = 0;
  #authentication: Promise<string> | undefined;
  #token: string | undefined;
  #unreachableSinceMs: number | undefined;
  #closed = false;

  constructor(
    private readonly connection: EtcdConnection,
    private readonly clock: Clock,
  ) {
    this.#unreachableSinceMs = clock.now(); // an etcd that has never answered counts as unreachable
    this.#all = this.#open();
    connection.tls?.onChange(() => this.#renew(), this.#stop.signal);
  }

  get urls(): readonly string[] {
    return this.connection.endpoints;
  }

  /** Monotonic time since when no call has succeeded. `undefined` if the last call succeeded. */
  get unreachableSinceMs(): number | undefined {
    return this.#unreachableSinceMs;
  }

  /**
   * Makes a call at one endpoint after the other until one answers, the failure is definite, or the time is up. If
   * `attempts` is more than 1, an earlier attempt may have happened too. Throws EtcdFailure.
   */
  async call<T>(
    send: (etcd: Etcd3, options: CallOptions) => Promise<T>,
    { attemptMs, totalMs }: Timeouts,
  ): Promise<{ answer: T; attempts: number }> {
    const startedMs = this.clock.now();
    let tokenRefreshed = false;
    for (let attempts = 1; ; attempts++) {
      this.assertOpen();
      const index = this.#preferred;
      const endpoint = this.#all[index]!;
      try {
        await this.#ensureToken();
        const answer = await send(endpoint.calls, { deadline: Date.now() + attemptMs });
        this.#unreachableSinceMs = undefined;
        return { answer, attempts };
      } catch (error) {
        const failure = failureOf(error);
        if (failure.kind === 'TOKEN' && !tokenRefreshed) {
          tokenRefreshed = true;
          this.dropToken();
          attempts--; // a call with a refused token had no effect
          continue;
        }
        if (failure.kind !== 'UNREACHABLE') throw failure.after(attempts);
        if (this.#preferred === index) this.#preferred = (index + 1) % this.#all.length;
        if (this.clock.now() - startedMs >= totalMs) {
          this.#unreachableSinceMs ??= startedMs;
          throw failure.after(attempts);
        }
        if (attempts % this.#all.length === 0) await delay(this.clock, PAUSE_MS);
      }
    }
  }

  /** Returns the stream client of the n-th choice. Choice 0 is the endpoint that calls go to. Release it after its stream. */
  async streams(choice: number): Promise<StreamClient> {
    this.assertOpen();
    await this.#ensureToken();
    const { streams } = this.#all[(this.#preferred + choice) % this.#all.length]!;
    streams.take();
    return streams;
  }

  /** Drops the token, so that the next call fetches a new one. */
  dropToken(): void {
    this.#authentication = undefined;
  }

  /** Calls `ask` for every endpoint. The answer of an endpoint that fails is `undefined`. */
  each<T>(
    ask: (etcd: Etcd3, url: string, options: CallOptions) => Promise<T>,
    attemptMs: number,
  ): Promise<(T | undefined)[]> {
    return Promise.all(
      this.#all.map(({ calls, url }) =>
        this.#ensureToken()
          .then(() => ask(calls, url, { deadline: Date.now() + attemptMs }))
          .catch(() => undefined),
      ),
    );
  }

  assertOpen(): void {
    if (this.#closed) throw new StoreUnavailable('the store is closed');
  }

  close(): void {
    this.#closed = true;
    this.#stop.abort();
    for (const { calls, streams } of this.#all) {
      calls.close();
      streams.etcd.close();
    }
  }

  #open(): EndpointClients[] {
    return this.connection.endpoints.map((url) => ({
      url,
      calls: new Etcd3(this.#options(url)),
      streams: new StreamClient(new Etcd3(this.#options(url))),
    }));
  }

  /** Uses new certificates for all further calls and streams. Those that are open go on. */
  #renew(): void {
    const retired = this.#all;
    this.#all = this.#open();
    for (const { calls, streams } of retired) {
      streams.retire();
      void delay(this.clock, RETIRED_MS, this.#stop.signal).then(() => calls.close());
    }
  }

  #options(url: string): IOptions {
    const { ca, cert, key } = this.connection.tls?.contents() ?? {};
    return {
      hosts: url,
      ...(url.startsWith('https:') && {
        // The type requires a root certificate. Without one, grpc-js uses those of the system.
        credentials: {
          rootCertificate: ca!,
          ...(key && { privateKey: key }),
          ...(cert && { certChain: cert }),
        },
      }),
      faultHandling: { host: () => noop, global: noop },
      grpcOptions: { ...CHANNEL, interceptors: [this.#interceptor] },
    };
  }

  /**
   * Adds the token to every call, and asks a member of etcd without a leader to answer at once instead of hanging.
   *
   * Replaces etcd's text for an expired token. The client library knows that text, and would send the call again and
   * again until its deadline.
   */
  readonly #interceptor: Interceptor = (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start: (metadata, _, next) => {
        metadata.set('hasleader', 'true');
        if (this.#token !== undefined) metadata.set('token', this.#token);
        next(metadata, {
          onReceiveStatus: (status, forward) =>
            forward(/invalid auth token/.test(status.details) ? { ...status, details: TOKEN_EXPIRED } : status),
        });
      },
    });

  async #ensureToken(): Promise<void> {
    if (!this.connection.user) return;
    this.#authentication ??= this.#authenticate(this.connection.user);
    const mine = this.#authentication;
    try {
      await mine;
    } catch (error) {
      if (this.#authentication === mine) this.dropToken();
      throw error;
    }
  }

  async #authenticate({ name, password }: { name: string; password: string }): Promise<string> {
    this.#token = undefined;
    const { calls } = this.#all[this.#preferred]!;
    const { token } = await calls.auth.authenticate({ name, password }, { deadline: Date.now() + AUTHENTICATE_MS });
    this.#token = token;
    return token;
  }
}
