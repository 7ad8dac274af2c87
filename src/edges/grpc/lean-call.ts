import type { Http2Session, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { CallMetadata } from '../../api/call/call.js';
import type { UnaryMethod } from '../../api/call/method.js';
import type { Random } from '../../base/random.js';
import { EdgeCall } from '../wire/edge-call.js';

/** The name of each connection: a property of the socket costs more than the rest of a call. */
const connections = new WeakMap<Http2Session, string>();

/** A unary call that arrived over HTTP/2 without grpc-js. */
export class LeanCall extends EdgeCall {
  readonly transport = 'grpc';
  #metadata: CallMetadata | undefined;
  #isFollowed = false;

  constructor(
    method: UnaryMethod,
    private readonly stream: ServerHttp2Stream,
    private readonly headers: IncomingHttpHeaders,
    readonly deadlineMs: number | undefined,
    random: Random,
  ) {
    super(method, random);
  }

  get connection(): string {
    const { session } = this.stream;
    if (!session) return 'gone';
    let name = connections.get(session);
    if (name === undefined) {
      const { remoteAddress = '', remotePort = 0 } = session.socket;
      connections.set(session, (name = `${remoteAddress}:${remotePort}`));
    }
    return name;
  }

  override get metadata(): CallMetadata {
    this.#metadata ??= { request: this.headers, headers: [], trailers: [] };
    return this.#metadata;
  }

  /** The metadata that a handler has set; `undefined` if it set none. */
  get given(): CallMetadata | undefined {
    return this.#metadata;
  }

  override get signal(): AbortSignal {
    if (!this.#isFollowed) this.stream.once('close', () => this.end());
    this.#isFollowed = true;
    return super.signal;
  }

  protected get cancelled(): boolean {
    return this.stream.destroyed || this.stream.closed;
  }

  protected header(name: string): string | undefined {
    const value = this.headers[name];
    return typeof value === 'string' ? value : undefined;
  }
}
