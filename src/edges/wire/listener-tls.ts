import type { TlsOptions } from 'node:tls';
import type { TlsSource } from '../../base/tls-source.js';

/** TLS of a port. */
export interface ListenerTls {
  readonly source: TlsSource;
  /** True if clients are asked for a certificate. */
  readonly asksClients: boolean;
}

/** How long a handshake may take. It takes two round trips, and until its end a connection has proven nothing. */
const HANDSHAKE_MAX_MS = 10_000;

/** The options of the listener, which stay. */
export function listenerOptions({ asksClients }: ListenerTls): TlsOptions {
  // A certificate that cannot be verified ends a call and not the handshake: a probe shows none, and an error can say why.
  return { requestCert: asksClients, rejectUnauthorized: false, handshakeTimeout: HANDSHAKE_MAX_MS };
}

/** The options that change with the certificates. */
export function contextOptions({ source }: ListenerTls): TlsOptions {
  return { ...source.contents(), minVersion: 'TLSv1.2' };
}
