import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from '../../api/call/dispatcher.js';
import { May } from '../../api/call/may.js';
import type { MethodInfo } from '../../api/call/method-info.js';
import type { Readiness } from '../../api/readiness.js';
import type { Log } from '../../base/telemetry.js';
import type { EdgeCallParts } from '../wire/edge-call.js';
import { type HttpAnswer, jsonAnswer, send, textAnswer } from './exchange.js';
import { HttpCall } from './http-call.js';
import { plainFailure } from './unary-framings.js';

/** The metrics of the process, in a text format that a scraper reads. */
export interface MetricsText {
  readonly contentType: string;
  text(): Promise<string>;
}

/** The dependencies of Probes. */
export interface ProbesParts extends EdgeCallParts {
  readonly readiness: Readiness;
  readonly version: string;
  readonly metrics: MetricsText;
  readonly log: Log;
  /** Admits the readers of the metrics. */
  readonly dispatcher: Pick<Dispatcher, 'admit' | 'refuseElsewhere'>;
}

type MakeAnswer = (
  query: string,
  request: IncomingMessage,
  response: ServerResponse,
) => HttpAnswer | Promise<HttpAnswer>;

/** Reading the metrics, as a method that gates and rights can judge. */
const METRICS: MethodInfo = {
  path: '/metrics',
  kind: 'UNARY',
  audience: 'admin',
  permission: 'metrics',
  readOnly: true,
};

const NOT_A_READ = jsonAnswer(
  405,
  { code: 'unimplemented', message: 'use GET', reason: 'UNKNOWN_METHOD' },
  { allow: 'GET, HEAD' },
);

/** The probes of an orchestrator, and the metrics. They are answered from the moment at which the port is open. */
export class Probes {
  /** Makes the answer to a read of each path. */
  readonly #answers: ReadonlyMap<string, MakeAnswer>;

  constructor(private readonly parts: ProbesParts) {
    this.#answers = new Map<string, MakeAnswer>([
      ['/livez', () => textAnswer(200, 'ok')],
      ['/readyz', (query) => this.#readyz(new URLSearchParams(query).has('verbose'))],
      ['/version', () => jsonAnswer(200, { version: parts.version })],
      ['/metrics', (_, request, response) => this.#metrics(new HttpCall(METRICS, request, response, undefined, parts))],
    ]);
  }

  /** Answers a request if its path is that of a probe. Returns false if it is not. */
  answer(request: IncomingMessage, response: ServerResponse, path: string, query: string): boolean {
    const make = this.#answers.get(path);
    if (!make) return false;
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    const answer = isRead ? make(query, request, response) : NOT_A_READ;
    if (answer instanceof Promise) void answer.then((later) => send({ request, response }, later));
    else send({ request, response }, answer);
    return true;
  }

  async #metrics(call: HttpCall): Promise<HttpAnswer> {
    const { metrics, log, dispatcher } = this.parts;
    try {
      await dispatcher.admit(call);
      new May(call).everywhere();
    } catch (error) {
      return plainFailure(dispatcher.refuseElsewhere(call, error));
    }
    try {
      const text = await metrics.text();
      return { status: 200, headers: { 'content-type': metrics.contentType }, body: Buffer.from(text) };
    } catch (err) {
      log.error({ err }, 'the metrics cannot be read');
      return textAnswer(500, 'the metrics cannot be read; the log says why');
    }
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
