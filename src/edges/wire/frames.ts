/** The bytes before each message of gRPC, gRPC-web and Connect streams: one of flags, four of length. */
export const PREFIX_BYTES = 5;

/** A message in its frame. */
export interface Frame {
  readonly flags: number;
  readonly data: Buffer;
}

/** Reads the only frame of a body. Returns `undefined` if the body is not exactly one frame. */
export function onlyFrame(body: Buffer): Frame | undefined {
  if (body.length < PREFIX_BYTES || body.readUInt32BE(1) !== body.length - PREFIX_BYTES) return undefined;
  return { flags: body[0]!, data: body.subarray(PREFIX_BYTES) };
}

/** Returns true if a body holds more than one whole frame. */
export function hasSecondFrame(body: Buffer): boolean {
  return body.length > PREFIX_BYTES && body.readUInt32BE(1) < body.length - PREFIX_BYTES;
}

/** The prefix of a frame. */
export function prefixOf(flags: number, length: number): Buffer {
  const prefix = Buffer.allocUnsafe(PREFIX_BYTES);
  prefix[0] = flags;
  prefix.writeUInt32BE(length, 1);
  return prefix;
}

/** Puts a message in its frame. */
export const framed = (flags: number, data: Uint8Array): Buffer => Buffer.concat([prefixOf(flags, data.length), data]);
