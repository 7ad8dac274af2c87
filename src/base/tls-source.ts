/** Certificates and keys in PEM. */
export interface TlsContents {
  /** The own certificate, followed by those of the authorities between it and the root. */
  readonly cert?: Buffer;
  /** The private key of `cert`. */
  readonly key?: Buffer;
  /** The authorities that the certificates of others are verified with. Without them those of the system count. */
  readonly ca?: Buffer;
  /** Lists of revoked certificates, one in each text. */
  readonly crl?: string[];
}

/** Certificates and keys that may be replaced while they are used. */
export interface TlsSource {
  contents(): TlsContents;
  /** Calls `listener` when the contents have been replaced, until `signal` is aborted. */
  onChange(listener: () => void, signal: AbortSignal): void;
}
