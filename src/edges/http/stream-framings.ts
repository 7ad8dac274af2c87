import type { IncomingHttpHeaders } from 'node:http';
import type { JsonObject } from '@bufbuild/protobuf';
import type { Failure } from '../../api/call/failure.js';
import { type Encoded, Pieces, whole } from '../../api/call/message.js';
import { framed } from '../wire/frames.js';
import { headersOf } from '../wire/metadata.js';
import { decoded, decompressed } from './body.js';
import { connectError, plainError } from './errors.js';
import type { Exchange, HttpAnswer } from './exchange.js';
import type { Format } from './formats.js';
import type { Json } from './json.js';
import { framedRequest, type ReadRequest } from './requests.js';
import { grpcWebBytes, grpcWebTrailers } from './unary-framings.js';

/** How the request and the messages of a server stream lie in HTTP. */
export interface StreamFraming {
  readonly readRequest: ReadRequest;
  /** The headers with which the stream begins. */
  headers(exchange: Exchange): Record<string, string | string[]>;
  /** The bytes before the first message. */
  readonly preamble?: string;
  message(exchange: Exchange, message: Encoded): Buffer;
  /** The bytes after the last message. */
  end(exchange: Exchange, failure: Failure | undefined): Buffer;
  /** The answer to a call that failed before its first message, `undefined` if the stream begins all the same. */
  refusal(exchange: Exchange, failure: Failure): HttpAnswer | undefined;
}

/** The flag of the last message of a Connect stream. */
const END_OF_STREAM = 2;

/** The Connect protocol: each message in an envelope, and a last one that says how the call ended. */
export function connectStream(format: Format, json: Json): StreamFraming {
  return {
    readRequest: framedRequest(format, 'connect-content-encoding'),
    headers: ({ call }) => ({
      'content-type': `application/connect+${format.name}`,
      ...headersOf(call.given?.headers),
    }),
    message: ({ types }, message) => framed(0, whole(format.write(types.output, message))),
    end: ({ call }, failure) => {
      const metadata = headersOf(call.given?.trailers);
      const end = { ...(failure && { error: connectError(failure, json) }), metadata };
      return framed(END_OF_STREAM, Buffer.from(JSON.stringify(end)));
    },
    refusal: () => undefined,
  };
}

/** gRPC-web, binary or as text. */
export function grpcWebStream(format: Format, contentType: string, isText: boolean): StreamFraming {
  return {
    readRequest: framedRequest(format, 'grpc-encoding', isText),
    headers: ({ call }) => ({ 'content-type': contentType, ...headersOf(call.given?.headers) }),
    message: ({ types }, message) => grpcWebBytes(framed(0, whole(format.write(types.output, message))), isText),
    end: ({ call }, failure) => grpcWebBytes(grpcWebTrailers(call, failure), isText),
    refusal: () => undefined,
  };
}

/** The dependencies of a stream for people. Its request is JSON in the body, or made of the parameters of the URL. */
interface TextStreamParts {
  readonly json: Json;
  /** The message of the request, `undefined` if it is in the body. */
  readonly request: (() => Uint8Array) | undefined;
  /** The answer to a call that failed before its first message. */
  readonly refuse: (failure: Failure) => HttpAnswer;
}

const readTextRequest =
  ({ json, request }: TextStreamParts): ReadRequest =>
  (types, headers, body, done) =>
    request ? decoded(request, done) : decompressed(headers, body, done, (text) => json.bytesOfText(types.input, text));

/** One line of JSON for each message: `{"result":{...}}`, and `{"error":{...}}` at the end, as grpc-gateway and etcd do. */
export function jsonLines(parts: TextStreamParts): StreamFraming {
  const { json, refuse } = parts;
  return {
    readRequest: readTextRequest(parts),
    headers: () => ({ 'content-type': 'application/x-ndjson', ...UNBUFFERED }),
    message: ({ types }, message) => Buffer.concat([RESULT, json.textOf(types.output, message), LINE_END]),
    end: (_, failure) => (failure ? Buffer.from(`${JSON.stringify({ error: plainError(failure) })}\n`) : NOTHING),
    refusal: (_, failure) => refuse(failure),
  };
}

/**
 * Server-sent events. The id of an event is the token to go on from, which a browser sends as Last-Event-ID when it calls
 * again by itself. An error that may pass is an event named "status": an answer other than 200 ends an EventSource for good.
 */
export function serverSentEvents(parts: TextStreamParts): StreamFraming {
  const { json, refuse } = parts;
  return {
    readRequest: readTextRequest(parts),
    headers: () => ({ 'content-type': 'text/event-stream', ...UNBUFFERED }),
    preamble: 'retry: 1000\n\n',
    message: ({ types }, message) => {
      const own = json.valueOf(types.output, message instanceof Pieces ? message.own : message);
      const text =
        message instanceof Pieces ? json.joined(types.output, message.shared, own) : Buffer.from(JSON.stringify(own));
      const token = tokenOf(own);
      return Buffer.concat([Buffer.from(`${token === '' ? '' : `id: ${token}\n`}data: `), text, EVENT_END]);
    },
    end: (_, failure) => (failure ? Buffer.from(statusEvent(failure)) : NOTHING),
    refusal: (_, failure) => (isPassing(failure) ? undefined : refuse(failure)),
  };
}

/** Returns true if a request asks for server-sent events. */
export const wantsEvents = ({ accept }: IncomingHttpHeaders): boolean => accept?.includes('text/event-stream') ?? false;

/** The answer to a request for events that fails before its method is known. */
export function eventsRefused(failure: Failure): HttpAnswer | undefined {
  if (!isPassing(failure)) return undefined;
  return { status: 200, headers: { 'content-type': 'text/event-stream' }, body: Buffer.from(statusEvent(failure)) };
}

/** Returns true for an error that another call may not meet. */
const isPassing = ({ error }: Failure): boolean => error.retryAfterMs !== undefined;

/** The event that says why a stream ends. */
function statusEvent(failure: Failure): string {
  const { retryAfterMs } = failure.error;
  const retry = retryAfterMs === undefined ? '' : `retry: ${Math.max(retryAfterMs, RETRY_LEAST_MS)}\n`;
  return `${retry}event: status\ndata: ${JSON.stringify(plainError(failure))}\n\n`;
}

/** The least delay after which a browser should call again. */
const RETRY_LEAST_MS = 1_000;

/** The token in the progress of a watch message: of a whole view, else of a view that is under way. */
function tokenOf({ progress }: JsonObject): string {
  const { resumeToken, continueToken } = (progress ?? {}) as { resumeToken?: string; continueToken?: string };
  return resumeToken ?? continueToken ?? '';
}

/** Asks proxies to pass each message on at once. */
const UNBUFFERED = { 'x-accel-buffering': 'no' };
const NOTHING = Buffer.alloc(0);
const RESULT = Buffer.from('{"result":');
const LINE_END = Buffer.from('}\n');
const EVENT_END = Buffer.from('\n\n');
