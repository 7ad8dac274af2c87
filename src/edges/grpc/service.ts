import { constants, type ServerHttp2Stream } from 'node:http2';
import { Metadata } from '@grpc/grpc-js';
import type {
  handleBidiStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  MethodDefinition,
  ServerDuplexStream,
  ServerUnaryCall,
  ServerWritableStream,
  UntypedHandleCall,
} from '@grpc/grpc-js';
import type { Dispatcher } from '../../api/call/dispatcher.js';
import type { Failure } from '../../api/call/failure.js';
import { type Encoded, sizeOf } from '../../api/call/message.js';
import type { BidiStreamMethod, Method, ServerStreamMethod, UnaryMethod } from '../../api/call/method.js';
import type { StreamTransport } from '../../api/call/sink.js';
import { LAST_BYTES_MAX_MS } from '../../api/call/streams.js';
import { assert } from '../../base/assert.js';
import type { Clock, Timer } from '../../base/clock.js';
import type { EdgeCallParts } from '../wire/edge-call.js';
import { headersOf } from '../wire/metadata.js';
import { wholeOnce } from '../wire/write.js';
import { GrpcCall } from './grpc-call.js';
import { toStatusObject } from './status.js';

/** Messages of up to this size are copied: for them a copy into Node's pool costs less than a view of their memory. */
const COPIED_BYTES_MAX = 1_024;

/** Passes the bytes of a message through grpc-js, which wants a Buffer. The API decodes and encodes. */
function asBuffer(message: Encoded): Buffer {
  const bytes = wholeOnce(message);
  if (Buffer.isBuffer(bytes)) return bytes;
  if (bytes.length <= COPIED_BYTES_MAX) return Buffer.from(bytes);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The bytes of a request, held until its handler takes them: grpc-js keeps what it decoded for as long as the call lasts. */
class Received {
  #bytes: Buffer | undefined;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  take(): Buffer {
    const bytes = this.#bytes;
    assert(bytes !== undefined, 'the bytes of a request are taken once');
    this.#bytes = undefined;
    return bytes;
  }
}

/** A method as grpc-js registers it. */
export function definitionOf({ path, kind }: Method): MethodDefinition<Received, Encoded> {
  return {
    path,
    requestStream: kind === 'BIDI_STREAM',
    responseStream: kind !== 'UNARY',
    requestSerialize: (request) => request.take(),
    requestDeserialize: (bytes) => new Received(bytes),
    responseSerialize: asBuffer,
    responseDeserialize: asBuffer,
  };
}

/** Makes the functions that grpc-js calls: each hands its call to the dispatcher. */
export class GrpcHandlers {
  constructor(
    private readonly dispatcher: Dispatcher,
    private readonly parts: EdgeCallParts & { readonly clock: Clock },
  ) {}

  of(method: Method): UntypedHandleCall {
    switch (method.kind) {
      case 'UNARY':
        return this.#unary(method);
      case 'SERVER_STREAM':
        return this.#serverStream(method) as UntypedHandleCall;
      case 'BIDI_STREAM':
        return this.#bidiStream(method) as UntypedHandleCall;
    }
  }

  #unary(method: UnaryMethod): handleUnaryCall<Received, Encoded> {
    return (wire, callback) => {
      const call = new GrpcCall(method, wire, http2StreamOf(wire), this.parts);
      this.dispatcher.unary(method, wire.request.take(), call, (failure, response) => {
        call.end();
        if (failure) return callback(toStatusObject(failure));
        const { given, stream } = call;
        if (given && given.headers.length > 0) wire.sendMetadata(Metadata.fromHttp2Headers(headersOf(given.headers)));
        callback(null, response);
        const cut = (): void => stream.close(constants.NGHTTP2_CANCEL);
        this.dispatcher.unread.written(call, sizeOf(response!), stream, cut);
      });
    };
  }

  #serverStream(method: ServerStreamMethod): handleServerStreamingCall<Received, Encoded> {
    return (wire) => {
      const call = new GrpcCall(method, wire, http2StreamOf(wire), this.parts);
      this.dispatcher.serverStream(method, wire.request.take(), call, new GrpcStream(wire, call, this.parts.clock));
    };
  }

  #bidiStream(method: BidiStreamMethod): handleBidiStreamingCall<Received, Encoded> {
    return (wire) => {
      const call = new GrpcCall(method, wire, http2StreamOf(wire), this.parts);
      this.dispatcher.bidiStream(method, requestsOf(wire), call, new GrpcStream(wire, call, this.parts.clock));
    };
  }
}

/** The events of a stream of grpc-js after which no request arrives. */
const LAST_REQUEST_EVENTS = ['end', 'cancelled', 'close', 'error'];

/**
 * The requests of a stream, until the stream ends in whatever way. Node's own iterator does not fit: it destroys the
 * stream when its last status is emitted as an error, and the status is then lost if a response is still being written.
 */
function requestsOf(wire: ServerDuplexStream<Received, Encoded>): AsyncIterable<Buffer> {
  let isOver = false;
  let wake = (): void => undefined;
  wire.on('readable', () => wake());
  for (const event of LAST_REQUEST_EVENTS) {
    wire.once(event, () => {
      isOver = true;
      wake();
    });
  }
  return {
    async *[Symbol.asyncIterator]() {
      for (;;) {
        const request = wire.read() as Received | null;
        if (request !== null) yield request.take();
        else if (isOver) return;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

/** A stream of grpc-js that can be written to. */
type WritableCall = ServerWritableStream<Received, Encoded> | ServerDuplexStream<Received, Encoded>;

/** The events of a stream of grpc-js after which nothing more can be sent. */
const CLOSING_EVENTS = ['cancelled', 'close', 'error', 'finish'];

/** The sending half of a stream of grpc-js. A server has thousands, so each is one object. */
class GrpcStream implements StreamTransport {
  #cut: Timer | undefined;
  #closed: (() => void) | undefined;
  #released: (() => void) | undefined;

  constructor(
    private readonly wire: WritableCall,
    private readonly call: GrpcCall,
    private readonly clock: Clock,
  ) {
    const { stream } = call;
    if (stream.destroyed) process.nextTick(() => this.#release());
    else stream.on('close', () => this.#release());
  }

  write(message: Encoded, onTaken: () => void): number {
    this.wire.write(message, onTaken);
    return sizeOf(message);
  }

  end(failure?: Failure): void {
    this.#cutLater();
    if (failure) this.wire.emit('error', toStatusObject(failure));
    else this.wire.end();
  }

  onClosed(listener: () => void): void {
    this.#closed = listener;
    const closed = (): void => this.#close();
    for (const event of CLOSING_EVENTS) this.wire.on(event, closed);
  }

  onReleased(listener: () => void): void {
    this.#released = listener;
  }

  #close(): void {
    this.#cutLater();
    this.call.end();
    this.#closed?.();
  }

  #release(): void {
    this.#cut?.cancel();
    this.#released?.();
  }

  #cutLater(): void {
    const { stream } = this.call;
    if (!stream.destroyed)
      this.#cut ??= this.clock.after(LAST_BYTES_MAX_MS, () => stream.close(constants.NGHTTP2_CANCEL));
  }
}

/** The HTTP/2 stream of a call, reached by fields that grpc-js does not publish: no public event reports that bytes are gone. */
function http2StreamOf(wire: WritableCall | ServerUnaryCall<Received, Encoded>): ServerHttp2Stream {
  const { stream } = (wire as unknown as { readonly call: { readonly stream?: ServerHttp2Stream } }).call;
  assert(typeof stream?.close === 'function', 'grpc-js keeps the stream of a call elsewhere than it did');
  return stream;
}
