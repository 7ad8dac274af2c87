import type { IncomingMessage } from 'node:http';
import type { CallMetadata } from '../../api/call/call.js';
import type { MethodInfo } from '../../api/call/method-info.js';
import type { Random } from '../../base/random.js';
import { EdgeCall } from '../wire/edge-call.js';

/** A call that arrived over HTTP. */
export class HttpCall extends EdgeCall {
  readonly transport = 'http';
  readonly connection: string;
  #metadata: CallMetadata | undefined;

  constructor(
    method: MethodInfo,
    private readonly request: IncomingMessage,
    readonly deadlineMs: number | undefined,
    random: Random,
  ) {
    super(method, random);
    const { remoteAddress = '', remotePort = 0 } = request.socket;
    this.connection = remoteAddress.includes(':')
      ? `[${remoteAddress}]:${remotePort}`
      : `${remoteAddress}:${remotePort}`;
  }

  override get metadata(): CallMetadata {
    this.#metadata ??= { request: this.request.headers, headers: [], trailers: [] };
    return this.#metadata;
  }

  /** The metadata that a handler has set; `undefined` if it set none. */
  get given(): CallMetadata | undefined {
    return this.#metadata;
  }

  protected get cancelled(): boolean {
    return this.request.socket.destroyed;
  }

  protected header(name: string): string | undefined {
    const value = this.request.headers[name];
    return typeof value === 'string' ? value : undefined;
  }
}
