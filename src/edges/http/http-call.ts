import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { MethodInfo } from '../../api/call/method-info.js';
import type { Random } from '../../base/random.js';
import { bracketed } from '../../base/hosts.js';
import type { ClientCertificate } from '../../api/call/call.js';
import { certificateOf } from '../wire/client-certificate.js';
import { HeaderCall } from '../wire/header-call.js';

/** A call that arrived over HTTP. */
export class HttpCall extends HeaderCall {
  readonly transport = 'http';
  readonly connection: string;

  constructor(
    method: MethodInfo,
    private readonly request: IncomingMessage,
    private readonly response: ServerResponse,
    deadlineMs: number | undefined,
    random: Random,
  ) {
    super(method, request.headers, deadlineMs, random);
    this.connection = nameOf(request.socket);
  }

  get certificate(): ClientCertificate | undefined {
    const { socket } = this.request;
    return certificateOf(socket, () => socket);
  }

  protected get cancelled(): boolean {
    return this.request.socket.destroyed;
  }

  protected onCancelled(listener: () => void): void {
    this.response.once('close', listener);
  }
}

/** The names of connections. A socket that was closed does not know its address any more. */
const names = new WeakMap<Socket, string>();

function nameOf(socket: Socket): string {
  let name = names.get(socket);
  if (name === undefined) {
    const { remoteAddress = '', remotePort = 0 } = socket;
    name = `${bracketed(remoteAddress)}:${remotePort}`;
    names.set(socket, name);
  }
  return name;
}
