import {
  type CallOptions,
  type ChannelCredentials,
  type Client,
  type ClientDuplexStream,
  type ClientOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  makeGenericClientConstructor,
  type Metadata,
  type MethodDefinition,
  type ServiceError,
} from '@grpc/grpc-js';

/** A service as the generated code describes it: the part that a client uses. */
interface ClientDescription {
  readonly fullName: string;
  readonly methods: Readonly<Record<string, ClientMethod<never, unknown>>>;
}

interface ClientMethod<Request, Response> {
  readonly name: string;
  readonly requestType: { encode(message: Request): { finish(): Uint8Array } };
  readonly responseType: { decode(bytes: Uint8Array): Response };
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}

type Callback<Response> = (error: ServiceError | null, response: Response) => void;

/** The ways in which grpc-js lets a unary method be called. */
interface UnaryCalls<Request, Response> {
  (request: Request, callback: Callback<Response>): ClientUnaryCall;
  (request: Request, metadata: Metadata, options: CallOptions, callback: Callback<Response>): ClientUnaryCall;
}

type CallsOf<M> = M extends {
  readonly requestType: { encode(message: infer Request): unknown };
  readonly responseType: { decode(bytes: Uint8Array): infer Response };
  readonly requestStream: infer RequestStream;
  readonly responseStream: infer ResponseStream;
}
  ? RequestStream extends true
    ? (metadata?: Metadata) => ClientDuplexStream<Request, Response>
    : ResponseStream extends true
      ? (request: Request, metadata?: Metadata) => ClientReadableStream<Response>
      : UnaryCalls<Request, Response>
  : never;

/** A client of a service: one function for each method. */
export type GrpcClient<Service extends { readonly methods: object }> = Client & {
  readonly [M in keyof Service['methods']]: CallsOf<Service['methods'][M]>;
};

/** The class of the clients of a service. */
export function clientOf<Service extends ClientDescription>({
  fullName,
  methods,
}: Service): new (address: string, credentials: ChannelCredentials, options?: ClientOptions) => GrpcClient<Service> {
  const definitions = Object.entries(methods).map(([key, method]) => [key, definitionOf(fullName, method)]);
  const made = makeGenericClientConstructor(
    Object.fromEntries(definitions) as Record<string, MethodDefinition<unknown, unknown>>,
    fullName,
  );
  return made as unknown as ReturnType<typeof clientOf<Service>>;
}

function definitionOf<Request, Response>(
  fullName: string,
  { name, requestType, responseType, requestStream, responseStream }: ClientMethod<Request, Response>,
): MethodDefinition<Request, Response> {
  return {
    path: `/${fullName}/${name}`,
    requestStream,
    responseStream,
    requestSerialize: (message) => Buffer.from(requestType.encode(message).finish()),
    requestDeserialize: servedElsewhere,
    responseSerialize: servedElsewhere,
    responseDeserialize: (bytes) => responseType.decode(bytes),
  };
}

/** A client neither reads requests nor writes responses. */
function servedElsewhere(): never {
  throw new Error('a client does not serve');
}
