import { gunzip } from 'node:zlib';
import { LIMITS } from '../../model/limits.js';
import { RollcallError } from '../../model/errors.js';

/** Decompresses a request. A result that is larger than a request may be is refused, and not kept. */
export function gunzipRequest(
  bytes: Uint8Array,
  done: (error: RollcallError | undefined, bytes: Buffer) => void,
): void {
  const limit = LIMITS.RECEIVE_BYTES.value;
  gunzip(bytes, { maxOutputLength: limit }, (error, result) => {
    if (!error) return done(undefined, result);
    const isTooLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    done(isTooLarge ? requestTooLarge() : notGzip(error), NOTHING);
  });
}

function notGzip(cause: Error): RollcallError {
  return new RollcallError('MALFORMED_REQUEST', 'the request is marked as compressed with gzip, and is not', { cause });
}

/** The error for a request beyond RECEIVE_BYTES. */
export function requestTooLarge(): RollcallError {
  const limit = LIMITS.RECEIVE_BYTES.value;
  return new RollcallError('REQUEST_TOO_LARGE', `the request is larger than ${limit} bytes`, {
    metadata: { limit: String(limit) },
  });
}

/** Returns true for a compression that requests can have. */
export const isKnownCompression = (name: string): boolean => name === 'identity' || name === 'gzip';

/** The error for a compression other than gzip. */
export function unknownCompression(name: string): RollcallError {
  return new RollcallError(
    'UNKNOWN_COMPRESSION',
    `compression ${JSON.stringify(name)} is not known; use gzip or identity`,
  );
}

const NOTHING = Buffer.alloc(0);
