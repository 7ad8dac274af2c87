import type {
  handleBidiStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  MethodDefinition,
  ServerDuplexStream,
  ServerWritableStream,
  UntypedHandleCall,
} from '@grpc/grpc-js';
import type { Dispatcher } from '../../api/call/dispatcher.js';
import type { BidiStreamMethod, Method, ServerStreamMethod, UnaryMethod } from '../../api/call/method.js';
import type { StreamTransport } from '../../api/call/sink.js';
import type { Random } from '../../base/random.js';
import { GrpcCall } from './grpc-call.js';
import { toStatusObject } from './status.js';

/** Messages of up to this size are copied: for them a copy into Node's pool costs less than a view of their memory. */
const COPIED_BYTES_MAX = 1_024;

/** Passes the bytes of a message through grpc-js, which wants a Buffer. The API decodes and encodes. */
function asBuffer(bytes: Uint8Array): Buffer {
  if (Buffer.isBuffer(bytes)) return bytes;
  if (bytes.length <= COPIED_BYTES_MAX) return Buffer.from(bytes);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A method as grpc-js registers it. */
export function definitionOf({ path, kind }: Method): MethodDefinition<Buffer, Uint8Array> {
  return {
    path,
    requestStream: kind === 'BIDI_STREAM',
    responseStream: kind !== 'UNARY',
    requestSerialize: asBuffer,
    requestDeserialize: asBuffer,
    responseSerialize: asBuffer,
    responseDeserialize: asBuffer,
  };
}

/** Makes the functions that grpc-js calls: each hands its call to the dispatcher. */
export class GrpcHandlers {
  constructor(
    private readonly dispatcher: Dispatcher,
    private readonly random: Random,
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

  #unary(method: UnaryMethod): handleUnaryCall<Buffer, Uint8Array> {
    return (wire, callback) => {
      const call = new GrpcCall(method, wire, this.random);
      this.dispatcher.unary(method, wire.request, call, (failure, response) => {
        call.end();
        if (failure) callback(toStatusObject(failure));
        else callback(null, response);
      });
    };
  }

  #serverStream(method: ServerStreamMethod): handleServerStreamingCall<Buffer, Uint8Array> {
    return (wire) => {
      const call = new GrpcCall(method, wire, this.random);
      this.dispatcher.serverStream(method, wire.request, call, transportOf(wire, call));
    };
  }

  #bidiStream(method: BidiStreamMethod): handleBidiStreamingCall<Buffer, Uint8Array> {
    return (wire) => {
      const call = new GrpcCall(method, wire, this.random);
      this.dispatcher.bidiStream(method, requestsOf(wire), call, transportOf(wire, call));
    };
  }
}

/** The events of a stream of grpc-js after which no request arrives. */
const LAST_REQUEST_EVENTS = ['end', 'cancelled', 'close', 'error'];

/**
 * The requests of a stream, until the stream ends in whatever way. Node's own iterator does not fit: it destroys the
 * stream when its last status is emitted as an error, and the status is then lost if a response is still being written.
 */
function requestsOf(wire: ServerDuplexStream<Buffer, Uint8Array>): AsyncIterable<Buffer> {
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
        const request = wire.read() as Buffer | null;
        if (request !== null) yield request;
        else if (isOver) return;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

/** The events of a stream of grpc-js after which nothing more can be sent. */
const CLOSING_EVENTS = ['cancelled', 'close', 'error', 'finish'];

function transportOf(
  wire: ServerWritableStream<Buffer, Uint8Array> | ServerDuplexStream<Buffer, Uint8Array>,
  call: GrpcCall,
): StreamTransport {
  return {
    write: (bytes, onTaken) => void wire.write(bytes, onTaken),
    end: (failure) => void (failure ? wire.emit('error', toStatusObject(failure)) : wire.end()),
    onClosed: (listener) => {
      const closed = (): void => {
        call.end();
        listener();
      };
      for (const event of CLOSING_EVENTS) wire.on(event, closed);
    },
  };
}
