import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Guard } from './guard.js';

/** The headers of requests that pages may set. */
const REQUEST_HEADERS = [
  ...['authorization', 'content-type', 'if-none-match', 'last-event-id', 'x-request-id'],
  ...['connect-protocol-version', 'connect-timeout-ms', 'connect-accept-encoding', 'connect-content-encoding'],
  ...['grpc-timeout', 'x-grpc-web', 'x-user-agent'],
].join(', ');

/** The headers of answers that pages may read, besides those that every page may. */
const ANSWER_HEADERS =
  'etag, retry-after, x-rollcall-version, x-rollcall-revision, grpc-status, grpc-message, grpc-status-details-bin';

/** How long a browser may keep the answer to a preflight: two hours, which is as long as browsers keep it. */
const PREFLIGHT_SECONDS = 7_200;

/** Lets the pages of a listed origin read the answer. */
export function allowOrigin(guard: Guard, { headers: { origin } }: IncomingMessage, response: ServerResponse): void {
  if (!guard.allows(origin)) return;
  response.setHeader('access-control-allow-origin', origin);
  response.setHeader('access-control-expose-headers', ANSWER_HEADERS);
  response.setHeader('vary', 'Origin');
}

/** Answers the question of a browser whether a page may send a request. The guard has let it pass. */
export function answerPreflight(response: ServerResponse): void {
  response.writeHead(204, {
    'access-control-allow-methods': 'GET, POST, PUT, DELETE',
    'access-control-allow-headers': REQUEST_HEADERS,
    'access-control-max-age': String(PREFLIGHT_SECONDS),
  });
  response.end();
}
