import { BinaryReader } from '@bufbuild/protobuf/wire';
import { decodeUtf8 } from '../../base/utf8.js';
import { RollcallError } from '../../model/errors.js';

/**
 * Decodes a request. Throws MALFORMED_REQUEST if the bytes are not a message of this type, or if text is not UTF-8.
 * Such text is never repaired.
 */
export function decodeRequest<T>(type: { decode(input: BinaryReader): T }, bytes: Uint8Array): T {
  try {
    assertFields(bytes);
    return type.decode(new BinaryReader(bytes, decodeUtf8));
  } catch (cause) {
    throw malformed(cause);
  }
}

/** Throws if the bytes are not one field after another. Generated decoders stop silently at some malformed input. */
export function assertFields(bytes: Uint8Array): void {
  const reader = new BinaryReader(bytes);
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
