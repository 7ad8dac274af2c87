import type { Http2Session, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { UnaryMethod } from '../../api/call/method.js';
import type { Random } from '../../base/random.js';
import type { ClientCertificate } from '../../api/call/call.js';
import { certificateOfStream } from './client-certificate.js';
import { HeaderCall } from '../wire/header-call.js';

/** The name of each connection: a property of the socket costs more than the rest of a call. */
const connections = new WeakMap<Http2Session, string>();

/** A unary call that arrived over HTTP/2 without grpc-js. */
export class LeanCall extends HeaderCall {
  readonly transport = 'grpc';

  constructor(
    method: UnaryMethod,
    private readonly stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    deadlineMs: number | undefined,
    random: Random,
  ) {
    super(method, headers, deadlineMs, random);
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

  get certificate(): ClientCertificate | undefined {
    return certificateOfStream(this.stream);
  }

  protected get cancelled(): boolean {
    return this.stream.destroyed || this.stream.closed;
  }

  protected onCancelled(listener: () => void): void {
    this.stream.once('close', listener);
  }
}
