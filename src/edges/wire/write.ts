import type { Writable } from 'node:stream';
import { type Encoded, Pieces, sizeOf } from '../../api/call/message.js';
import { prefixOf } from './frames.js';

/** A shared piece of up to this size is copied into one buffer with the rest, which costs less than a second write. */
const COPIED_BYTES_MAX = 16 * 1_024;

/** The frames of messages that are sent again and again: the same answer to the same call. */
const frames = new WeakMap<Pieces, Buffer>();

/** Ends a stream with a message in a frame of gRPC. */
export function endWithFrame(stream: Writable, message: Encoded): void {
  const bytes = sizeOf(message);
  if (!(message instanceof Pieces) || bytes > COPIED_BYTES_MAX) return endWith(stream, message, prefixOf(0, bytes));
  let frame = frames.get(message);
  if (!frame) frames.set(message, (frame = Buffer.concat([prefixOf(0, bytes), message.shared, message.own])));
  stream.end(frame);
}

/** Ends a stream with a message, and some bytes before it. A large piece that others share is not copied. */
export function endWith(stream: Writable, message: Encoded, before: Uint8Array = NOTHING): void {
  if (!(message instanceof Pieces)) {
    stream.end(before.length > 0 ? Buffer.concat([before, message]) : message);
  } else if (message.shared.length > COPIED_BYTES_MAX) {
    stream.write(Buffer.concat([before, message.own]));
    stream.end(message.shared);
  } else {
    stream.end(Buffer.concat([before, message.shared, message.own]));
  }
}

const NOTHING = new Uint8Array(0);
