import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { RollcallError } from '../../model/errors.js';
import { LIMITS } from '../../model/limits.js';
import type { BytesReceiver } from '../wire/frame-requests.js';
import { gunzipRequest, requestTooLarge, unknownCompression } from '../wire/gunzip.js';

/**
 * Reads the body of a request, up to RECEIVE_BYTES, and calls `done` once: in the turn in which the last byte arrives, so
 * that a call that waits for nothing needs no promise. After an error the rest of the body is not read.
 */
export function readBody(request: IncomingMessage, done: BytesReceiver): void {
  const limit = LIMITS.RECEIVE_BYTES.value;
  if (Number(request.headers['content-length'] ?? 0) > limit) return done(requestTooLarge(), NOTHING);
  const chunks: Buffer[] = [];
  let bytes = 0;
  let isOver = false;
  const finish = (error: RollcallError | undefined): void => {
    if (isOver) return;
    isOver = true;
    const body = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
    done(error, error ? NOTHING : body);
  };
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > limit) finish(requestTooLarge());
    else if (!isOver) chunks.push(chunk);
  });
  request.on('end', () => finish(undefined));
  // An error costs more than the rest of a request, and every request closes.
  const lost = (): void => void (isOver || finish(gone()));
  request.on('close', lost);
  request.on('error', lost);
}

/** Undoes the compression of a body, and passes on the bytes that `decode` makes of it, or the error that it throws. */
export function decompressed(
  headers: IncomingHttpHeaders,
  body: Uint8Array,
  done: BytesReceiver,
  decode: (body: Uint8Array) => Uint8Array,
): void {
  const encoding = headers['content-encoding'];
  const plain = decodedAfter(decode, done);
  if (encoding === undefined || encoding === 'identity' || encoding === '') return plain(undefined, body);
  if (encoding === 'gzip') return gunzipRequest(body, plain);
  done(unknownCompression(encoding), NOTHING);
}

/** Receives bytes, and passes on what `decode` makes of them; or the error that came in their place, or that it throws. */
export const decodedAfter =
  (decode: (bytes: Uint8Array) => Uint8Array, done: BytesReceiver): BytesReceiver =>
  (error, bytes) =>
    error === undefined ? decoded(() => decode(bytes), done) : done(error, bytes);

/** Passes on what `decode` makes, or the error that it throws. */
export function decoded(decode: () => Uint8Array, done: BytesReceiver): void {
  let bytes: Uint8Array;
  try {
    bytes = decode();
  } catch (error) {
    return done(error, NOTHING);
  }
  done(undefined, bytes);
}

function gone(): RollcallError {
  return new RollcallError('CANCELLED', 'the client went away before its request had arrived');
}

const NOTHING = Buffer.alloc(0);
