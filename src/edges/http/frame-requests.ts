import { malformed } from '../../api/call/wire.js';
import { RollcallError } from '../../model/errors.js';
import { hasSecondFrame, onlyFrame } from '../wire/frames.js';
import { isKnownCompression, unknownCompression } from '../wire/gunzip.js';
import { type BodyReceiver, decompress } from './body.js';

/** The flag of a compressed message. */
const COMPRESSED = 1;

/** Takes the one message of a request out of its frame, and decompresses it. */
export function unwrapFrame(
  bytes: Uint8Array,
  named: string | readonly string[] | undefined,
  done: BodyReceiver,
): void {
  const encoding = named === undefined ? 'identity' : String(named);
  if (!isKnownCompression(encoding)) return done(unknownCompression(encoding), NOTHING);
  const body = asBuffer(bytes);
  const frame = onlyFrame(body);
  if (!frame) return done(isNotOne(body) ? notOneMessage() : malformed('the frame is cut'), NOTHING);
  const { flags, data } = frame;
  if (flags > COMPRESSED) return done(malformed('the flags of the frame'), NOTHING);
  if (flags === 0) return done(undefined, data);
  if (encoding === 'identity') return done(compressionNotNamed(), NOTHING);
  decompress(encoding, data, done);
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

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
