import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from '../../api/call/dispatcher.js';
import type { Failure } from '../../api/call/failure.js';
import { type Encoded, whole } from '../../api/call/message.js';
import type { Method, ServerStreamMethod, UnaryMethod } from '../../api/call/method.js';
import type { Clock } from '../../base/clock.js';
import { invalidRequest, RollcallError } from '../../model/errors.js';
import type { EdgeCallParts } from '../wire/edge-call.js';
import type { BytesReceiver } from '../wire/frame-requests.js';
import { connectTimeoutMs, grpcTimeoutMs } from '../wire/timeouts.js';
import { readBody } from './body.js';
import { type Exchange, type HttpAnswer, jsonAnswer, send, textAnswer } from './exchange.js';
import { formatsOf } from './formats.js';
import { type Framing, Framings } from './framings.js';
import { HttpCall } from './http-call.js';
import { HttpStream } from './http-stream.js';
import { Json } from './json.js';
import { prometheusTargets, type RegistryCall } from './service-discovery.js';
import { readVerbs, ShortPaths } from './short-paths.js';
import type { StreamFraming } from './stream-framings.js';
import { connectFailure, plainFailure, type UnaryFraming } from './unary-framings.js';

/** The dependencies of Routes. */
export interface RoutesParts extends EdgeCallParts {
  readonly clock: Clock;
  readonly dispatcher: Pick<Dispatcher, 'admit' | 'unary' | 'serverStream' | 'refuse' | 'unread'>;
  /** The protos of the methods: a google.protobuf.FileDescriptorSet. */
  readonly image: Uint8Array;
}

const PROMETHEUS = '/v1/sd/prometheus';

/** Hands each request to its method: by the path of the RPC, or by a short path. */
export class Routes {
  readonly #methods: ReadonlyMap<string, Method>;
  readonly #json: Json;
  readonly #framings: Framings;
  readonly #shortPaths: ShortPaths;

  constructor(
    methods: readonly Method[],
    private readonly parts: RoutesParts,
  ) {
    this.#json = new Json(parts.image);
    this.#framings = new Framings(this.#json, formatsOf(this.#json));
    // Members of the cluster speak gRPC with one another.
    const served = methods.filter(({ audience }) => audience !== 'peer');
    this.#methods = new Map(served.map((method) => [method.path, method]));
    this.#shortPaths = new ShortPaths(this.#methods, this.#framings, this.#json);
  }

  /** Answers a request. Throws a RollcallError for one that is no call of a method. */
  handle(request: IncomingMessage, response: ServerResponse, path: string, query: string): void {
    const method = this.#methods.get(path);
    if (method) return this.#rpc(request, response, method, query);
    if (path === PROMETHEUS) return void this.#prometheus(request, response, new URLSearchParams(query));
    const allowed = this.#shortPaths.allowed(path);
    if (allowed.length === 0) return notFound(request, response, path);
    if (!allowed.includes(request.method ?? '')) return notAllowed(request, response, allowed);
    const call = this.#shortPaths.find(request, path, withLastEventId(request, new URLSearchParams(query)));
    this.#run(request, response, call.method, call.framing);
  }

  #rpc(request: IncomingMessage, response: ServerResponse, method: Method, query: string): void {
    const isPost = request.method === 'POST';
    const reads = method.readOnly ? readVerbs(method) : [];
    if (!isPost && !reads.includes(request.method ?? '')) return notAllowed(request, response, [...reads, 'POST']);
    const framing = isPost
      ? this.#framings.ofPost(request)
      : this.#framings.ofGet(request, withLastEventId(request, new URLSearchParams(query)), method);
    if (!framing) return unsupportedType(request, response, this.#framings.postTypes);
    this.#run(request, response, method, framing);
  }

  #run(request: IncomingMessage, response: ServerResponse, method: Method, framing: Framing): void {
    const { clock, dispatcher } = this.parts;
    const timeout = timeoutOf(request);
    const deadlineMs = typeof timeout === 'number' ? clock.wall() + timeout : undefined;
    const call = new HttpCall(method, request, response, deadlineMs, this.parts);
    const exchange = { request, response, method, types: this.#json.typesOf(method.path), call };
    if (method.kind === 'BIDI_STREAM') {
      const failure = dispatcher.refuse(call, notOverHttp());
      return void send(exchange, connectFailure(call, failure, this.#json));
    }
    const chosen = method.kind === 'UNARY' ? framing.unary : framing.stream;
    if (!chosen) return unsupportedType(request, response, this.#framings.postTypes);
    const wrong = timeout === 'malformed' ? malformedTimeout() : undefined;
    if (method.kind === 'UNARY') this.#unary(exchange as Exchange<UnaryMethod>, framing.unary!, wrong);
    else this.#stream(exchange as Exchange<ServerStreamMethod>, framing.stream!, wrong);
  }

  #unary(exchange: Exchange<UnaryMethod>, framing: UnaryFraming, wrong: RollcallError | undefined): void {
    const { dispatcher } = this.parts;
    const { method, call } = exchange;
    const answer = (failure: Failure | undefined, message: Encoded | undefined): void => {
      call.end();
      try {
        if (failure) send(exchange, framing.failure(exchange, failure));
        else this.#sendCounted(exchange, framing.success(exchange, message!));
      } catch (error) {
        send(exchange, framing.failure(exchange, dispatcher.refuse(call, error)));
      }
    };
    this.#read(exchange, framing, wrong, (error, bytes, admitted) => {
      if (error !== undefined) answer(dispatcher.refuse(call, error), undefined);
      else dispatcher.unary(method, bytes, call, answer, () => admitted);
    });
  }

  #stream(exchange: Exchange<ServerStreamMethod>, framing: StreamFraming, wrong: RollcallError | undefined): void {
    const { dispatcher, clock } = this.parts;
    const { method, call } = exchange;
    const transport = new HttpStream(exchange, framing, clock);
    this.#read(exchange, framing, wrong, (error, bytes, admitted) => {
      if (error !== undefined) transport.end(dispatcher.refuse(call, error));
      else dispatcher.serverStream(method, bytes, call, transport, () => admitted);
    });
  }

  /**
   * Admits a call and reads the message of its request, or passes on the error: `wrong` if the request has one already. The
   * request of a call that is refused at once is not read.
   */
  #read(
    { request, types, call }: Exchange,
    { readRequest }: Pick<UnaryFraming, 'readRequest'>,
    wrong: RollcallError | undefined,
    done: (error: unknown, bytes: Uint8Array, admitted: Promise<void> | undefined) => void,
  ): void {
    let admitted: Promise<void> | undefined;
    try {
      admitted = this.parts.dispatcher.admit(call);
      if (wrong) throw wrong;
    } catch (error) {
      return done(error, NOTHING, undefined);
    }
    const read: BytesReceiver = (error, bytes) => done(error, bytes, admitted);
    bodyOf(request, (error, body) =>
      error === undefined ? readRequest(types, request.headers, body, read) : read(error, body),
    );
  }

  /** Sends the answer of a call, which is held until the client has read it. */
  #sendCounted(exchange: Pick<Exchange, 'request' | 'response' | 'call'>, answer: HttpAnswer): void {
    const { response, call } = exchange;
    this.parts.dispatcher.unread.written(call, send(exchange, answer), response, () => response.destroy());
  }

  async #prometheus(request: IncomingMessage, response: ServerResponse, query: URLSearchParams): Promise<void> {
    const exchange = { request, response };
    if (request.method !== 'GET' && request.method !== 'HEAD') return notAllowed(request, response, ['GET', 'HEAD']);
    const discover = this.#methods.get('/rollcall.v1.RegistryService/Discover')!;
    const call = new HttpCall(discover, request, response, undefined, this.parts);
    const unknown = [...query.keys()].find((name) => name !== 'namespace' && name !== 'service');
    const registry: RegistryCall = (name, bytes) => {
      const method = this.#methods.get(`/rollcall.v1.RegistryService/${name}`) as UnaryMethod;
      const call = new HttpCall(method, request, response, undefined, this.parts);
      return new Promise((resolve, reject) =>
        this.parts.dispatcher.unary(method, bytes, call, (failure, message) =>
          failure ? reject(new FailedCall(failure)) : resolve(whole(message!)),
        ),
      );
    };
    try {
      if (unknown !== undefined) throw unknownParameter(unknown);
      const scope = { namespace: query.get('namespace') ?? undefined, service: query.get('service') ?? undefined };
      this.#sendCounted({ ...exchange, call }, jsonAnswer(200, await prometheusTargets(registry, scope)));
    } catch (error) {
      const failure = error instanceof FailedCall ? error.failure : this.parts.dispatcher.refuse(call, error);
      send(exchange, plainFailure(failure));
    }
  }
}

/** A call that failed, for code that awaits it. */
class FailedCall extends Error {
  constructor(readonly failure: Failure) {
    super(failure.message);
  }
}

/** Reads the body of a POST or PUT. Any other request has none that counts. */
function bodyOf(request: IncomingMessage, done: BytesReceiver): void {
  if (request.method === 'POST' || request.method === 'PUT') return readBody(request, done);
  done(undefined, NOTHING);
}

/** The milliseconds that the client gives the call. */
function timeoutOf({ headers }: IncomingMessage): number | 'malformed' | undefined {
  const [connect, grpc] = [headers['connect-timeout-ms'], headers['grpc-timeout']];
  if (connect !== undefined) return connectTimeoutMs(String(connect)) ?? 'malformed';
  if (grpc !== undefined) return grpcTimeoutMs(String(grpc)) ?? 'malformed';
  return undefined;
}

/** A browser that calls again says where it was in a header, which is newer than the URL. */
function withLastEventId({ headers }: IncomingMessage, query: URLSearchParams): URLSearchParams {
  const id = headers['last-event-id'];
  if (typeof id !== 'string' || id === '') return query;
  query.delete('resumeToken');
  query.set('resume_token', id);
  return query;
}

const NOTHING = Buffer.alloc(0);

function malformedTimeout(): RollcallError {
  const description = 'must be a timeout as its protocol writes it';
  return invalidRequest([{ field: 'connect-timeout-ms or grpc-timeout', description }]);
}

function notOverHttp(): RollcallError {
  return new RollcallError('NOT_OVER_HTTP', 'the method streams both ways: use gRPC, or call Heartbeat');
}

const unknownParameter = (field: string): RollcallError =>
  invalidRequest([{ field, description: 'is not a parameter; use namespace or service' }]);

/** Where people are answered: with JSON. On the paths of RPCs a body that is not of its protocol must be plain text. */
const PEOPLE = /^\/v1(\/|$)/;

function notFound(request: IncomingMessage, response: ServerResponse, path: string): void {
  const message = `there is nothing at ${path}; see /v1/services, /v1/configs, /v1/status, /livez, /readyz, /metrics, and RPCs such as /rollcall.v1.RegistryService/Discover`;
  sendRefusal(request, response, { status: 404, message, headers: {} });
}

function notAllowed(request: IncomingMessage, response: ServerResponse, allowed: readonly string[]): void {
  const message = `${request.method} is not taken here; use ${allowed.join(' or ')}`;
  sendRefusal(request, response, { status: 405, message, headers: { allow: allowed.join(', ') } });
}

function unsupportedType(request: IncomingMessage, response: ServerResponse, types: string): void {
  const message = `the content type is not one of this method; with curl, use --json '{...}', or -H 'content-type: application/json'`;
  sendRefusal(request, response, { status: 415, message, headers: { 'accept-post': types } });
}

/** Answers a request that is no call of a method. */
function sendRefusal(
  request: IncomingMessage,
  response: ServerResponse,
  { status, message, headers }: { status: number; message: string; headers: Record<string, string> },
): void {
  const answer = PEOPLE.test(request.url ?? '')
    ? jsonAnswer(status, { code: 'unimplemented', message, reason: 'UNKNOWN_METHOD' }, headers)
    : textAnswer(status, message, headers);
  send({ request, response }, answer);
}
