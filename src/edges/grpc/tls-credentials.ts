import { ServerCredentials } from '@grpc/grpc-js';
import { contextOptions, type ListenerTls, listenerOptions } from '../wire/listener-tls.js';

/**
 * The credentials of a port of grpc-js whose certificates can be replaced. The provider of the library drops new connections
 * while its files do not fit together.
 */
export class TlsCredentials extends ServerCredentials {
  /** Follows the certificates until `signal` is aborted. */
  constructor(tls: ListenerTls, signal: AbortSignal) {
    super(listenerOptions(tls), contextOptions(tls));
    tls.source.onChange(() => this.updateSecureContextOptions(contextOptions(tls)), signal);
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}
