import type { Http2Server, IncomingHttpHeaders } from 'node:http2';
import { grpcTimeoutMs } from '../wire/timeouts.js';

/** The longest delay of a timer of Node: 24.8 days. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/**
 * Removes from every request of a server of grpc-js a deadline that is too far away to count. grpc-js counts the milliseconds of a
 * deadline in 32 bits, so that a deadline of 30 days passes at once and fails a call that was carried out.
 */
export function ignoreFarDeadlines(http2Server: Http2Server): void {
  http2Server.prependListener('stream', (_: unknown, headers: IncomingHttpHeaders) => dropFarDeadline(headers));
}

/** Removes a deadline that no timer can count to. */
export function dropFarDeadline(headers: IncomingHttpHeaders): void {
  const given = headers['grpc-timeout'];
  const timeoutMs = typeof given === 'string' ? grpcTimeoutMs(given) : undefined;
  if (timeoutMs !== undefined && timeoutMs > TIMER_MAX_MS) delete headers['grpc-timeout'];
}
