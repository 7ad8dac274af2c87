import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { JsonObject } from '@bufbuild/protobuf';
import type { Method } from '../../api/call/method.js';
import { RollcallError } from '../../model/errors.js';
import type { Format, Formats } from './formats.js';
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

/** Chooses how the request and the answers of a call lie in HTTP. */
export class Framings {
  /** The framings of a POST by its content type: made once, for every request. */
  readonly #ofPost: ReadonlyMap<string, Framing>;
  /** The framing of a POST of JSON, and of one that asks for server-sent events. */
  readonly #json: Framing;
  readonly #events: Framing;

  constructor(
    private readonly json: Json,
    private readonly formats: Formats,
  ) {
    const unary = connectUnary(formats.json, json);
    const textStream = (headers: IncomingHttpHeaders): StreamFraming => this.#textStream(headers, undefined, false);
    this.#events = { unary, stream: textStream({ accept: 'text/event-stream' }) };
    this.#json = { unary, stream: textStream({}) };
    this.#ofPost = new Map<string, Framing>([
      ['application/json', this.#json],
      ['application/proto', { unary: connectUnary(formats.proto, json) }],
      ['application/connect+json', { stream: connectStream(formats.json, json) }],
      ['application/connect+proto', { stream: connectStream(formats.proto, json) }],
      ...['application/grpc-web', 'application/grpc-web-text'].flatMap((type) => {
        const isText = type.endsWith('-text');
        const framing = (format: Format, name: string): [string, Framing] => [
          name,
          { unary: grpcWebUnary(format, name, isText), stream: grpcWebStream(format, name, isText) },
        ];
        return [
          framing(formats.proto, type),
          framing(formats.proto, `${type}+proto`),
          framing(formats.json, `${type}+json`),
        ];
      }),
    ]);
  }

  /** The types that a POST may have, as the header Accept-Post names them. */
  get postTypes(): string {
    return [...this.#ofPost.keys()].join(', ');
  }

  /** The framing of a POST. `undefined` if no protocol has its content type. */
  ofPost({ headers }: IncomingMessage): Framing | undefined {
    const given = headers['content-type'];
    const framing = this.#ofPost.get(given ?? '') ?? this.#ofPost.get(mediaType(given));
    return framing === this.#json && wantsEvents(headers) ? this.#events : framing;
  }

  /** The framing of a GET: of Connect if it names an encoding and a message, else the parameters are fields. */
  ofGet({ headers }: IncomingMessage, query: URLSearchParams, { path }: Method): Framing {
    const { json, formats } = this;
    const { input } = json.typesOf(path);
    if (query.has('encoding') || query.has('connect')) {
      if (!query.has('message'))
        throw unknownParameter('message is missing, which a GET of Connect has beside encoding');
      const name = query.get('encoding') ?? '';
      const format = Object.hasOwn(formats, name) ? formats[name as keyof Formats] : undefined;
      if (!format) throw unknownParameter(`encoding must be json or proto`);
      const message = Buffer.from(query.get('message')!, query.get('base64') === '1' ? 'base64url' : 'utf8');
      return { unary: compressedGet(query, message, connectUnary(format, json)) };
    }
    const request = (): Uint8Array => json.bytesOf(input, jsonOfQuery(input, query));
    return { unary: getUnary(request, formats.json, json), stream: this.#textStream(headers, request, false) };
  }

  /** The framing of a GET on a short path, which gives some fields itself. */
  ofShortPath({ headers }: IncomingMessage, query: URLSearchParams, { path }: Method, given: JsonObject): Framing {
    const { json, formats } = this;
    const { input } = json.typesOf(path);
    const request = (): Uint8Array => json.bytesOf(input, jsonOfQuery(input, query, given));
    return { unary: shortUnary(request, formats.json, json), stream: this.#textStream(headers, request, true) };
  }

  #textStream(headers: IncomingHttpHeaders, request: (() => Uint8Array) | undefined, isShort: boolean): StreamFraming {
    const { json } = this;
    const refuse: Parameters<typeof jsonLines>[0]['refuse'] = (failure) =>
      isShort ? plainFailure(failure) : connectFailure(undefined, failure, json);
    const make = wantsEvents(headers) ? serverSentEvents : jsonLines;
    return make({ json, request, refuse });
  }
}

/** A media type without parameters, in lower case. */
const mediaType = (header: string | undefined): string => (header ?? '').split(';', 1)[0]!.trim().toLowerCase();

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
