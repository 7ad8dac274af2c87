import type { IncomingMessage } from 'node:http';
import type { JsonObject } from '@bufbuild/protobuf';
import type { Method } from '../../api/call/method.js';
import { RollcallError } from '../../model/errors.js';
import type { Formats } from './formats.js';
import type { Json } from './json.js';
import { jsonOfQuery } from './query.js';
import {
  connectStream,
  grpcWebStream,
  jsonLines,
  serverSentEvents,
  type StreamFraming,
  wantsEvents,
} from './stream-framings.js';
import {
  connectFailure,
  connectUnary,
  getUnary,
  grpcWebUnary,
  plainFailure,
  shortUnary,
  type UnaryFraming,
} from './unary-framings.js';

/** How one request lies in HTTP, by the kind of its method. */
export interface Framing {
  readonly unary?: UnaryFraming;
  readonly stream?: StreamFraming;
}

/** The types that a POST may have, as the header Accept-Post names them. */
export const POST_TYPES = [
  ...['application/json', 'application/proto', 'application/connect+json', 'application/connect+proto'],
  ...['application/grpc-web', 'application/grpc-web+proto', 'application/grpc-web+json', 'application/grpc-web-text'],
];

/** Chooses how the request and the answers of a call lie in HTTP. */
export class Framings {
  constructor(
    private readonly json: Json,
    private readonly formats: Formats,
  ) {}

  /** The framing of a POST. `undefined` if no protocol has its content type. */
  ofPost({ headers }: IncomingMessage): Framing | undefined {
    const { json, formats } = this;
    const type = mediaType(headers['content-type']);
    switch (type) {
      case 'application/json':
        return { unary: connectUnary(formats.json, json), stream: this.#textStream(headers.accept, undefined, false) };
      case 'application/proto':
        return { unary: connectUnary(formats.proto, json) };
      case 'application/connect+json':
        return { stream: connectStream(formats.json, json) };
      case 'application/connect+proto':
        return { stream: connectStream(formats.proto, json) };
    }
    const [isGrpcWeb, text, format = 'proto'] = GRPC_WEB.exec(type) ?? [];
    if (!isGrpcWeb) return undefined;
    const known = formats[format as keyof Formats];
    const isText = text !== undefined;
    return { unary: grpcWebUnary(known, type, isText), stream: grpcWebStream(known, type, isText) };
  }

  /** The framing of a GET: of Connect if it names an encoding and a message, else the parameters are fields. */
  ofGet({ headers }: IncomingMessage, query: URLSearchParams, { path }: Method): Framing {
    const { json, formats } = this;
    const { input } = json.typesOf(path);
    if (query.has('encoding') && query.has('message')) {
      const format = formats[query.get('encoding') as keyof Formats];
      if (!format) throw unknownParameter(`encoding must be json or proto`);
      const message = Buffer.from(query.get('message')!, query.get('base64') === '1' ? 'base64url' : 'utf8');
      return { unary: compressedGet(query, message, connectUnary(format, json)) };
    }
    const request = (): Uint8Array => json.bytesOf(input, jsonOfQuery(input, query));
    return { unary: getUnary(request, formats.json, json), stream: this.#textStream(headers.accept, request, false) };
  }

  /** The framing of a GET on a short path, which gives some fields itself. */
  ofShortPath({ headers }: IncomingMessage, query: URLSearchParams, { path }: Method, given: JsonObject): Framing {
    const { json, formats } = this;
    const { input } = json.typesOf(path);
    const request = (): Uint8Array => json.bytesOf(input, jsonOfQuery(input, query, given));
    return { unary: shortUnary(request, formats.json, json), stream: this.#textStream(headers.accept, request, true) };
  }

  #textStream(accept: string | undefined, request: (() => Uint8Array) | undefined, isShort: boolean): StreamFraming {
    const { json } = this;
    const refuse: Parameters<typeof jsonLines>[0]['refuse'] = (failure) =>
      isShort ? plainFailure(failure) : connectFailure(undefined, failure, json);
    const make = wantsEvents({ accept }) ? serverSentEvents : jsonLines;
    return make({ json, request, refuse });
  }
}

const GRPC_WEB = /^application\/grpc-web(-text)?(?:\+(proto|json))?$/;

/** A media type without parameters, in lower case. */
export const mediaType = (header: string | undefined): string => (header ?? '').split(';', 1)[0]!.trim().toLowerCase();

/** A GET of Connect has its message in the URL, compressed or not. */
function compressedGet(query: URLSearchParams, message: Buffer, framing: UnaryFraming): UnaryFraming {
  const encoding = query.get('compression') ?? undefined;
  return {
    ...framing,
    readRequest: (types, _, __, done) => framing.readRequest(types, { 'content-encoding': encoding }, message, done),
  };
}

function unknownParameter(message: string): RollcallError {
  return new RollcallError('INVALID_REQUEST', message);
}
