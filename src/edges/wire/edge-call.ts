import { type Principal, UNIDENTIFIED } from '../../access/principal.js';
import type { Call, CallMetadata, CallNotes, ClientCertificate, Transport } from '../../api/call/call.js';
import type { MethodInfo } from '../../api/call/method-info.js';
import type { Random } from '../../base/random.js';
import { RUN_ID } from '../../model/names.js';
import { FORWARDED_HEADER, type TrustedProxies } from './trusted-proxies.js';

/** The dependencies of every call. */
export interface EdgeCallParts {
  readonly random: Random;
  readonly proxies: TrustedProxies;
}

/** The half of a call that is the same for every protocol. Facts are read from the protocol only when they are asked for. */
export abstract class EdgeCall implements Call {
  abstract readonly transport: Transport;
  abstract readonly connection: string;
  abstract readonly certificate: ClientCertificate | undefined;
  abstract readonly deadlineMs: number | undefined;
  abstract readonly isAmbiguous: boolean;
  principal: Principal = UNIDENTIFIED;
  notes: CallNotes | undefined = undefined;
  #requestId: string | undefined;
  #metadata: CallMetadata | undefined;
  #abort: AbortController | undefined;
  #ended = false;

  constructor(
    readonly method: MethodInfo,
    private readonly parts: EdgeCallParts,
  ) {}

  get authorization(): string | undefined {
    return this.header('authorization');
  }

  get peerAddress(): string {
    return this.parts.proxies.clientOf(addressOf(this.connection), this.header(FORWARDED_HEADER));
  }

  get metadata(): CallMetadata {
    this.#metadata ??= { request: this.received, headers: [], trailers: [] };
    return this.#metadata;
  }

  /** The metadata that a handler has set; `undefined` if it set none. */
  get given(): CallMetadata | undefined {
    return this.#metadata;
  }

  get requestId(): string {
    this.#requestId ??= this.#givenId() ?? this.parts.random.id();
    return this.#requestId;
  }

  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.#ended || this.cancelled) this.#abort.abort();
      else this.onCancelled(() => this.end());
    }
    return this.#abort.signal;
  }

  /** Notes that the call has ended, however it ended. */
  end(): void {
    this.#ended = true;
    this.#abort?.abort();
  }

  /** The headers of the request, by name in lower case. */
  protected abstract readonly received: CallMetadata['request'];

  /** Returns true if the client has gone. */
  protected abstract readonly cancelled: boolean;

  /** Calls `listener` when the client goes. */
  protected abstract onCancelled(listener: () => void): void;

  /** The text of a header of the request, `undefined` if it was not sent. */
  protected abstract header(name: string): string | undefined;

  #givenId(): string | undefined {
    const given = this.header('x-request-id');
    return given !== undefined && RUN_ID.pattern.test(given) ? given : undefined;
  }
}

/** The IP address, without port, in the name of a connection such as "10.0.0.1:1234" or "[::1]:1234". */
function addressOf(connection: string): string {
  return connection
    .replace(/:\d+$/, '')
    .replace(/^\[|\]$/g, '')
    .replace(/^::ffff:/, '');
}
