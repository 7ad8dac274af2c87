import type { Socket } from 'node:net';
import { type TLSSocket } from 'node:tls';
import type { ClientCertificate } from '../../api/call/call.js';

/** The certificates by connection: a socket of HTTP/1, or a session of HTTP/2. Reading one costs more than a whole call. */
const known = new WeakMap<object, ClientCertificate | 'none'>();

/** The certificate that the client of a connection showed. `socket` is read once for each connection. */
export function certificateOf(connection: object, socket: () => Socket | TLSSocket): ClientCertificate | undefined {
  let certificate = known.get(connection);
  if (certificate === undefined) {
    certificate = read(socket());
    known.set(connection, certificate);
  }
  return certificate === 'none' ? undefined : certificate;
}

function read(socket: Socket | TLSSocket): ClientCertificate | 'none' {
  // The socket of a session is a proxy of Node, which does not answer "in" and "instanceof" for the socket behind it.
  const { getPeerX509Certificate, authorized, authorizationError } = socket as Partial<TLSSocket>;
  const certificate = getPeerX509Certificate?.call(socket);
  if (!certificate) return 'none';
  // Node declares an Error here, and gives its code.
  const fault = authorized ? undefined : String(authorizationError);
  return { fault, notAfterMs: Date.parse(certificate.validTo) };
}
