import type { Failure } from '../../api/call/failure.js';
import { Status } from '../../gen/google/rpc/status.js';

/** Bytes that grpc-message carries as they are: printable ASCII but "%". */
const PLAIN = /^[ -$&-~]*$/;

/** The text of grpc-message: UTF-8 whose bytes outside of printable ASCII are percent-encoded. */
export function percentEncoded(text: string): string {
  if (PLAIN.test(text)) return text;
  let encoded = '';
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}

/** The trailers of gRPC for the end of a call, without the metadata of a handler. */
export function grpcTrailers(failure: Failure | undefined): Record<string, string> {
  if (!failure) return { 'grpc-status': '0' };
  if (!Object.isFrozen(failure)) return trailersOf(failure);
  let trailers = kept.get(failure);
  if (!trailers) kept.set(failure, (trailers = trailersOf(failure)));
  return trailers;
}

/** The trailers of failures that many calls end with. They are frozen, see toFailure. */
const kept = new WeakMap<Failure, Record<string, string>>();

function trailersOf(failure: Failure): Record<string, string> {
  return {
    'grpc-status': String(failure.code),
    'grpc-message': percentEncoded(failure.message),
    'grpc-status-details-bin': unpaddedBase64(Status.encode(failure.status).finish()),
  };
}

/** Base64 without padding, as binary metadata travel. */
export const unpaddedBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64').replace(/=+$/, '');
