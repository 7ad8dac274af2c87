import type { IncomingHttpHeaders } from 'node:http';
import type { Failure } from '../../api/call/failure.js';
import { type Encoded, whole } from '../../api/call/message.js';
import { type BytesReceiver, unwrapFrame } from '../wire/frame-requests.js';
import { framed } from '../wire/frames.js';
import { grpcTrailers } from '../wire/grpc-status.js';
import { decoded, decompress } from './body.js';
import { connectError, httpStatusOf, plainError, retryAfter } from './errors.js';
import { type Exchange, type HttpAnswer, jsonAnswer } from './exchange.js';
import type { Format } from './formats.js';
import type { HttpCall } from './http-call.js';
import type { Json, MessageTypes } from './json.js';

/** How the request and the answer of a unary call lie in HTTP. */
export interface UnaryFraming {
  /** Turns the body of the request into the bytes of its message, or reports the error. */
  readRequest(types: MessageTypes, headers: IncomingHttpHeaders, body: Uint8Array, done: BytesReceiver): void;
  success(exchange: Exchange, message: Encoded): HttpAnswer;
  failure(exchange: Exchange, failure: Failure): HttpAnswer;
}

/** The Connect protocol: https://connectrpc.com/docs/protocol. */
export function connectUnary(format: Format, json: Json): UnaryFraming {
  return {
    readRequest: (types, headers, body, done) =>
      decompress(headers['content-encoding'], body, (error, plain) =>
        error ? done(error, plain) : decoded(() => format.read(types.input, plain), done),
      ),
    success: ({ call, types }, message) => ({
      status: 200,
      headers: { 'content-type': `application/${format.name}`, ...connectMetadata(call) },
      body: format.write(types.output, message),
    }),
    failure: ({ call }, failure) => connectFailure(call, failure, json),
  };
}

/** A request made of the parameters of a URL, for which `bytes` are the message; see `jsonOfQuery`. */
export function getUnary(bytes: () => Uint8Array, format: Format, json: Json): UnaryFraming {
  return { ...connectUnary(format, json), readRequest: (_, __, ___, done) => decoded(bytes, done) };
}

/** As `getUnary`, for the short paths: an error is plain JSON. */
export function shortUnary(bytes: () => Uint8Array, format: Format, json: Json): UnaryFraming {
  return { ...getUnary(bytes, format, json), failure: (_, failure) => plainFailure(failure) };
}

/** gRPC-web, binary or as text. */
export function grpcWebUnary(format: Format, contentType: string, isText: boolean): UnaryFraming {
  const asSent = (bytes: Buffer): Buffer => (isText ? Buffer.from(bytes.toString('base64')) : bytes);
  const answer = (call: HttpCall, frames: readonly Buffer[]): HttpAnswer => ({
    status: 200,
    headers: { 'content-type': contentType, ...grouped(call.given?.headers ?? []) },
    body: asSent(Buffer.concat(frames)),
  });
  return {
    readRequest: (types, headers, body, done) =>
      unwrapFrame(isText ? fromBase64(body) : body, headers['grpc-encoding'], (error, plain) =>
        error ? done(error, plain) : decoded(() => format.read(types.input, plain), done),
      ),
    success: ({ call, types }, message) =>
      answer(call, [framed(0, whole(format.write(types.output, message))), grpcWebTrailers(call, undefined)]),
    failure: ({ call }, failure) => answer(call, [grpcWebTrailers(call, failure)]),
  };
}

/** The answer to a failed call for people. */
export const plainFailure = (failure: Failure): HttpAnswer =>
  jsonAnswer(httpStatusOf(failure), plainError(failure), retryAfter(failure));

/** The answer to a failed call as Connect writes it. */
export function connectFailure(call: HttpCall | undefined, failure: Failure, json: Json): HttpAnswer {
  const headers = { ...retryAfter(failure), ...(call && connectMetadata(call)) };
  return jsonAnswer(httpStatusOf(failure), connectError(failure, json), headers);
}

/** The last frame of gRPC-web: the trailers as a block of text. */
export function grpcWebTrailers(call: HttpCall, failure: Failure | undefined): Buffer {
  const own = Object.entries(grpcTrailers(failure));
  const lines = [...own, ...(call.given?.trailers ?? [])].map(([name, value]) => `${name}: ${value}\r\n`);
  return framed(0x80, Buffer.from(lines.join('')));
}

/** Metadata as headers of HTTP; a name may have several values. */
export function grouped(pairs: readonly [string, string][], prefix = ''): Record<string, string[]> {
  const headers: Record<string, string[]> = {};
  for (const [name, value] of pairs) (headers[prefix + name] ??= []).push(value);
  return headers;
}

/** Text of base64, of one or several padded pieces. */
export function fromBase64(body: Uint8Array): Buffer {
  const pieces =
    Buffer.from(body)
      .toString('latin1')
      .match(/[^=]+=*/g) ?? [];
  return Buffer.concat(pieces.map((piece) => Buffer.from(piece, 'base64')));
}

/** A unary answer of Connect has its trailers among the headers. */
function connectMetadata({ given }: HttpCall): Record<string, string[]> {
  return given ? { ...grouped(given.headers), ...grouped(given.trailers, 'trailer-') } : {};
}
