import type { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Call } from './call.js';
import { May } from './may.js';
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
  invoke(request: Uint8Array, call: Call, sink: Sink): void;
}

/** A method that answers each request of a stream with one response, in order. */
export interface BidiStreamMethod extends MethodInfo {
  readonly kind: 'BIDI_STREAM';
  invoke(requests: AsyncIterable<Uint8Array>, call: Call): AsyncIterable<Encoded>;
}

/** One method of the contract, bound to its handler: bytes in, bytes out. */
export type Method = UnaryMethod | ServerStreamMethod | BidiStreamMethod;

/**
 * The rule of a method: it sees the validated request before anything is looked up, asks what the caller may do, and returns
 * the part of the request that is allowed. Throws if nothing is.
 */
export type Rule<Validated, Allowed> = (validated: Validated, may: May) => Allowed;

/** The rule of a method that is allowed as a whole or not at all. `ask` throws if it is not. */
export const needs =
  <Validated>(ask: (validated: Validated, may: May) => void): Rule<Validated, Validated> =>
  (validated, may) => {
    ask(validated, may);
    return validated;
  };

/** The rule of a method that asks for no right: every caller is answered, or something else than rights guards it. */
export const asksNothing = <Validated>(validated: Validated): Validated => validated;

/** A handler of a unary method; made by `unary`. */
export type UnaryHandler<Request, Response> = (request: Request, call: Call) => Answer<Response>;

/** A handler of a server-streaming method; made by `serverStream`. */
export type ServerStreamHandler<Request> = (request: Request, call: Call, sink: Sink) => void;

/** A handler of a bidirectional method; made by `bidiStream`. */
export type BidiStreamHandler<Request, Response> = (
  requests: AsyncIterable<Request>,
  call: Call,
) => AsyncIterable<Reply<Response>>;

/**
 * Makes the handler of a unary method. `validate` turns the request into validated input, or throws. `rule` lets through what the
 * caller may do. `run` calls the use case and answers.
 */
export function unary<Request, Validated, Allowed, Response>(
  validate: (request: Request, call: Call) => Validated,
  rule: Rule<Validated, Allowed>,
  run: (allowed: Allowed, call: Call) => Answer<Response>,
): UnaryHandler<Request, Response> {
  return (request, call) => run(rule(validate(request, call), new May(call)), call);
}

/**
 * Makes the handler of a server-streaming method; see `unary`. `run` opens the stream and returns. The rule is asked again
 * for as long as the stream is open; see Streams.
 */
export function serverStream<Request, Validated, Allowed>(
  validate: (request: Request, call: Call) => Validated,
  rule: Rule<Validated, Allowed>,
  run: (allowed: Allowed, sink: Sink, call: Call) => void,
): ServerStreamHandler<Request> {
  return (request, call, sink) => {
    const validated = validate(request, call);
    const may = new May(call);
    const allowed = rule(validated, may);
    sink.askAgain = () => void rule(validated, may);
    run(allowed, sink, call);
  };
}

/** Makes the handler of a bidirectional method; see `unary`. Each request is validated, and passes the rule, by itself. */
export function bidiStream<Request, Validated, Allowed, Response>(
  validate: (request: Request, call: Call) => Validated,
  rule: Rule<Validated, Allowed>,
  run: (allowed: AsyncIterable<Allowed>, call: Call) => AsyncIterable<Reply<Response>>,
): BidiStreamHandler<Request, Response> {
  return (requests, call) => {
    const may = new May(call);
    async function* allowed(): AsyncGenerator<Allowed> {
      for await (const request of requests) yield rule(validate(request, call), may);
    }
    return run(allowed(), call);
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
