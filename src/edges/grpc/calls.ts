import type {
  handleUnaryCall,
  MethodDefinition,
  sendUnaryData,
  ServerDuplexStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  StatusObject,
} from '@grpc/grpc-js';
import { BinaryReader, configureTextEncoding, getTextEncoding } from '@bufbuild/protobuf/wire';
import type { Clock } from '../../base/clock.js';
import type { Telemetry } from '../../base/observe.js';
import type { Random } from '../../base/random.js';
import { RollcallError } from '../../model/errors.js';
import { toStatus } from './status.js';

/** The server gives up on a unary call after this: longer than any wait of ours, shorter than a client forgets. */
const UNARY_MAX_MS = 10_000;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
// Generated code would read text that is not UTF-8 as something else; it is to be refused.
configureTextEncoding({ ...getTextEncoding(), decodeUtf8: (bytes) => utf8.decode(bytes) });

/** Stands for a request whose bytes are no message of the method. */
const MALFORMED = Symbol('malformed');

/** Bytes of a response that was encoded already. */
export type Encoded = Buffer;

/** A server-streaming or bidirectional call. */
export type StreamCall = ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;

/**
 * Makes a service definition ours: a request that does not decode reaches the handler, which says so, and a
 * response may be given as bytes.
 */
export function ours(definition: ServiceDefinition): ServiceDefinition {
  const methods = Object.entries(definition).map(([name, method]: [string, MethodDefinition<unknown, unknown>]) => {
    const requestDeserialize = (bytes: Buffer): unknown => {
      try {
        assertFields(bytes);
        return method.requestDeserialize(bytes);
      } catch {
        return MALFORMED;
      }
    };
    const responseSerialize = (value: unknown): Buffer =>
      Buffer.isBuffer(value) ? value : method.responseSerialize(value);
    return [name, { ...method, requestDeserialize, responseSerialize }];
  });
  return Object.fromEntries(methods) as ServiceDefinition;
}

/** Throws if the bytes are not one field after another. The decoders stop at some of what is none, and take the rest. */
function assertFields(bytes: Uint8Array): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    reader.skip(wireType, field);
  }
}

/** What every handler needs of its surroundings: errors told in one way, time limits, and streams that can be ended. */
export class Calls {
  readonly #streams = new Set<(error: RollcallError) => void>();
  #draining = false;

  constructor(
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly telemetry: Telemetry,
  ) {}

  /** How many streams are open. */
  get openStreams(): number {
    return this.#streams.size;
  }

  /** A handler of a unary method: what it returns or resolves to is the answer, what it throws the error. */
  unary<Request, Response>(
    handle: (
      request: Request,
      call: ServerUnaryCall<Request, Response>,
    ) => Response | Encoded | Promise<Response | Encoded>,
  ): handleUnaryCall<Request, Response> {
    return (call, callback) => {
      try {
        assertWellFormed(call.request);
        const answer = handle(call.request, call);
        if (answer instanceof Promise) this.#answerLater(answer, callback);
        else callback(null, answer as Response);
      } catch (error) {
        callback(this.#told(error));
      }
    };
  }

  /** A handler of a streaming method. `open` throws to end the call at once; otherwise it ends it by the Ending. */
  stream<C extends StreamCall>(open: (call: C, ending: Ending) => void): (call: C) => void {
    return (call) => {
      const ending = new Ending(call, (error) => this.#told(error));
      const end = (error: RollcallError): void => ending.fail(error);
      ending.onEnd(() => this.#streams.delete(end));
      this.#streams.add(end);
      try {
        if (this.#draining) throw shuttingDown();
        if ('request' in call) assertWellFormed(call.request);
        open(call, ending);
      } catch (error) {
        ending.fail(error);
      }
    };
  }

  /** Ends every open stream, and every one that is opened from now on. */
  drain(): void {
    this.#draining = true;
    for (const end of this.#streams) end(shuttingDown());
  }

  #answerLater<Response>(answer: Promise<Response | Encoded>, callback: sendUnaryData<Response>): void {
    let open = true;
    const close = (): boolean => {
      const was = open;
      open = false;
      timer.cancel();
      return was;
    };
    const timer = this.clock.after(UNARY_MAX_MS, () => {
      if (close())
        callback(
          this.#told(
            new RollcallError('TIMED_OUT', 'the server gave up on the call; the outcome of a write is unknown'),
          ),
        );
    });
    answer.then(
      (value) => void (close() && callback(null, value as Response)),
      (error: unknown) => void (close() && callback(this.#told(error))),
    );
  }

  #told(error: unknown): StatusObject {
    this.telemetry.counters.add('rpc_errors');
    if (!(error instanceof RollcallError)) this.telemetry.counters.add('internal_errors');
    return toStatus(error, this.telemetry.log, this.random);
  }
}

/** The end of one streaming call, however it comes: ours, the client's, or the network's. It comes once. */
export class Ending {
  readonly #listeners: (() => void)[] = [];
  #ended = false;

  constructor(
    private readonly call: StreamCall,
    private readonly told: (error: unknown) => StatusObject,
  ) {
    call.on('cancelled', () => this.#end());
    call.on('close', () => this.#end());
    call.on('error', () => this.#end());
    call.on('finish', () => this.#end());
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Ends the call with an error. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.call.emit('error', this.told(error));
  }

  /** Calls `listener` once the call has ended. */
  onEnd(listener: () => void): void {
    this.#listeners.push(listener);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const listener of this.#listeners) listener();
  }
}

/** Whether the bytes of a request were a message of its method. */
export function isWellFormed(request: unknown): boolean {
  return request !== MALFORMED;
}

/** Throws if the bytes of a request were no message of its method. */
export function assertWellFormed(request: unknown): void {
  if (!isWellFormed(request))
    throw new RollcallError(
      'MALFORMED_REQUEST',
      'the request is not a message of this method, or text in it is not UTF-8',
    );
}

function shuttingDown(): RollcallError {
  return new RollcallError('SHUTTING_DOWN', 'shutting down');
}
