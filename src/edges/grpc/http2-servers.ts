import type { Http2Server } from 'node:http2';
import type { Server } from '@grpc/grpc-js';

/**
 * The HTTP/2 servers of a server of grpc-js, reached by a field that it does not publish: no public hook sees a request
 * before grpc-js does. Empty if grpc-js keeps them elsewhere than it did.
 */
export function http2ServersOf(server: Server): readonly Http2Server[] {
  const { http2Servers } = server as unknown as { readonly http2Servers?: unknown };
  return http2Servers instanceof Map ? [...(http2Servers.keys() as IterableIterator<Http2Server>)] : [];
}
