import type { Writable } from 'node:stream';
import { type Encoded, Pieces, sizeOf, whole } from '../../api/call/message.js';
import { PREFIX_BYTES, prefixOf } from './frames.js';

/** A message of up to this size is copied into one buffer with its prefix, which costs less than a second write. */
const COPIED_BYTES_MAX = 16 * 1_024;

/** The frames of messages that are sent again and again: the same answer to the same call. */
const frames = new WeakMap<Pieces, Buffer>();

/** The bytes of such messages as text, which Node sends in one piece with the headers before it. */
const texts = new WeakMap<Pieces, string>();

/** Ends a response of HTTP with a message. A large piece that others share is not copied. */
export function endWith(stream: Writable, message: Encoded): void {
  if (!(message instanceof Pieces)) stream.end(message);
  else if (isSmall(message)) stream.end(textOf(message), 'latin1');
  else {
    stream.write(message.own);
    stream.end(message.shared);
  }
}

/** Ends a stream with a message in a frame of gRPC. A large piece that others share is not copied. */
export function endWithFrame(stream: Writable, message: Encoded): void {
  const prefix = (): Buffer => prefixOf(0, sizeOf(message));
  if (!(message instanceof Pieces)) stream.end(Buffer.concat([prefix(), message]));
  else if (isSmall(message)) stream.end(frameOf(message));
  else {
    stream.write(Buffer.concat([prefix(), message.own]));
    stream.end(message.shared);
  }
}

/** The bytes of a message in one piece. Those of a small message that is sent again and again are put together once. */
export const wholeOnce = (message: Encoded): Uint8Array =>
  message instanceof Pieces && isSmall(message) ? frameOf(message).subarray(PREFIX_BYTES) : whole(message);

const isSmall = (message: Pieces): boolean => sizeOf(message) <= COPIED_BYTES_MAX;

/** The bytes of a small message as latin1. */
function textOf(message: Pieces): string {
  let text = texts.get(message);
  if (text === undefined) {
    text = Buffer.concat([message.shared, message.own]).toString('latin1');
    texts.set(message, text);
  }
  return text;
}

/** The frame of a small message. */
function frameOf(message: Pieces): Buffer {
  let frame = frames.get(message);
  if (!frame) {
    frame = Buffer.concat([prefixOf(0, sizeOf(message)), message.shared, message.own]);
    frames.set(message, frame);
  }
  return frame;
}
