import { AdminServiceDefinition } from '../gen/rollcall/v1/admin_service.js';
import { ConfigServiceDefinition } from '../gen/rollcall/v1/config_service.js';
import { RegistryServiceDefinition } from '../gen/rollcall/v1/registry_service.js';
import type { Connection, MethodDescription } from './connection.js';

/** A service as the generated code describes it. */
interface ServiceDescription {
  readonly fullName: string;
  readonly methods: Readonly<Record<string, object>>;
}

/** Options of one call. */
export interface CallOptions {
  /** Milliseconds after which the call is given up. Default: 12,000. A stream has none. */
  readonly timeoutMs?: number;
  /** Cancels the call. */
  readonly signal?: AbortSignal;
}

type RequestOf<M> = M extends { readonly requestType: { fromPartial(fields: infer Fields): unknown } } ? Fields : never;
type ResponseOf<M> = M extends { readonly responseType: { decode(bytes: Uint8Array): infer Response } }
  ? Response
  : never;

/** The calls of a service: a promise for a unary method, an iterable for a stream of responses. */
export type Calls<Service extends ServiceDescription> = {
  readonly [
    M in keyof Service['methods'] as Service['methods'][M] extends { readonly requestStream: true } ? never : M
  ]: Service['methods'][M] extends { readonly responseStream: true }
    ? (
        request?: RequestOf<Service['methods'][M]>,
        options?: CallOptions,
      ) => AsyncGenerator<ResponseOf<Service['methods'][M]>, void, undefined>
    : (request?: RequestOf<Service['methods'][M]>, options?: CallOptions) => Promise<ResponseOf<Service['methods'][M]>>;
};

/** The calls of every service. */
export interface ServiceCalls {
  readonly registry: Calls<typeof RegistryServiceDefinition>;
  readonly config: Calls<typeof ConfigServiceDefinition>;
  readonly admin: Calls<typeof AdminServiceDefinition>;
}

/** Makes the calls of every service on a connection. */
export const callsOn = (connection: Connection): ServiceCalls => ({
  registry: callsOf(RegistryServiceDefinition, connection),
  config: callsOf(ConfigServiceDefinition, connection),
  admin: callsOf(AdminServiceDefinition, connection),
});

function callsOf<Service extends ServiceDescription>(
  { fullName, methods }: Service,
  connection: Connection,
): Calls<Service> {
  const calls = Object.entries(methods).map(([name, described]) => {
    const method = described as MethodDescription<unknown, unknown> & { readonly responseStream: boolean };
    const call = (fields: object = {}, options: CallOptions = {}): unknown => {
      const request = method.requestType.fromPartial(fields as never);
      return method.responseStream
        ? connection.stream(fullName, method, request, options.signal)
        : connection.call(fullName, method, request, options);
    };
    return [name, call] as const;
  });
  return Object.fromEntries(calls) as Calls<Service>;
}
