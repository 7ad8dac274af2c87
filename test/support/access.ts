import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type DescMethod, fromJson, type JsonObject, toJson } from '@bufbuild/protobuf';
import { Code, ConnectError, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { hashOf, newToken } from '../../src/access/tokens.js';
import { ErrorInfo } from '../../src/gen/google/rpc/error_details.js';
import { ON_GRPC_JS, type ServerProcess, startWith, temporaryFolder } from './server.js';
import { METHODS } from './wire.js';

/** A caller that an access file of a test has: its token, and the YAML of its grants. */
export interface TestCaller {
  readonly token: string;
  readonly entry: string;
}

/** Draws a token for a caller, with grants in YAML such as `{ role: reader, namespaces: ["*"] }`. */
export function callerWith(name: string, ...grants: readonly string[]): TestCaller {
  const token = newToken();
  return { token, entry: `  - { name: "${name}", hash: "${hashOf(token)}", grants: [${grants.join(', ')}] }\n` };
}

/** Writes an access file. Returns its path. */
export function accessFile(
  callers: Iterable<TestCaller>,
  more = '',
  path = join(temporaryFolder(), 'access.yaml'),
): string {
  const entries = [...callers].map(({ entry }) => entry).join('');
  writeFileSync(path, `tokens:\n${entries}${more}`, { mode: 0o600 });
  return path;
}

/** Starts the built server with an access file, on the embedded store. */
export const startWithAccess = (t: TestContext, path: string, ...args: readonly string[]): Promise<ServerProcess> =>
  startWith(t, ['--data-dir', temporaryFolder(), '--access', path, ...args], []);

/** The same, but the server leaves all of gRPC to grpc-js. */
export const startAlone = (t: TestContext, path: string): Promise<ServerProcess> =>
  startWith(t, ['--data-dir', temporaryFolder(), '--access', path], ON_GRPC_JS);

/** Every way in which a client can call: two paths of gRPC, and two protocols of HTTP. */
export interface Ways {
  readonly [way: string]: Transport;
}

/** The ways to a server. `library` is a second server, which leaves all of gRPC to grpc-js. */
export const waysTo = (server: ServerProcess, library: ServerProcess): Ways => ({
  'gRPC, lean': createGrpcTransport({ baseUrl: `http://${server.address}` }),
  'gRPC, grpc-js': createGrpcTransport({ baseUrl: `http://${library.address}` }),
  Connect: createConnectTransport({ baseUrl: server.url, httpVersion: '1.1', useBinaryFormat: false }),
  'gRPC-web': createGrpcWebTransport({ baseUrl: server.url, httpVersion: '1.1' }),
});

/** The outcome of a call: its answer, or the reason of its error. */
export interface CallOutcome {
  /** Empty if the call succeeded. */
  readonly reason: string;
  readonly message: string;
  /** The answer, the first one of a stream, as JSON. */
  readonly answer: JsonObject;
}

/** The method of a name such as "Discover". */
export function methodNamed(name: string): DescMethod {
  const [service, method] = name.includes('.') ? name.split('.') : [undefined, name];
  const found = METHODS.find((one) => one.name === method && (!service || one.parent.name === service));
  if (!found) throw new Error(`there is no method ${name}`);
  return found;
}

/** Calls a method with a request in JSON. The first message of a stream ends it. */
export async function callBy(
  transport: Transport,
  name: string,
  request: JsonObject,
  token: string | undefined,
  more: Readonly<Record<string, string>> = {},
): Promise<CallOutcome> {
  const method = methodNamed(name);
  const input = fromJson(method.input, request);
  const headers = { ...more, ...(token !== undefined && { authorization: `Bearer ${token}` }) };
  const over = new AbortController();
  try {
    if (method.methodKind === 'unary') {
      const { message } = await transport.unary(method as never, over.signal, 10_000, headers, input);
      return { reason: '', message: '', answer: toJson(method.output, message as never) as JsonObject };
    }
    const inputs = (async function* () {
      yield input;
    })();
    const { message } = await transport.stream(method as never, over.signal, 10_000, headers, inputs as never);
    for await (const first of message)
      return { reason: '', message: '', answer: toJson(method.output, first as never) as JsonObject };
    return { reason: '', message: 'the stream had no message', answer: {} };
  } catch (error) {
    return { ...outcomeOf(error), answer: {} };
  } finally {
    over.abort();
  }
}

function outcomeOf(thrown: unknown): { reason: string; message: string } {
  const error = ConnectError.from(thrown);
  for (const detail of error.details)
    if ('type' in detail && detail.type === 'google.rpc.ErrorInfo')
      return { reason: ErrorInfo.decode(detail.value).reason, message: error.rawMessage };
  return { reason: Code[error.code], message: error.rawMessage };
}
