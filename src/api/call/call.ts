import type { Credential, ShownCertificate } from '../../access/identities.js';
import type { Principal } from '../../access/principal.js';
import type { MethodInfo } from './method-info.js';

/** The certificate of a client. */
export interface ClientCertificate extends ShownCertificate {
  /** The reason for which it cannot be verified, in the words of OpenSSL such as CERT_HAS_EXPIRED. `undefined` if it was verified. */
  readonly fault: string | undefined;
  /** Wall-clock milliseconds at which it ends: a connection, and a session of TLS that is resumed, may outlive it. */
  readonly notAfterMs: number;
}

/** The protocol that a call arrived by. */
export type Transport = 'grpc' | 'http';

/**
 * One call, whatever protocol it arrived by. An edge makes it. Every field but `method` may be computed on first use, so
 * a call that needs none of them costs one object.
 */
export interface Call extends Credential {
  readonly method: MethodInfo;
  /** The caller. The gate for identities sets it; until then it has no rights. */
  principal: Principal;
  /** The IP address that the call came from, without port. Behind a proxy this is the proxy's address. */
  readonly peerAddress: string;
  /** Names the connection that the call arrived on. No other open connection has the same name. */
  readonly connection: string;
  readonly transport: Transport;
  /** The certificate that the client showed. `undefined` if it showed none, or was not asked for one. */
  readonly certificate: ClientCertificate | undefined;
  /** Wall-clock milliseconds at which the client gives up. `undefined` if it set no deadline. */
  readonly deadlineMs: number | undefined;
  /** Names the call in logs: the caller's `x-request-id` if it sent a usable one, else random. */
  readonly requestId: string;
  /** Aborted when the call ends, however it ends. */
  readonly signal: AbortSignal;
  readonly metadata: CallMetadata;
  /** Facts about the call for the audit; `undefined` if it noted none. */
  notes: CallNotes | undefined;
}

/** Facts about a call that changes something, as far as they are known. */
export interface CallNotes {
  /** The objects that the call is for. */
  readonly resources: string[];
  /** The author that the request claims, where the caller is another one. */
  author: string;
  comment: string;
  /** The revision of the write; 0n if it has none. */
  revision: bigint;
  /** The objects of items that the caller may not send: some of them, each once. */
  readonly refused: Set<string>;
  /** True if the caller only asked what a write would do. */
  changesNothing: boolean;
}

/** The notes of a call, begun with the first of them. */
export function notesOf(call: Pick<Call, 'notes'>): CallNotes {
  call.notes ??= { resources: [], author: '', comment: '', revision: 0n, refused: new Set(), changesNothing: false };
  return call.notes;
}

/**
 * Metadata that travels beside the messages of a call. No method of the contract uses it, but a protocol must carry it. Values
 * whose name ends in "-bin" are base64, as on the wire.
 */
export interface CallMetadata {
  /** The headers of the request, by name in lower case. */
  readonly request: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Headers of the response. They count until the first message or the end is sent. */
  readonly headers: [name: string, value: string][];
  /** Trailers of the response. They count until the end is sent. */
  readonly trailers: [name: string, value: string][];
}
