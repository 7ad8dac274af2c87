import type { Http2Session, ServerHttp2Stream } from 'node:http2';
import type { ServerUnaryCall } from '@grpc/grpc-js';
import type { CallMetadata, ClientCertificate } from '../../api/call/call.js';
import type { Encoded } from '../../api/call/message.js';
import type { Method } from '../../api/call/method.js';
import { EdgeCall, type EdgeCallParts } from '../wire/edge-call.js';
import { certificateOfSession } from './client-certificate.js';
import { isDoubled } from './doubled-credentials.js';

/** A call of grpc-js, whatever its requests. */
export type WireCall = Pick<ServerUnaryCall<unknown, Encoded>, 'getPeer' | 'getDeadline' | 'metadata' | 'cancelled'> & {
  once(event: 'cancelled', listener: () => void): unknown;
};

/** A call that arrived through grpc-js. */
export class GrpcCall extends EdgeCall {
  readonly transport = 'grpc';
  /** A stream that the client has reset has no session any more. */
  readonly #session: Http2Session | undefined;

  constructor(
    method: Method,
    private readonly call: WireCall,
    readonly stream: ServerHttp2Stream,
    parts: EdgeCallParts,
  ) {
    super(method, parts);
    this.#session = stream.session;
  }

  get connection(): string {
    return this.call.getPeer();
  }

  get deadlineMs(): number | undefined {
    const deadline = Number(this.call.getDeadline());
    return Number.isFinite(deadline) ? deadline : undefined;
  }

  get isAmbiguous(): boolean {
    return isDoubled(this.stream);
  }

  get certificate(): ClientCertificate | undefined {
    return this.#session && certificateOfSession(this.#session);
  }

  /** A stream of grpc-js has its own ways to send metadata, which no method needs: what a handler sets is sent for unary calls. */
  protected get received(): CallMetadata['request'] {
    const { metadata } = this.call;
    return Object.fromEntries(Object.keys(metadata.getMap()).map((name) => [name, metadata.get(name).map(String)]));
  }

  protected get cancelled(): boolean {
    return this.call.cancelled;
  }

  protected onCancelled(listener: () => void): void {
    this.call.once('cancelled', listener);
  }

  protected header(name: string): string | undefined {
    const given = this.call.metadata.get(name);
    return given.length === 0 ? undefined : given.join(', ');
  }
}
