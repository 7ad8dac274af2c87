import { BinaryReader } from '@bufbuild/protobuf/wire';
import type { MethodDefinition } from '@grpc/grpc-js';
import type { BidiStreamMethod, ServerStreamMethod, UnaryMethod } from '../../api/call/method.js';
import type { MethodInfo } from '../../api/call/method-info.js';
import type { Sink } from '../../api/call/sink.js';
import { assertFields, malformed } from '../../api/call/wire.js';
import { THIRD_PARTY_SERVICES } from '../../api/services.js';
import { thirdPartyService } from './image.js';

/** Makes methods of one RPC whose messages are plain objects, as proto-loader reads them. */
export interface LoadedMethod {
  unary<Request>(answer: (request: Request) => object): UnaryMethod;
  serverStream<Request>(
    open: (request: Request, send: (message: object) => void, sink: Sink) => void,
  ): ServerStreamMethod;
  bidiStream<Request>(answer: (request: Request) => object): BidiStreamMethod;
}

/** The methods of a service that is not part of the contract, by the name in the proto in lower camel case. */
export function loadedService(service: keyof typeof THIRD_PARTY_SERVICES): (name: string) => LoadedMethod {
  const definition = thirdPartyService(service);
  const { audience, permission } = THIRD_PARTY_SERVICES[service];
  const byName = new Map(
    Object.values(definition).map((method: MethodDefinition<object, object> & { originalName?: string }) => [
      method.originalName,
      loadedMethod({ path: method.path, audience, permission, readOnly: true }, method),
    ]),
  );
  return (name) => {
    const method = byName.get(name);
    if (!method) throw new Error(`${service} has no method ${name}`);
    return method;
  };
}

function loadedMethod(info: Omit<MethodInfo, 'kind'>, method: MethodDefinition<object, object>): LoadedMethod {
  const decode = <Request>(bytes: Uint8Array): Request => {
    try {
      assertFields(new BinaryReader(bytes));
      return method.requestDeserialize(Buffer.from(bytes)) as Request;
    } catch (cause) {
      throw malformed(cause);
    }
  };
  const encode = (message: object): Uint8Array => method.responseSerialize(message);
  return {
    unary: (answer) => ({ ...info, kind: 'UNARY', invoke: (bytes) => encode(answer(decode(bytes))) }),
    serverStream: (open) => ({
      ...info,
      kind: 'SERVER_STREAM',
      invoke: (bytes, _, sink) => open(decode(bytes), (message) => sink.write(encode(message)), sink),
    }),
    bidiStream: (answer) => ({
      ...info,
      kind: 'BIDI_STREAM',
      invoke: async function* (requests) {
        for await (const bytes of requests) yield encode(answer(decode(bytes)));
      },
    }),
  };
}
