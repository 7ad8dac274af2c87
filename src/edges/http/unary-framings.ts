import type { Failure } from '../../api/call/failure.js';
import { type Encoded, whole } from '../../api/call/message.js';
import { framed } from '../wire/frames.js';
import { grpcTrailers } from '../wire/grpc-status.js';
import { headersOf } from '../wire/metadata.js';
import { decoded } from './body.js';
import { connectError, httpStatusOf, plainError, plainStatusOf, errorHeaders } from './errors.js';
import { type Exchange, type HttpAnswer, jsonAnswer } from './exchange.js';
import type { Format } from './formats.js';
import type { HttpCall } from './http-call.js';
import type { Json } from './json.js';
import { bareRequest, framedRequest, type ReadRequest } from './requests.js';

/** How the request and the answer of a unary call lie in HTTP. */
export interface UnaryFraming {
  readonly readRequest: ReadRequest;
  success(exchange: Exchange, message: Encoded): HttpAnswer;
  failure(exchange: Exchange, failure: Failure): HttpAnswer;
}

/** The Connect protocol: https://connectrpc.com/docs/protocol. */
export function connectUnary(format: Format, json: Json): UnaryFraming {
  const headers = { 'content-type': `application/${format.name}` };
  return {
    readRequest: bareRequest(format),
    success: ({ call, types }, message) => ({
      status: 200,
      headers: call.given ? { ...headers, ...connectMetadata(call) } : headers,
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
  const answer = (call: HttpCall, frames: readonly Buffer[]): HttpAnswer => ({
    status: 200,
    headers: { 'content-type': contentType, ...headersOf(call.given?.headers) },
    body: grpcWebBytes(Buffer.concat(frames), isText),
  });
  return {
    readRequest: framedRequest(format, 'grpc-encoding', isText),
    success: ({ call, types }, message) =>
      answer(call, [framed(0, whole(format.write(types.output, message))), grpcWebTrailers(call, undefined)]),
    failure: ({ call }, failure) => answer(call, [grpcWebTrailers(call, failure)]),
  };
}

/** The answer to a failed call for people. */
export const plainFailure = (failure: Failure): HttpAnswer =>
  jsonAnswer(plainStatusOf(failure), plainError(failure), errorHeaders(failure));

/** The answer to a failed call as Connect writes it. */
export function connectFailure(call: HttpCall | undefined, failure: Failure, json: Json): HttpAnswer {
  const headers = { ...errorHeaders(failure), ...(call && connectMetadata(call)) };
  return jsonAnswer(httpStatusOf(failure), connectError(failure, json), headers);
}

/** The bytes of gRPC-web as they are sent: base64 in its form as text. */
export const grpcWebBytes = (bytes: Buffer, isText: boolean): Buffer =>
  isText ? Buffer.from(bytes.toString('base64')) : bytes;

/** The last frame of gRPC-web: the trailers as a block of text. */
export function grpcWebTrailers(call: HttpCall, failure: Failure | undefined): Buffer {
  const own = Object.entries(grpcTrailers(failure));
  const lines = [...own, ...(call.given?.trailers ?? [])].map(([name, value]) => `${name}: ${value}\r\n`);
  return framed(0x80, Buffer.from(lines.join('')));
}

/** A unary answer of Connect has its trailers among the headers. */
function connectMetadata({ given }: HttpCall): Record<string, string[]> {
  return given ? { ...headersOf(given.headers), ...headersOf(given.trailers, 'trailer-') } : {};
}
