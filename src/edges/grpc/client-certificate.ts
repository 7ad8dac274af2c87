import type { Http2Session } from 'node:http2';
import { certificateOf } from '../wire/client-certificate.js';
import { perConnection } from '../wire/per-connection.js';

/** The certificate that the client of a session showed. */
export const certificateOfSession = perConnection(({ socket }: Http2Session) => certificateOf(socket));
