import type { IncomingHttpHeaders } from 'node:http';
import { type BytesReceiver, unwrapFrame } from '../wire/frame-requests.js';
import { decodedAfter, decompressed } from './body.js';
import type { Format } from './formats.js';
import type { MessageTypes } from './json.js';

/** Turns the body of a request into the bytes of its message, or reports the error. */
export type ReadRequest = (
  types: MessageTypes,
  headers: IncomingHttpHeaders,
  body: Uint8Array,
  done: BytesReceiver,
) => void;

/** A request whose body is the message, as Connect sends unary calls. */
export const bareRequest =
  (format: Format): ReadRequest =>
  (types, headers, body, done) =>
    decompressed(headers, body, done, (bytes) => format.read(types.input, bytes));

/** A request whose message is in a frame. `header` names the compression. */
export const framedRequest =
  (format: Format, header: 'connect-content-encoding' | 'grpc-encoding', isText = false): ReadRequest =>
  (types, headers, body, done) =>
    unwrapFrame(
      isText ? fromBase64(body) : body,
      headers[header],
      decodedAfter((bytes) => format.read(types.input, bytes), done),
    );

/** Text of base64, of one or several padded pieces. */
function fromBase64(body: Uint8Array): Buffer {
  const pieces =
    Buffer.from(body)
      .toString('latin1')
      .match(/[^=]+=*/g) ?? [];
  return Buffer.concat(pieces.map((piece) => Buffer.from(piece, 'base64')));
}
