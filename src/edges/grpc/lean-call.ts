import type { Http2Session, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { UnaryMethod } from '../../api/call/method.js';
import type { ClientCertificate } from '../../api/call/call.js';
import { certificateOfSession } from './client-certificate.js';
import { isDoubled } from './doubled-credentials.js';
import type { EdgeCallParts } from '../wire/edge-call.js';
import { HeaderCall } from '../wire/header-call.js';
import { perConnection } from '../wire/per-connection.js';

const nameOf = perConnection(
  ({ socket: { remoteAddress = '', remotePort = 0 } }: Http2Session) => `${remoteAddress}:${remotePort}`,
);

/** A unary call that arrived over HTTP/2 without grpc-js. */
export class LeanCall extends HeaderCall {
  readonly transport = 'grpc';
  /** A stream that the client has reset has no session any more. */
  readonly #session: Http2Session | undefined;

  constructor(
    method: UnaryMethod,
    private readonly stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    deadlineMs: number | undefined,
    parts: EdgeCallParts,
  ) {
    super(method, headers, deadlineMs, parts);
    this.#session = stream.session;
  }

  get connection(): string {
    return this.#session ? nameOf(this.#session) : 'gone';
  }

  get isAmbiguous(): boolean {
    return isDoubled(this.stream);
  }

  get certificate(): ClientCertificate | undefined {
    return this.#session && certificateOfSession(this.#session);
  }

  protected get cancelled(): boolean {
    return this.stream.destroyed || this.stream.closed;
  }

  protected onCancelled(listener: () => void): void {
    this.stream.once('close', listener);
  }
}
