// The server that connectconformance tests: the service of the suite, with its methods in plain objects, on the edges and the
// dispatcher of the product. It reads a ServerCompatRequest from standard input and says where it listens.
//
//   node --import tsx test/conformance/server.ts IMAGE
import { readFileSync } from 'node:fs';
import {
  create,
  createFileRegistry,
  type DescMessage,
  fromBinary,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { type Any, anyPack, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import type { Call } from '../../src/api/call/call.js';
import { Dispatcher } from '../../src/api/call/dispatcher.js';
import type { Failure } from '../../src/api/call/failure.js';
import type { Method } from '../../src/api/call/method.js';
import type { Sink } from '../../src/api/call/sink.js';
import { Readiness } from '../../src/api/readiness.js';
import { delay, systemClock } from '../../src/base/clock.js';
import { systemRandom } from '../../src/base/random.js';
import { GrpcEdge } from '../../src/edges/grpc/grpc-edge.js';
import { HttpEdge } from '../../src/edges/http/http-edge.js';
import { TrustedProxies } from '../../src/edges/wire/trusted-proxies.js';
import { RollcallError } from '../../src/model/errors.js';
import { processTelemetry } from '../../src/telemetry/telemetry.js';

const image = readFileSync(process.argv[2]!);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
const PACKAGE = 'connectrpc.conformance.v1';
const type = (name: string): DescMessage => registry.getMessage(`${PACKAGE}.${name}`)!;

interface Header {
  readonly name: string;
  readonly value: readonly string[];
}

/** The fields of UnaryResponseDefinition and StreamResponseDefinition that a server has to obey. */
interface Definition {
  readonly responseHeaders: readonly Header[];
  readonly responseTrailers: readonly Header[];
  readonly responseDelayMs: number;
  readonly response?: { readonly case: 'responseData' | 'error' | undefined; readonly value: unknown };
  readonly responseData?: readonly Uint8Array[];
  readonly error?: SuiteError;
}

interface SuiteError {
  readonly code: number;
  readonly message?: string;
  readonly details: readonly Any[];
}

/** An error of any code with any details, as the suite asks for it. The product has only its own. */
class AskedError extends RollcallError {
  constructor(readonly asked: SuiteError) {
    super('INTERNAL', asked.message ?? '');
  }
}

/** The product's dispatcher, except that a failure that the suite asked for goes out as it was asked for. */
class SuiteDispatcher extends Dispatcher {
  override unary(...[method, request, call, answer]: Parameters<Dispatcher['unary']>): void {
    super.unary(method, request, call, (failure, message) => answer(failure && asAsked(failure), message));
  }

  override refuse(...given: Parameters<Dispatcher['refuse']>): Failure {
    return asAsked(super.refuse(...given));
  }

  override serverStream(...[method, request, call, transport]: Parameters<Dispatcher['serverStream']>): void {
    super.serverStream(method, request, call, {
      write: (message, onTaken) => transport.write(message, onTaken),
      end: (failure) => transport.end(failure && asAsked(failure)),
      onClosed: (listener) => transport.onClosed(listener),
      onReleased: (listener) => transport.onReleased(listener),
    });
  }
}

/** The failure as the suite asked for it. */
function asAsked(failure: Failure): Failure {
  const { error } = failure;
  // The suite allows no details that it has not asked for.
  if (!(error instanceof AskedError)) return { ...failure, status: { ...failure.status, details: [] } };
  const { code, message = '' } = error.asked;
  const details = error.asked.details.map(({ typeUrl, value }) => ({ typeUrl, value: Buffer.from(value) }));
  return { code, message, status: { code, message, details }, error };
}

type Fields = Record<string, unknown>;

/** What the suite wants to see again of the request. */
function infoOf(call: Call, request: MessageShape<DescMessage>, requestType: DescMessage): Fields {
  const requestHeaders = Object.entries(call.metadata.request).map(([name, value]) => ({
    name,
    value: typeof value === 'string' ? [value] : (value ?? []),
  }));
  const url = (call as unknown as { request?: { method: string; url: string } }).request;
  const query = url?.method === 'GET' ? [...new URL(url.url, 'http://x').searchParams] : [];
  return {
    requestHeaders,
    timeoutMs: call.deadlineMs === undefined ? undefined : BigInt(Math.round(call.deadlineMs - Date.now())),
    requests: [anyPack(requestType, request)],
    connectGetInfo: { queryParams: query.map(([name, value]) => ({ name, value: [value] })) },
  };
}

function setMetadata(call: Call, definition: Definition | undefined): void {
  for (const [headers, into] of [
    [definition?.responseHeaders, call.metadata.headers],
    [definition?.responseTrailers, call.metadata.trailers],
  ] as const)
    for (const { name, value } of headers ?? []) for (const one of value) into.push([name, one]);
}

function errorOf({ asked, info }: { asked: SuiteError; info?: Fields }): AskedError {
  const infoType = type('ConformancePayload').nestedMessages.find(({ name }) => name === 'RequestInfo')!;
  const details = info ? [...asked.details, anyPack(infoType, create(infoType, info))] : asked.details;
  return new AskedError({ ...asked, details });
}

function unary(name: string): Method {
  const [input, output] = [type(`${name}Request`), type(`${name}Response`)];
  return {
    ...{ path: `/${PACKAGE}.ConformanceService/${name}`, kind: 'UNARY', audience: 'public', permission: 'none' },
    readOnly: name === 'IdempotentUnary',
    invoke: (bytes: Uint8Array, call: Call) => {
      const request = fromBinary(input, bytes) as MessageShape<DescMessage> & { responseDefinition?: Definition };
      const definition = request.responseDefinition;
      setMetadata(call, definition);
      const info = infoOf(call, request, input);
      const { case: kind, value } = definition?.response ?? { case: undefined, value: undefined };
      const answer = (): Uint8Array => {
        if (kind === 'error') throw errorOf({ asked: value as SuiteError, info });
        const payload = { data: kind === 'responseData' ? value : new Uint8Array(0), requestInfo: info };
        return toBinary(output, create(output, { payload }));
      };
      const delayMs = definition?.responseDelayMs ?? 0;
      return delayMs === 0 ? answer() : delay(systemClock, delayMs).then(answer);
    },
  };
}

function serverStream(): Method {
  const [input, output] = [type('ServerStreamRequest'), type('ServerStreamResponse')];
  const invoke = async (bytes: Uint8Array, call: Call, sink: Sink): Promise<void> => {
    const request = fromBinary(input, bytes) as MessageShape<DescMessage> & { responseDefinition?: Definition };
    const definition = request.responseDefinition;
    setMetadata(call, definition);
    let info: Fields | undefined = infoOf(call, request, input);
    for (const data of definition?.responseData ?? []) {
      if (definition!.responseDelayMs > 0) await delay(systemClock, definition!.responseDelayMs);
      await sink.send(toBinary(output, create(output, { payload: { data, requestInfo: info } })));
      info = undefined;
    }
    if (definition?.error) throw errorOf({ asked: definition.error, ...(info && { info }) });
    sink.complete();
  };
  return {
    ...{ path: `/${PACKAGE}.ConformanceService/ServerStream`, kind: 'SERVER_STREAM', audience: 'public' },
    ...{ permission: 'none', readOnly: false },
    invoke: (bytes, call, sink) => void invoke(bytes, call, sink).catch((error: unknown) => sink.fail(error)),
  };
}

/** Reads one message with its length before it. */
async function readSized(input: NodeJS.ReadableStream): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of input) {
    bytes = Buffer.concat([bytes, chunk as Buffer]);
    if (bytes.length >= 4 && bytes.length >= 4 + bytes.readUInt32BE()) break;
  }
  return bytes.subarray(4, 4 + bytes.readUInt32BE());
}

/** The value of PROTOCOL_GRPC. */
const GRPC = 2;

const wanted = fromBinary(type('ServerCompatRequest'), await readSized(process.stdin)) as unknown as {
  protocol: number;
};
const parts = { clock: systemClock, random: systemRandom, telemetry: processTelemetry('warn', systemClock) };
const dispatcher = new SuiteDispatcher({ ...parts, streamAgeMs: 600_000, gates: [], observers: [] });
const metrics = { contentType: 'text/plain', text: () => Promise.resolve('') };
const proxies = new TrustedProxies([]);
const edgeParts = { ...parts, dispatcher, readiness: new Readiness({}), metrics, tls: undefined, proxies };
const guard = { loopback: true, hosts: [], origins: [] };
const edge =
  wanted.protocol === GRPC
    ? new GrpcEdge({ ...edgeParts, streamAgeMs: 600_000 })
    : new HttpEdge({ ...edgeParts, guard, image, version: 'conformance' });
edge.offer([unary('Unary'), unary('IdempotentUnary'), serverStream()]);
const port = await edge.listen('127.0.0.1', 0);
const responseType = type('ServerCompatResponse');
const response = toBinary(responseType, create(responseType, { host: '127.0.0.1', port }));
const size = Buffer.alloc(4);
size.writeUInt32BE(response.length);
process.stdout.write(Buffer.concat([size, response]));
