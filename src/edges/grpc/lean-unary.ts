import { constants, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Answer, Dispatcher } from '../../api/call/dispatcher.js';
import type { Failure } from '../../api/call/failure.js';
import { type Encoded, sizeOf } from '../../api/call/message.js';
import type { Method, UnaryMethod } from '../../api/call/method.js';
import type { Clock } from '../../base/clock.js';
import { LIMITS } from '../../model/limits.js';
import type { EdgeCallParts } from '../wire/edge-call.js';
import { unwrapFrame } from '../wire/frame-requests.js';
import { PREFIX_BYTES } from '../wire/frames.js';
import { grpcTrailers } from '../wire/grpc-status.js';
import { requestTooLarge } from '../wire/gunzip.js';
import { headersOf } from '../wire/metadata.js';
import { grpcTimeoutMs } from '../wire/timeouts.js';
import { endWithFrame } from '../wire/write.js';
import { LeanCall } from './lean-call.js';

/** The content types of gRPC with protobuf. */
const CONTENT_TYPE = /^application\/grpc(?:\+proto)?(?:;|$)/;

const HEADERS = {
  ':status': 200,
  'content-type': 'application/grpc+proto',
  'grpc-accept-encoding': 'identity,gzip',
} as const;
const OK_TRAILERS = { 'grpc-status': '0' } as const;

type StreamListener = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  rawHeaders: string[],
) => void;

/** The dependencies of LeanUnary. */
export interface LeanUnaryParts extends EdgeCallParts {
  readonly clock: Clock;
  readonly dispatcher: Pick<Dispatcher, 'admit' | 'unary' | 'refuse' | 'unread'>;
}

/**
 * The unary calls of gRPC, taken in the HTTP/2 server of grpc-js before grpc-js sees them. The library makes a stream, two
 * layers of listeners and a Metadata for every call; a unary call needs none of them. grpc-js keeps the connections, their
 * age, keepalive and shutdown, and all streams.
 */
export class LeanUnary {
  readonly #methods = new Map<string, UnaryMethod>();

  constructor(private readonly parts: LeanUnaryParts) {}

  /** Adds the unary ones of some methods. */
  offer(methods: readonly Method[]): void {
    for (const method of methods) if (method.kind === 'UNARY') this.#methods.set(method.path, method);
  }

  /** Takes the calls of a server. Returns false, and changes nothing, if grpc-js listens otherwise than it did. */
  takeOver(http2Server: Http2Server): boolean {
    const listeners = http2Server.listeners('stream') as StreamListener[];
    const [theirs] = listeners;
    if (!theirs || listeners.length !== 1) return false;
    http2Server.removeListener('stream', theirs);
    http2Server.on(
      'stream',
      (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, raw: string[]) => {
        if (!this.#take(stream, headers)) theirs(stream, headers, flags, raw);
      },
    );
    return true;
  }

  /** Begins a call. Returns false if it is left to grpc-js. */
  #take(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): boolean {
    const { clock } = this.parts;
    const method = this.#methods.get(headers[':path'] ?? '');
    // grpc-js knows deflate, which no client uses by default.
    if (!method || headers['grpc-encoding'] === 'deflate') return false;
    const status = refusalOf(headers);
    if (status !== undefined) {
      stream.respond({ ':status': status }, { endStream: true });
      return true;
    }
    const timeout = headers['grpc-timeout'];
    const timeoutMs = timeout === undefined ? undefined : grpcTimeoutMs(String(timeout));
    if (timeout !== undefined && timeoutMs === undefined) return false;
    const deadlineMs = timeoutMs === undefined ? undefined : clock.wall() + timeoutMs;
    const call = new LeanCall(method, stream, headers, deadlineMs, this.parts);
    // A stream that fails is closed too, and nothing can be sent on it.
    stream.on('error', ignore);
    const { dispatcher } = this.parts;
    let admitted: Promise<void> | undefined;
    try {
      admitted = dispatcher.admit(call);
    } catch (error) {
      fail(stream, call, dispatcher.refuse(call, error));
      drop(stream);
      return true;
    }
    this.#receive(stream, (body) => this.#run(method, stream, headers, call, admitted, body));
    return true;
  }

  /** Collects the body; `undefined` if it is too large. */
  #receive(stream: ServerHttp2Stream, done: (body: Buffer | undefined) => void): void {
    const limit = LIMITS.RECEIVE_BYTES.value + PREFIX_BYTES;
    let body: Buffer | undefined;
    let chunks: Buffer[] | undefined;
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => {
      if (bytes > limit) return; // it was refused
      bytes += chunk.length;
      if (bytes > limit) return done(undefined);
      if (!body) body = chunk;
      else (chunks ??= [body]).push(chunk);
    });
    stream.on('end', () => {
      // A stream that the client has reset ends, too.
      if (bytes > limit || stream.aborted || stream.destroyed) return;
      done(chunks ? Buffer.concat(chunks) : (body ?? NOTHING));
    });
  }

  #run(
    method: UnaryMethod,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    call: LeanCall,
    admitted: Promise<void> | undefined,
    body: Buffer | undefined,
  ): void {
    const { dispatcher } = this.parts;
    const refuse = (error: unknown): void => fail(stream, call, dispatcher.refuse(call, error));
    if (!body) {
      refuse(requestTooLarge());
      return stream.close(constants.NGHTTP2_NO_ERROR); // the rest is not read
    }
    unwrapFrame(body, headers['grpc-encoding'], (error, bytes) => {
      if (error !== undefined) return refuse(error);
      const answered: Answer = (failure, message) => {
        if (failure) return fail(stream, call, failure);
        const sent = answer(stream, call, message!);
        dispatcher.unread.written(call, sent, stream, () => stream.close(constants.NGHTTP2_CANCEL));
      };
      dispatcher.unary(method, bytes, call, answered, () => admitted);
    });
  }
}

/** Reads the rest of a request that was answered, and keeps nothing: a client that is still sending sees the answer. */
function drop(stream: ServerHttp2Stream): void {
  let bytes = 0;
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > LIMITS.RECEIVE_BYTES.value) stream.close(constants.NGHTTP2_NO_ERROR);
  });
}

/** The status of HTTP for a request that is not one of gRPC with protobuf; `undefined` if it is. */
function refusalOf(headers: IncomingHttpHeaders): number | undefined {
  if (headers[':method'] !== 'POST') return 405;
  return CONTENT_TYPE.test(headers['content-type'] ?? '') ? undefined : 415;
}

/** Sends the failure of a call, unless the client has gone. */
function fail(stream: ServerHttp2Stream, call: LeanCall, failure: Failure): void {
  call.end();
  if (stream.destroyed || stream.closed) return;
  const { given } = call;
  const own = grpcTrailers(failure);
  const trailers = given ? { ...own, ...headersOf(given.headers), ...headersOf(given.trailers) } : own;
  stream.respond({ ...HEADERS, ...trailers }, { endStream: true, sendDate: false } as never);
}

/** Sends the answer of a call, unless the client has gone. Returns its bytes. */
function answer(stream: ServerHttp2Stream, call: LeanCall, message: Encoded): number {
  call.end();
  if (stream.destroyed || stream.closed) return 0;
  const { given } = call;
  stream.respond(given ? { ...HEADERS, ...headersOf(given.headers) } : HEADERS, WAIT_FOR_TRAILERS);
  stream.on(
    'wantTrailers',
    given ? () => stream.sendTrailers({ ...OK_TRAILERS, ...headersOf(given.trailers) }) : sendOk,
  );
  endWithFrame(stream, message);
  return sizeOf(message);
}

function sendOk(this: ServerHttp2Stream): void {
  this.sendTrailers(OK_TRAILERS);
}

const WAIT_FOR_TRAILERS = { waitForTrailers: true, sendDate: false } as { waitForTrailers: true };
const NOTHING = Buffer.alloc(0);
const ignore = (): void => undefined;
