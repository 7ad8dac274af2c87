import type { Socket } from 'node:net';
import { type TLSSocket } from 'node:tls';
import type { ClientCertificate } from '../../api/call/call.js';

/** The certificate that the client of a connection showed. Reading it costs more than a whole call; see `perConnection`. */
export function certificateOf(socket: Socket | TLSSocket): ClientCertificate | undefined {
  // The socket of a session is a proxy of Node, which does not answer "in" and "instanceof" for the socket behind it.
  const { getPeerX509Certificate, authorized, authorizationError } = socket as Partial<TLSSocket>;
  const certificate = getPeerX509Certificate?.call(socket);
  if (!certificate) return undefined;
  // Node declares an Error here, and gives its code.
  const fault = authorized ? undefined : String(authorizationError);
  return { fault, notAfterMs: Date.parse(certificate.validTo), subjectAltName: certificate.subjectAltName };
}
