import {
  type ChannelCredentials,
  Client as GrpcChannel,
  type ClientReadableStream,
  credentials,
  Metadata,
} from '@grpc/grpc-js';
import { systemRandom } from '../base/random.js';
import { Code } from '../model/errors.js';
import { CallError, wasNotSent } from './call-error.js';

/** A call without an own deadline is given up after this: longer than any wait inside a server. */
const CALL_MAX_MS = 12_000;
/**
 * The longest silence of a stream before it is given up: a proxy may keep a connection whose server is gone. Every stream of
 * responses is a watch, and those have a bookmark every 15 s at the latest.
 */
const QUIET_MAX_MS = 45_000;
/** A server that comes back is tried again soon: the backoff of the library grows to two minutes. */
const CHANNEL = {
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 5_000,
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 10_000,
  // Answers have up to 3 MiB, and parts of a watch up to one item more than 1 MiB.
  'grpc.max_receive_message_length': 16 * 1_024 * 1_024,
  'grpc.enable_channelz': 0,
};

/** TLS towards the servers. */
export interface ConnectionTls {
  /** The authorities (PEM) that verify servers. `undefined`: those of the system. */
  readonly ca?: Buffer | undefined;
  /** The certificate (PEM) that the client shows, and its key. */
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
  /** The name in the certificates of servers, if it is not the host that is called. */
  readonly serverName?: string | undefined;
}

/** How the servers are reached. */
export interface ConnectionOptions {
  /** One or several "host:port". The first is drawn, so that clients spread, and the next one is called where one cannot be reached. */
  readonly addresses: readonly string[];
  /** `undefined`: without TLS. */
  readonly tls?: ConnectionTls | undefined;
  /** Returns the token that calls show, such as `tokenFile(path)`. It is asked for each call, so a token may be renewed. */
  readonly token?: (() => string | Promise<string>) | undefined;
}

/** A method as the generated code describes it: the part that a call needs. */
export interface MethodDescription<Request, Response> {
  readonly name: string;
  readonly requestType: {
    encode(message: Request): { finish(): Uint8Array };
    fromPartial(fields: never): Request;
  };
  readonly responseType: { decode(bytes: Uint8Array): Response };
  readonly options: { readonly idempotencyLevel?: string };
}

/** The connections to the servers. Each is opened when it is needed. */
export class Connection {
  readonly #channels = new Map<string, GrpcChannel>();
  readonly #credentials: ChannelCredentials;
  /** The position of the address that is called next. It stays where calls succeed. */
  #at: number;
  #isClosed = false;

  constructor(private readonly options: ConnectionOptions) {
    const { addresses } = options;
    if (!Array.isArray(addresses) || addresses.length === 0)
      throw new TypeError('addresses: must be a list of at least one "host:port"');
    for (const address of addresses as readonly unknown[])
      if (typeof address !== 'string' || !/:\d{1,5}$/.test(address))
        throw new TypeError(`addresses: ${JSON.stringify(address)} must be "host:port"`);
    this.#at = Math.floor(systemRandom.fraction() * addresses.length);
    const { tls } = options;
    this.#credentials = tls
      ? credentials.createSsl(tls.ca ?? null, tls.key ?? null, tls.cert ?? null)
      : credentials.createInsecure();
  }

  /** The address that is called next. */
  get address(): string {
    const { addresses } = this.options;
    return addresses[this.#at % addresses.length]!;
  }

  /** Calls the address behind `at` from now on, unless another call has moved on already. */
  #leave(at: number): void {
    if (this.#at === at) this.#at++;
  }

  /**
   * Makes a unary call. It is tried once at each address while none can be reached; a method that must not be repeated goes on
   * only from an address to which there was no connection. Rejects with a CallError.
   */
  async call<Request, Response>(
    service: string,
    method: MethodDescription<Request, Response>,
    request: Request,
    { timeoutMs = CALL_MAX_MS, signal }: { timeoutMs?: number; signal?: AbortSignal | undefined } = {},
  ): Promise<Response> {
    const mayRepeat = method.options.idempotencyLevel !== undefined;
    const bytes = Buffer.from(method.requestType.encode(request).finish());
    for (let left = this.options.addresses.length; ; left--) {
      const at = this.#at;
      try {
        const answer = await this.#callOnce(`/${service}/${method.name}`, bytes, timeoutMs, signal);
        return method.responseType.decode(answer);
      } catch (thrown) {
        const error = CallError.from(thrown);
        if (!(error instanceof CallError) || !error.isPassing) throw error;
        this.#leave(at);
        if (left <= 1 || !(mayRepeat || wasNotSent(thrown))) throw error;
      }
    }
  }

  /**
   * Opens a stream of responses at the address that is next. It ends with a CallError, or when `signal` is aborted. The stream
   * after one that failed is opened at another address.
   */
  async *stream<Request, Response>(
    service: string,
    method: MethodDescription<Request, Response>,
    request: Request,
    signal?: AbortSignal,
  ): AsyncGenerator<Response, void, undefined> {
    const metadata = await this.#metadata();
    const bytes = Buffer.from(method.requestType.encode(request).finish());
    if (signal?.aborted) return;
    const at = this.#at;
    const stream: ClientReadableStream<Response> = this.#channel().makeServerStreamRequest(
      `/${service}/${method.name}`,
      asItIs,
      (answer) => method.responseType.decode(answer),
      bytes,
      metadata,
    );
    const cancel = (): void => stream.cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    let isQuiet = false;
    const startQuiet = (): NodeJS.Timeout =>
      setTimeout(() => {
        isQuiet = true;
        stream.cancel();
      }, QUIET_MAX_MS);
    let quiet = startQuiet();
    try {
      for await (const message of stream) {
        clearTimeout(quiet); // the time of the reader does not count
        yield message as Response;
        quiet = startQuiet();
      }
    } catch (thrown) {
      if (signal?.aborted) return;
      const error = isQuiet ? silent() : CallError.from(thrown);
      if (!(error instanceof CallError && error.reason === 'STREAM_AGE')) this.#leave(at);
      throw error;
    } finally {
      clearTimeout(quiet);
      signal?.removeEventListener('abort', cancel);
      stream.on('error', () => undefined); // a reader that stops early cancels the stream
      stream.cancel();
    }
  }

  /** Ends every call. Later ones are refused. */
  close(): void {
    this.#isClosed = true;
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }

  async #callOnce(path: string, bytes: Buffer, timeoutMs: number, signal: AbortSignal | undefined): Promise<Buffer> {
    const metadata = await this.#metadata();
    const options = { deadline: Date.now() + timeoutMs };
    return new Promise<Buffer>((resolve, reject) => {
      const done = (error: Error | null, answer?: Buffer): void => {
        signal?.removeEventListener('abort', cancel);
        if (error) reject(error);
        else resolve(answer!);
      };
      const call = this.#channel().makeUnaryRequest(path, asItIs, asItIs, bytes, metadata, options, done);
      const cancel = (): void => call.cancel();
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  async #metadata(): Promise<Metadata> {
    const metadata = new Metadata();
    const token = await this.options.token?.();
    if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
    return metadata;
  }

  #channel(): GrpcChannel {
    const { address } = this;
    if (this.#isClosed) throw new CallError('the client is closed', Code.CANCELLED);
    let channel = this.#channels.get(address);
    if (!channel) {
      const name = this.options.tls?.serverName;
      const options = { ...CHANNEL, ...(name !== undefined && { 'grpc.ssl_target_name_override': name }) };
      this.#channels.set(address, (channel = new GrpcChannel(address, this.#credentials, options)));
    }
    return channel;
  }
}

const silent = (): CallError => new CallError(`no message came for ${QUIET_MAX_MS / 1_000} s`, Code.UNAVAILABLE);
const asItIs = (bytes: Buffer): Buffer => bytes;
