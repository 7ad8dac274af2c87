import type { IncomingMessage, ServerResponse } from 'node:http';
import type { MethodInfo } from '../../api/call/method-info.js';
import type { Random } from '../../base/random.js';
import { bracketed } from '../../base/hosts.js';
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
    const { remoteAddress = '', remotePort = 0 } = request.socket;
    this.connection = `${bracketed(remoteAddress)}:${remotePort}`;
  }

  protected get cancelled(): boolean {
    return this.request.socket.destroyed;
  }

  protected onCancelled(listener: () => void): void {
    this.response.once('close', listener);
  }
}
