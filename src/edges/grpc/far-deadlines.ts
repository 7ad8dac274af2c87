import type { Http2Server, IncomingHttpHeaders } from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import { assert } from '../../base/assert.js';
import { grpcTimeoutMs } from '../wire/timeouts.js';

/** The longest delay of a timer of Node: 24.8 days. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/**
 * Removes from every request of a server a deadline that is too far away to count. grpc-js counts the milliseconds of a
 * deadline in 32 bits, so that a deadline of 30 days passes at once and fails a call that was carried out.
 *
 * The servers of grpc-js are reached by a field that it does not publish: no public hook sees a request before it does.
 */
export function ignoreFarDeadlines(server: Server): void {
  const { http2Servers } = server as unknown as { readonly http2Servers?: unknown };
  assert(http2Servers instanceof Map && http2Servers.size > 0, 'grpc-js keeps its servers elsewhere than it did');
  for (const http2Server of http2Servers.keys() as IterableIterator<Http2Server>)
    http2Server.prependListener('stream', (_: unknown, headers: IncomingHttpHeaders) => dropFarDeadline(headers));
}

/** Removes a deadline that no timer can count to. */
export function dropFarDeadline(headers: IncomingHttpHeaders): void {
  const given = headers['grpc-timeout'];
  const timeoutMs = typeof given === 'string' ? grpcTimeoutMs(given) : undefined;
  if (timeoutMs !== undefined && timeoutMs > TIMER_MAX_MS) delete headers['grpc-timeout'];
}
