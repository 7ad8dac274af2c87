import type { Http2Session, ServerHttp2Stream } from 'node:http2';
import type { ClientCertificate } from '../../api/call/call.js';
import { certificateOf } from '../wire/client-certificate.js';
import { perConnection } from '../wire/per-connection.js';

const certificateOfSession = perConnection(({ socket }: Http2Session) => certificateOf(socket));

/** The certificate that the client of a stream showed. */
export const certificateOfStream = ({ session }: ServerHttp2Stream): ClientCertificate | undefined =>
  session && certificateOfSession(session);
