import type { ServerUnaryCall } from '@grpc/grpc-js';
import { ANONYMOUS, type Call } from '../../api/call/call.js';
import type { Method } from '../../api/call/method.js';
import type { Random } from '../../base/random.js';
import { RUN_ID } from '../../model/names.js';

/** A call of grpc-js whose messages are bytes. */
export type WireCall = Pick<
  ServerUnaryCall<Buffer, Uint8Array>,
  'getPeer' | 'getDeadline' | 'metadata' | 'cancelled'
> & {
  once(event: 'cancelled', listener: () => void): unknown;
};

/** A call that arrived by gRPC. Facts are read from grpc-js only when they are asked for. */
export class GrpcCall implements Call {
  readonly transport = 'grpc';
  readonly principal = ANONYMOUS;
  #requestId: string | undefined;
  #abort: AbortController | undefined;
  #ended = false;

  constructor(
    readonly method: Method,
    private readonly call: WireCall,
    private readonly random: Random,
  ) {}

  get peerAddress(): string {
    return addressOf(this.call.getPeer());
  }

  get connection(): string {
    return this.call.getPeer();
  }

  get deadlineMs(): number | undefined {
    const deadline = Number(this.call.getDeadline());
    return Number.isFinite(deadline) ? deadline : undefined;
  }

  get requestId(): string {
    this.#requestId ??= this.#givenId() ?? this.random.id();
    return this.#requestId;
  }

  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.#ended || this.call.cancelled) this.#abort.abort();
      else this.call.once('cancelled', () => this.end());
    }
    return this.#abort.signal;
  }

  /** Notes that the call has ended. */
  end(): void {
    this.#ended = true;
    this.#abort?.abort();
  }

  #givenId(): string | undefined {
    const [given] = this.call.metadata.get('x-request-id');
    return typeof given === 'string' && RUN_ID.pattern.test(given) ? given : undefined;
  }
}

/** The IP address, without port, in a peer name of grpc-js such as "10.0.0.1:1234" or "[::1]:1234". */
function addressOf(peer: string): string {
  return peer
    .replace(/:\d+$/, '')
    .replace(/^\[|\]$/g, '')
    .replace(/^::ffff:/, '');
}
