import type { ServiceRow } from '../services.js';
import type { Call } from './call.js';
import type {
  BidiStreamHandler,
  Handlers,
  Method,
  MethodDescription,
  Reply,
  ServerStreamHandler,
  ServiceDescription,
  UnaryHandler,
} from './method.js';
import { type Encoded, isEncoded } from './message.js';
import type { MethodInfo } from './method-info.js';
import { decodeRequest, encodeMessage } from './wire.js';

/** The facts about a method apart from its shape. */
type Info = Omit<MethodInfo, 'kind'>;

/** Binds every method of a service to its handler. */
export function bind<Service extends ServiceDescription>(
  { definition, audience, permissions, decoders }: ServiceRow<Service>,
  handlers: Handlers<Service>,
): Method[] {
  return Object.entries(definition.methods).map(([key, method]) => {
    const info: Info = {
      path: `/${definition.fullName}/${method.name}`,
      audience,
      permission: permissions[key as keyof Service['methods']],
      readOnly: method.options.idempotencyLevel === 'NO_SIDE_EFFECTS',
    };
    const requestType = decoders?.[key as keyof Service['methods']] ?? method.requestType;
    return bindMethod(info, { ...method, requestType }, handlers[key as keyof Service['methods']]);
  });
}

/** Notes the revision of a write, for the audit. Every write waits for the store, so its reply is a promise. */
function noteRevision(call: Call, reply: unknown): void {
  const { revision } = reply as { readonly revision?: unknown };
  if (call.notes && typeof revision === 'bigint') call.notes.revision = revision;
}

/** Binds one method; the compiler has paired the handler with the method in `Handlers`. */
function bindMethod<Request, Response>(
  info: Info,
  { requestType, responseType, requestStream, responseStream }: MethodDescription<Request, Response>,
  handler: unknown,
): Method {
  const encode = (reply: Reply<Response>): Encoded => (isEncoded(reply) ? reply : encodeMessage(responseType, reply));

  if (requestStream) {
    const handle = handler as BidiStreamHandler<Request, Response>;
    const invoke = async function* (requests: AsyncIterable<Uint8Array>, call: Call): AsyncGenerator<Encoded> {
      async function* decoded(): AsyncGenerator<Request> {
        for await (const bytes of requests) yield decodeRequest(requestType, bytes);
      }
      for await (const reply of handle(decoded(), call)) yield encode(reply);
    };
    return { ...info, kind: 'BIDI_STREAM', invoke };
  }
  if (responseStream) {
    const handle = handler as ServerStreamHandler<Request>;
    return {
      ...info,
      kind: 'SERVER_STREAM',
      invoke: (bytes, call, sink) => handle(decodeRequest(requestType, bytes), call, sink),
    };
  }
  const handle = handler as UnaryHandler<Request, Response>;
  return {
    ...info,
    kind: 'UNARY',
    invoke: (bytes, call) => {
      const reply = handle(decodeRequest(requestType, bytes), call);
      if (!(reply instanceof Promise)) return encode(reply);
      return reply.then((later) => {
        noteRevision(call, later);
        return encode(later);
      });
    },
  };
}
