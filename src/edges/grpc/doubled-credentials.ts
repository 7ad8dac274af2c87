import type { Http2Server, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { hasTwoCredentials } from '../wire/raw-headers.js';

/** The streams whose request has more than one header "authorization". grpc-js drops all but the first. */
const doubled = new WeakSet<ServerHttp2Stream>();

/** Returns true if the request of a stream has more than one header "authorization". */
export const isDoubled = (stream: ServerHttp2Stream): boolean => doubled.has(stream);

/** Looks at the raw headers of every request of a server, before anything else does. */
export function noteDoubledCredentials(http2Server: Http2Server): void {
  http2Server.prependListener(
    'stream',
    (stream: ServerHttp2Stream, _: IncomingHttpHeaders, __: number, rawHeaders: string[]) => {
      if (hasTwoCredentials(rawHeaders)) doubled.add(stream);
    },
  );
}
