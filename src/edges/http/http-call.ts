import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { MethodInfo } from '../../api/call/method-info.js';
import { bracketed } from '../../base/hosts.js';
import type { ClientCertificate } from '../../api/call/call.js';
import { certificateOf } from '../wire/client-certificate.js';
import type { EdgeCallParts } from '../wire/edge-call.js';
import { HeaderCall } from '../wire/header-call.js';
import { hasTwoCredentials } from '../wire/raw-headers.js';
import { perConnection } from '../wire/per-connection.js';

const nameOf = perConnection(
  ({ remoteAddress = '', remotePort = 0 }: Socket) => `${bracketed(remoteAddress)}:${remotePort}`,
);
const certificateOfSocket = perConnection(certificateOf);

/** A call that arrived over HTTP. */
export class HttpCall extends HeaderCall {
  readonly transport = 'http';
  readonly connection: string;

  constructor(
    method: MethodInfo,
    private readonly request: IncomingMessage,
    private readonly response: ServerResponse,
    deadlineMs: number | undefined,
    parts: EdgeCallParts,
  ) {
    super(method, request.headers, deadlineMs, parts);
    this.connection = nameOf(request.socket);
  }

  get isAmbiguous(): boolean {
    return hasTwoCredentials(this.request.rawHeaders);
  }

  get certificate(): ClientCertificate | undefined {
    return certificateOfSocket(this.request.socket);
  }

  protected get cancelled(): boolean {
    return this.request.socket.destroyed;
  }

  protected onCancelled(listener: () => void): void {
    this.response.once('close', listener);
  }
}
