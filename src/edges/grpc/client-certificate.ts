import type { ServerHttp2Stream } from 'node:http2';
import type { ClientCertificate } from '../../api/call/call.js';
import { certificateOf } from '../wire/client-certificate.js';

/** The certificate that the client of a stream showed. */
export const certificateOfStream = ({ session }: ServerHttp2Stream): ClientCertificate | undefined =>
  session && certificateOf(session, () => session.socket);
