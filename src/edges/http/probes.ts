import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readiness } from '../../api/readiness.js';
import { type HttpAnswer, jsonAnswer, send, textAnswer } from './exchange.js';

/** The probes of an orchestrator. They are answered from the moment at which the port is open. */
export class Probes {
  constructor(
    private readonly readiness: Readiness,
    private readonly version: string,
  ) {}

  /** Answers a request if its path is that of a probe. Returns false if it is not. */
  answer(request: IncomingMessage, response: ServerResponse, path: string, query: string): boolean {
    const answer = this.#answerTo(path, new URLSearchParams(query).has('verbose'));
    if (!answer) return false;
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    send({ request, response }, isRead ? answer : jsonAnswer(405, { message: 'use GET' }, { allow: 'GET, HEAD' }));
    return true;
  }

  #answerTo(path: string, isVerbose: boolean): HttpAnswer | undefined {
    switch (path) {
      case '/livez':
        return textAnswer(200, 'ok');
      case '/readyz':
        return this.#readyz(isVerbose);
      case '/version':
        return jsonAnswer(200, { version: this.version });
      default:
        return undefined;
    }
  }

  #readyz(isVerbose: boolean): HttpAnswer {
    const { ready } = this.readiness;
    const lines = this.readiness
      .checks()
      .filter(({ failure }) => isVerbose || failure !== undefined)
      .map(({ name, failure }) => (failure === undefined ? `[+] ${name} ok\n` : `[-] ${name}: ${failure}\n`));
    return textAnswer(ready ? 200 : 503, `${lines.join('')}${ready ? 'ok' : 'not ready'}`);
  }
}
