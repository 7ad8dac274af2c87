import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readiness } from '../../api/readiness.js';
import { type HttpAnswer, jsonAnswer, send, textAnswer } from './exchange.js';

/** The metrics of the process, in a text format that a scraper reads. */
export interface MetricsText {
  readonly contentType: string;
  text(): Promise<string>;
}

/** The dependencies of Probes. */
export interface ProbesParts {
  readonly readiness: Readiness;
  readonly version: string;
  readonly metrics: MetricsText;
}

/** The probes of an orchestrator, and the metrics. They are answered from the moment at which the port is open. */
export class Probes {
  constructor(private readonly parts: ProbesParts) {}

  /** Answers a request if its path is that of a probe. Returns false if it is not. */
  answer(request: IncomingMessage, response: ServerResponse, path: string, query: string): boolean {
    const answer = this.#answerTo(path, query);
    if (!answer) return false;
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    if (!isRead) send({ request, response }, jsonAnswer(405, { message: 'use GET' }, { allow: 'GET, HEAD' }));
    else if (answer instanceof Promise) void answer.then((later) => send({ request, response }, later));
    else send({ request, response }, answer);
    return true;
  }

  #answerTo(path: string, query: string): HttpAnswer | Promise<HttpAnswer> | undefined {
    switch (path) {
      case '/livez':
        return textAnswer(200, 'ok');
      case '/readyz':
        return this.#readyz(new URLSearchParams(query).has('verbose'));
      case '/version':
        return jsonAnswer(200, { version: this.parts.version });
      case '/metrics':
        return this.#metrics();
      default:
        return undefined;
    }
  }

  async #metrics(): Promise<HttpAnswer> {
    const { metrics } = this.parts;
    const text = await metrics.text();
    return { status: 200, headers: { 'content-type': metrics.contentType }, body: Buffer.from(text) };
  }

  #readyz(isVerbose: boolean): HttpAnswer {
    const { readiness } = this.parts;
    const { ready } = readiness;
    const lines = readiness
      .checks()
      .filter(({ failure }) => isVerbose || failure !== undefined)
      .map(({ name, failure }) => (failure === undefined ? `[+] ${name} ok\n` : `[-] ${name}: ${failure}\n`));
    return textAnswer(ready ? 200 : 503, `${lines.join('')}${ready ? 'ok' : 'not ready'}`);
  }
}
