import type { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Call } from './call.js';
import type { Encoded } from './message.js';
import type { MethodInfo } from './method-info.js';
import type { Sink } from './sink.js';

/** A response, or the bytes of one that was encoded earlier. */
export type Reply<Response> = Response | Encoded;

/** A reply, now or later. */
export type Answer<Response> = Reply<Response> | Promise<Reply<Response>>;

/** A method that answers one request with one response. The answer is a promise only if the method had to wait. */
export interface UnaryMethod extends MethodInfo {
  readonly kind: 'UNARY';
  invoke(request: Uint8Array, call: Call): Encoded | Promise<Encoded>;
}

/** A method that answers one request with a stream of messages. It writes to `sink` until the sink ends. */
export interface ServerStreamMethod extends MethodInfo {
  readonly kind: 'SERVER_STREAM';
  invoke(request: Uint8Array, call: Call, sink: Sink): void | Promise<void>;
}

/** A method that answers each request of a stream with one response, in order. */
export interface BidiStreamMethod extends MethodInfo {
  readonly kind: 'BIDI_STREAM';
  invoke(requests: AsyncIterable<Uint8Array>, call: Call): AsyncIterable<Encoded>;
}

/** One method of the contract, bound to its handler: bytes in, bytes out. */
export type Method = UnaryMethod | ServerStreamMethod | BidiStreamMethod;

/** Admits a call whose request has been checked. Throws, or rejects, if a gate refuses it. */
export type Admit = (call: Call, checked: unknown) => Promise<void> | undefined;

/** A handler of a unary method; made by `unary`. */
export type UnaryHandler<Request, Response> = (request: Request, call: Call, admit: Admit) => Answer<Response>;

/** A handler of a server-streaming method; made by `serverStream`. */
export type ServerStreamHandler<Request> = (
  request: Request,
  call: Call,
  admit: Admit,
  sink: Sink,
) => void | Promise<void>;

/** A handler of a bidirectional method; made by `bidiStream`. */
export type BidiStreamHandler<Request, Response> = (
  requests: AsyncIterable<Request>,
  call: Call,
  admit: Admit,
) => AsyncIterable<Reply<Response>>;

/**
 * Makes the handler of a unary method. `check` turns the request into checked input, or throws. The gates then see that
 * input. `run` calls the use case and answers.
 */
export function unary<Request, Checked, Response>(
  check: (request: Request, call: Call) => Checked,
  run: (checked: Checked, call: Call) => Answer<Response>,
): UnaryHandler<Request, Response> {
  return (request, call, admit) => {
    const checked = check(request, call);
    const admitted = admit(call, checked);
    return admitted ? admitted.then(() => run(checked, call)) : run(checked, call);
  };
}

/** Makes the handler of a server-streaming method; see `unary`. `run` opens the stream and returns. */
export function serverStream<Request, Checked>(
  check: (request: Request, call: Call) => Checked,
  run: (checked: Checked, sink: Sink, call: Call) => void,
): ServerStreamHandler<Request> {
  return (request, call, admit, sink) => {
    const checked = check(request, call);
    const admitted = admit(call, checked);
    return admitted ? admitted.then(() => run(checked, sink, call)) : run(checked, sink, call);
  };
}

/** Makes the handler of a bidirectional method; see `unary`. Each request is checked and passes the gates by itself. */
export function bidiStream<Request, Checked, Response>(
  check: (request: Request, call: Call) => Checked,
  run: (checked: AsyncIterable<Checked>, call: Call) => AsyncIterable<Reply<Response>>,
): BidiStreamHandler<Request, Response> {
  return (requests, call, admit) => {
    async function* checked(): AsyncGenerator<Checked> {
      for await (const request of requests) {
        const one = check(request, call);
        await admit(call, one);
        yield one;
      }
    }
    return run(checked(), call);
  };
}

/** A method as the generated code describes it: the part that the API uses. */
export interface MethodDescription<Request, Response> {
  readonly name: string;
  readonly requestType: { decode(input: BinaryReader): Request };
  readonly responseType: { encode(message: Response, writer: BinaryWriter): BinaryWriter };
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly options: { readonly idempotencyLevel?: string };
}

/** A service as the generated code describes it. It names no transport. */
export interface ServiceDescription {
  readonly fullName: string;
  readonly methods: Readonly<Record<string, MethodDescription<unknown, never>>>;
}

/** The message that a type reads. */
export type MessageOf<Type> = Type extends { decode(input: BinaryReader): infer T } ? T : never;

/** The handler that a described method needs. */
export type HandlerOf<M> = M extends {
  readonly requestType: infer Request;
  readonly responseType: infer Response;
  readonly requestStream: infer RequestStream;
  readonly responseStream: infer ResponseStream;
}
  ? RequestStream extends true
    ? BidiStreamHandler<MessageOf<Request>, MessageOf<Response>>
    : ResponseStream extends true
      ? ServerStreamHandler<MessageOf<Request>>
      : UnaryHandler<MessageOf<Request>, MessageOf<Response>>
  : never;

/** One handler for every method of a service. A missing or misspelled method does not compile. */
export type Handlers<Service extends { readonly methods: object }> = {
  readonly [M in keyof Service['methods']]: HandlerOf<Service['methods'][M]>;
};
