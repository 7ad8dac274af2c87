import type { IncomingMessage, OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { type Encoded, sizeOf, whole } from '../../api/call/message.js';
import type { Method } from '../../api/call/method.js';
import { endWith } from '../wire/write.js';
import type { HttpCall } from './http-call.js';
import type { MessageTypes } from './json.js';

/** One request for a method, and the response to it. */
export interface Exchange<M extends Method = Method> {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: M;
  readonly types: MessageTypes;
  readonly call: HttpCall;
}

/** A whole answer. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  readonly body: Encoded;
}

/** Headers of every answer: browsers must not guess its type, and nothing on the way must keep it. */
export const COMMON_HEADERS = { 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' } as const;

type CommonHeader = keyof typeof COMMON_HEADERS;

/** An answer of this status has no body, and its headers are those of the body that the client has. */
const NOT_MODIFIED = 304;

/** How long the rest of a request is read that was answered before it had arrived. */
const REST_MAX_MS = 1_000;
/** Smaller answers are not watched: one on each of HTTP_CONNECTIONS holds 40 MB. */
const UNREAD_BYTES_MIN = 4 * 1_024;
/** How long a reader may take for an answer, before its connection is cut. */
const ANSWER_TAKEN_MAX_MS = 60_000;

/**
 * Sends a whole answer, and returns the bytes of its body. A request whose body was not read to its end is answered last on
 * its connection.
 */
export function send({ request, response }: Pick<Exchange, 'request' | 'response'>, answer: HttpAnswer): number {
  if (response.headersSent || response.destroyed) return 0;
  const { status, headers, body } = answer;
  const bytes = sizeOf(body);
  const cut = !request.complete && hasBody(request);
  // A flat list costs Node less than an object.
  const sent: OutgoingHttpHeader[] = status === NOT_MODIFIED ? [] : ['content-length', bytes];
  for (const name in COMMON_HEADERS) if (!(name in headers)) sent.push(name, COMMON_HEADERS[name as CommonHeader]);
  for (const name in headers) sent.push(name, headers[name]!);
  if (cut) sent.push('connection', 'close');
  response.writeHead(status, sent);
  if (cut) endAfterRest(request, response, body);
  else endWith(response, body);
  if (bytes > UNREAD_BYTES_MIN && response.writableLength > 0) cutUnread(response);
  return bytes;
}

/**
 * Ends an answer that was made before its request had arrived. The rest is read and dropped first, for a while: closing a
 * connection on which a client still sends resets it, and the client may then never see the answer.
 */
function endAfterRest(request: IncomingMessage, response: ServerResponse, body: Encoded): void {
  response.flushHeaders();
  if (sizeOf(body) > 0) response.write(whole(body));
  const end = (): void => {
    clearTimeout(timer);
    response.end();
  };
  const timer = setTimeout(end, REST_MAX_MS);
  request.once('end', end);
  request.once('close', end);
  response.on('finish', () => request.destroy());
  request.resume();
}

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;

/** Cuts the connection of a reader that does not take its answer. */
function cutUnread(response: ServerResponse): void {
  const timer = setTimeout(() => response.destroy(), ANSWER_TAKEN_MAX_MS);
  response.on('close', () => clearTimeout(timer));
}

/** One line of text as an answer. */
export function textAnswer(status: number, text: string, headers: OutgoingHttpHeaders = {}): HttpAnswer {
  return {
    status,
    headers: { 'content-type': 'text/plain; charset=utf-8', ...headers },
    body: Buffer.from(`${text}\n`),
  };
}

/** A value as an answer. */
export function jsonAnswer(status: number, value: unknown, headers: OutgoingHttpHeaders = {}): HttpAnswer {
  return {
    status,
    headers: { 'content-type': 'application/json', ...headers },
    body: Buffer.from(`${JSON.stringify(value)}\n`),
  };
}
