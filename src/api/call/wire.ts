import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import { decodeUtf8 } from '../../base/utf8.js';
import { RollcallError } from '../../model/errors.js';

/**
 * Decodes a request. Throws MALFORMED_REQUEST if the bytes are not a message of this type, or if text is not UTF-8.
 * Such text is never repaired.
 */
export function decodeRequest<T>(type: { decode(input: BinaryReader): T }, bytes: Uint8Array): T {
  try {
    const reader = new BinaryReader(bytes, decodeUtf8);
    assertFields(reader);
    reader.pos = 0;
    return type.decode(reader);
  } catch (cause) {
    throw malformed(cause);
  }
}

/** Throws if bytes are not one field after another. Generated decoders stop silently at some malformed input. */
export function assertFields(reader: BinaryReader): void {
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    reader.skip(wireType, field);
  }
}

/** The error for a request that does not decode. */
export function malformed(cause: unknown): RollcallError {
  const message = 'the request is not a message of this method, or text in it is not UTF-8';
  return new RollcallError('MALFORMED_REQUEST', message, { cause });
}

/** A writer that has grown beyond this is not kept. */
const WRITER_BYTES_MAX = 64 * 1_024;
/** The writer of all messages: a new one costs more than a small message. */
let writer = new BinaryWriter();

/** Encodes a message. */
export function encodeMessage<T>(
  type: { encode(message: T, writer: BinaryWriter): BinaryWriter },
  message: T,
): Uint8Array {
  let isClean = false;
  try {
    const bytes = type.encode(message, writer).finish();
    isClean = bytes.length <= WRITER_BYTES_MAX;
    return bytes;
  } finally {
    if (!isClean) writer = new BinaryWriter();
  }
}
