import { malformed } from '../../api/call/wire.js';
import { RollcallError } from '../../model/errors.js';
import { hasSecondFrame, onlyFrame } from './frames.js';
import { gunzipRequest, isKnownCompression, unknownCompression } from './gunzip.js';

/** The flag of a compressed message. */
const COMPRESSED = 1;

/** Receives bytes, or the error for which there are none: a RollcallError, or a bug of this program. */
export type BytesReceiver = (error: unknown, bytes: Uint8Array) => void;

/**
 * Takes the one message of a request out of its frame, and decompresses it. `compression` is what a header names. Calls
 * `done` at once unless the message is compressed.
 */
export function unwrapFrame(
  bytes: Uint8Array,
  compression: string | readonly string[] | undefined,
  done: BytesReceiver,
): void {
  const named = compression === undefined ? 'identity' : String(compression);
  if (!isKnownCompression(named)) return done(unknownCompression(named), NOTHING);
  const body = asBuffer(bytes);
  const frame = onlyFrame(body);
  if (!frame) return done(isNotOne(body) ? notOneMessage() : malformed('the frame is cut'), NOTHING);
  const { flags, data } = frame;
  if (flags > COMPRESSED) return done(malformed('the flags of the frame'), NOTHING);
  if (flags === 0) return done(undefined, data);
  if (named === 'identity') return done(compressionNotNamed(), NOTHING);
  gunzipRequest(data, done);
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const isNotOne = (body: Buffer): boolean => body.length === 0 || hasSecondFrame(body);

function notOneMessage(): RollcallError {
  return new RollcallError('NOT_ONE_MESSAGE', 'the method takes exactly one message');
}

function compressionNotNamed(): RollcallError {
  return new RollcallError(
    'COMPRESSION_NOT_NAMED',
    'a message is marked as compressed, and no header names the compression',
  );
}

const NOTHING = Buffer.alloc(0);
