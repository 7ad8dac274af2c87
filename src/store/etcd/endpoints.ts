import { type CallOptions, InterceptingCall, type Interceptor } from '@grpc/grpc-js';
import { noop } from 'cockatiel';
import { Etcd3, type IOptions } from 'etcd3';
import { type Clock, delay } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import { StoreUnavailable } from '../store.js';
import { failureOf, TOKEN_OVER } from './failures.js';

/** How to reach etcd. */
export interface EtcdConnection {
  /** URLs, such as "http://10.0.0.1:2379"; all of them http or all https. */
  readonly endpoints: readonly string[];
  /** For https: whom to trust, and who we are. */
  readonly tls: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
  /** For an etcd with authentication. */
  readonly user: { readonly name: string; readonly password: string } | undefined;
}

/** How long a call may take. */
export interface Patience {
  /** One attempt at one endpoint. */
  readonly attemptMs: number;
  /** All attempts together. */
  readonly withinMs: number;
}

/** Pause after every endpoint has failed once: a refused connection fails at once, and would be tried in a hot loop. */
const PAUSE_MS = 100;

const CHANNEL = {
  // etcd answers pings that come more often than every 5 s, or without a call, with GOAWAY.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 3_000,
  'grpc.keepalive_permit_without_calls': 0,
  // Pages and transactions are bounded by us; a watch message is as large as its events.
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.enable_channelz': 0,
  // Each client its own connection: a large list must not starve a watch.
  'grpc.use_local_subchannel_pool': 1,
};

/**
 * The endpoints of one etcd cluster. A call goes to the endpoint that answered last, and on to the next when it
 * fails; only calls that may be sent twice are given here.
 *
 * Of the client library only the raw stubs are used, with its policies off: its retries repeat writes.
 */
export class Endpoints implements Closeable {
  readonly #all: readonly { readonly url: string; readonly calls: Etcd3; readonly streams: Etcd3 }[];
  #preferred = 0;
  #token: Promise<string> | undefined;
  #tokenNow: string | undefined;
  #outOfReachSinceMs: number | undefined;
  #closed = false;

  constructor(
    private readonly connection: EtcdConnection,
    private readonly clock: Clock,
  ) {
    this.#outOfReachSinceMs = clock.now(); // nothing is in reach that has never answered
    const options = (url: string): IOptions => ({
      hosts: url,
      ...(url.startsWith('https:') && {
        // The type wants a root certificate; without one the system's are meant.
        credentials: {
          rootCertificate: connection.tls.ca!,
          ...(connection.tls.key && { privateKey: connection.tls.key }),
          ...(connection.tls.cert && { certChain: connection.tls.cert }),
        },
      }),
      faultHandling: { host: () => noop, global: noop },
      grpcOptions: { ...CHANNEL, interceptors: [this.#interceptor] },
    });
    this.#all = connection.endpoints.map((url) => ({
      url,
      calls: new Etcd3(options(url)),
      streams: new Etcd3(options(url)),
    }));
  }

  get urls(): readonly string[] {
    return this.connection.endpoints;
  }

  /** Monotonic time since when no call has got through. Undefined: the last one did. */
  get outOfReachSinceMs(): number | undefined {
    return this.#outOfReachSinceMs;
  }

  /**
   * Makes a call, at one endpoint after the other, until one answers, the failure is definite, or patience ends.
   * `attempts` above 1 says that an earlier attempt may have happened, too. Throws EtcdFailure.
   */
  async call<T>(
    send: (etcd: Etcd3, options: CallOptions) => Promise<T>,
    { attemptMs, withinMs }: Patience,
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
        this.#outOfReachSinceMs = undefined;
        return { answer, attempts };
      } catch (error) {
        const failure = failureOf(error);
        if (failure.kind === 'TOKEN' && !tokenRefreshed) {
          tokenRefreshed = true;
          this.#token = undefined;
          attempts--; // a refused token is known not to have done anything
          continue;
        }
        if (failure.kind !== 'UNREACHABLE') throw failure.after(attempts);
        if (this.#preferred === index) this.#preferred = (index + 1) % this.#all.length;
        if (this.clock.now() - startedMs >= withinMs) {
          this.#outOfReachSinceMs ??= startedMs;
          throw failure.after(attempts);
        }
        if (attempts % this.#all.length === 0) await delay(this.clock, PAUSE_MS);
      }
    }
  }

  /** The client for streams of the n-th choice, 0 being the endpoint that answers calls. */
  async streams(choice: number): Promise<{ url: string; etcd: Etcd3 }> {
    this.assertOpen();
    await this.#ensureToken();
    const { url, streams } = this.#all[(this.#preferred + choice) % this.#all.length]!;
    return { url, etcd: streams };
  }

  /** Fetches a new token before the next call. */
  forgetToken(): void {
    this.#token = undefined;
  }

  /** Runs `look` at every endpoint; what fails is undefined. */
  each<T>(
    look: (etcd: Etcd3, url: string, options: CallOptions) => Promise<T>,
    attemptMs: number,
  ): Promise<(T | undefined)[]> {
    return Promise.all(
      this.#all.map(({ calls, url }) =>
        this.#ensureToken()
          .then(() => look(calls, url, { deadline: Date.now() + attemptMs }))
          .catch(() => undefined),
      ),
    );
  }

  assertOpen(): void {
    if (this.#closed) throw new StoreUnavailable('the store is closed');
  }

  close(): void {
    this.#closed = true;
    for (const { calls, streams } of this.#all) {
      calls.close();
      streams.close();
    }
  }

  /**
   * Sends our token along, and asks a member that has lost its leader to answer at once instead of hanging.
   *
   * Of a token that has run out the client library must not hear in etcd's words: it would send the call again and
   * again until its deadline.
   */
  readonly #interceptor: Interceptor = (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start: (metadata, _, next) => {
        metadata.set('hasleader', 'true');
        if (this.#tokenNow !== undefined) metadata.set('token', this.#tokenNow);
        next(metadata, {
          onReceiveStatus: (status, forward) =>
            forward(/invalid auth token/.test(status.details) ? { ...status, details: TOKEN_OVER } : status),
        });
      },
    });

  async #ensureToken(): Promise<void> {
    if (!this.connection.user) return;
    this.#token ??= this.#authenticate(this.connection.user);
    const mine = this.#token;
    try {
      await mine;
    } catch (error) {
      if (this.#token === mine) this.#token = undefined;
      throw error;
    }
  }

  async #authenticate({ name, password }: { name: string; password: string }): Promise<string> {
    this.#tokenNow = undefined;
    const { calls } = this.#all[this.#preferred]!;
    const { token } = await calls.auth.authenticate({ name, password }, { deadline: Date.now() + 2_000 });
    this.#tokenNow = token;
    return token;
  }
}
