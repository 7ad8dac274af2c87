import { type ChildProcess, spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { type ChannelCredentials, type Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { AdminServiceClient, ConfigServiceClient, RegistryServiceClient } from './clients.js';
import { Status } from '../../src/gen/google/rpc/status.js';
import { BadRequest, ErrorInfo, RetryInfo } from '../../src/gen/google/rpc/error_details.js';

/** The built program. */
export const MAIN = new URL('../../dist/main.js', import.meta.url).pathname;
/** Flags of Node with which a server leaves all of gRPC to grpc-js: ROLLCALL_TEST_GRPC=library runs a suite on that path. */
const GRPC_JS_ALONE: readonly string[] =
  process.env['ROLLCALL_TEST_GRPC'] === 'library'
    ? ['--import', new URL('../../scripts/grpc-js-alone.js', import.meta.url).pathname]
    : [];

/** The command with which a test starts one server that leaves all of gRPC to grpc-js, beside others. */
export const ON_GRPC_JS: readonly string[] = [
  'env',
  `NODE_OPTIONS=--import=${new URL('../../scripts/grpc-js-alone.js', import.meta.url).pathname}`,
];

/** A program that only does something and ends is done by then, or hangs. */
const PROGRAM_MAX_MS = 20_000;

/** The clients of one server. */
export interface Clients {
  readonly registry: RegistryServiceClient;
  readonly config: ConfigServiceClient;
  readonly admin: AdminServiceClient;
}

/** Makes the clients of a server. They connect when they are first used. */
export const clientsOf = (address: string, creds: ChannelCredentials): Clients => ({
  registry: new RegistryServiceClient(address, creds),
  config: new ConfigServiceClient(address, creds),
  admin: new AdminServiceClient(address, creds),
});

/** Closes them. */
export const closeClients = (clients: Clients): void =>
  [clients.registry, clients.config, clients.admin].forEach((client: Client) => client.close());

/** A built server in a process of its own. */
export interface ServerProcess extends Clients {
  readonly address: string;
  /** The credentials of its clients. */
  readonly creds: ChannelCredentials;
  /** The URL of the HTTP port, without a path. */
  readonly url: string;
  readonly process: ChildProcess;
  /** Every line of the log so far. */
  readonly log: string[];
  /** Resolves to the exit code, or the signal that ended the process. */
  readonly exited: Promise<number | NodeJS.Signals>;
  /** Closes the clients and ends the process with SIGTERM. */
  stop(): Promise<number | NodeJS.Signals>;
  /** Ends the process with SIGKILL. */
  kill(): Promise<void>;
}

const folders: string[] = [];
process.once('exit', () => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/** A folder that goes when the tests of this file are over: by then whatever used it has been closed. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'rollcall-test-'));
  folders.push(folder);
  return folder;
}

/** Starts the built server on the embedded store of a folder. */
export function startServer(
  t: TestContext,
  folder = temporaryFolder(),
  command: readonly string[] = [],
  ...args: readonly string[]
): Promise<ServerProcess> {
  return startWith(t, ['--data-dir', folder, ...args], command);
}

/** Starts the built server on etcd. */
export function startServerOn(t: TestContext, endpoints: readonly string[], ...args: string[]): Promise<ServerProcess> {
  return startWith(t, [...onEtcd(endpoints), ...args], []);
}

/** A built server whose process runs, and which may not listen yet. */
export interface LaunchedServer {
  readonly process: ChildProcess;
  readonly log: string[];
  readonly exited: Promise<number | NodeJS.Signals>;
  /** Resolves to the port once the server listens, and rejects if the process ends before. */
  readonly listening: Promise<number>;
}

/** The arguments of a server on etcd. */
export const onEtcd = (endpoints: readonly string[]): string[] => [
  ...['--store', 'etcd', '--etcd-endpoints', endpoints.join(',')],
];

/**
 * Starts the process of a built server, by way of `command` if there is one; `main` may be that of another build. Whoever
 * asked for it must end it.
 */
export function launchServer(
  args: readonly string[],
  command: readonly string[] = [],
  main: string = MAIN,
): LaunchedServer {
  const [program, ...before] = [...command, process.execPath];
  const child = spawn(program, [...before, ...GRPC_JS_ALONE, main, 'serve', '--grpc-port', '0', ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exited = once(child, 'exit').then(
    ([code, signal]: (number | NodeJS.Signals | null)[]) => (code ?? signal)!,
  ) as Promise<number | NodeJS.Signals>;
  const log: string[] = [];
  const listening = new Promise<number>((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      log.push(line);
      const found = /"grpcPort":(\d+)/.exec(line);
      if (found) resolve(Number(found[1]));
    });
    void exited.then((code) => reject(new Error(`the server exited with ${code}: ${log.join('\n')}`)));
  });
  listening.catch(() => undefined); // whoever waits for it is told
  return { process: child, log, exited, listening };
}

/** Runs the built program to its end. */
export function runProgram(...args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8', timeout: PROGRAM_MAX_MS });
}

/** Starts the built server on a free port and waits until it listens. It ends with the test. */
export async function startWith(
  t: TestContext,
  args: readonly string[],
  command: readonly string[],
  main: string = MAIN,
  creds: ChannelCredentials = credentials.createInsecure(),
): Promise<ServerProcess> {
  const { process: child, log, exited, listening } = launchServer(args, command, main);
  const port = await listening;
  const isAlone = log.some((line) => line.includes('grpc-js is another one than expected'));
  if (isAlone !== (GRPC_JS_ALONE.length > 0 || command === ON_GRPC_JS))
    throw new Error('the server takes unary calls on the other path');
  const address = `127.0.0.1:${port}`;
  const clients = clientsOf(address, creds);
  const close = (): void => closeClients(clients);
  const { httpPort } = JSON.parse(log.find((line) => line.includes('"listening"'))!) as { httpPort: number };
  const server: ServerProcess = {
    address,
    creds,
    url: `http://127.0.0.1:${httpPort}`,
    process: child,
    ...clients,
    log,
    exited,
    stop: async () => {
      close();
      child.kill('SIGTERM');
      return exited;
    },
    kill: async () => {
      close();
      child.kill('SIGKILL');
      await exited;
    },
  };
  t.after(() => server.kill());
  return server;
}

/** Makes one unary call. Rejects with the ServiceError. */
export function call<Response>(client: Client, method: string, request: object): Promise<Response> {
  type Unary = (request: object, callback: (error: ServiceError | null, response: Response) => void) => unknown;
  return new Promise((resolve, reject) => {
    (client as unknown as Record<string, Unary>)[method]!.call(client, request, (error, response) =>
      error ? reject(error) : resolve(response),
    );
  });
}

/** What an error carries in its details. */
export function detailsOf(error: ServiceError): {
  reason: string;
  fields: string[];
  metadata: Map<string, string>;
  retry: boolean;
} {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  const { details } = bytes ? Status.decode(bytes as Buffer) : { details: [] };
  const find = (name: string): Buffer | undefined => details.find(({ typeUrl }) => typeUrl.endsWith(`.${name}`))?.value;
  const info = find('ErrorInfo');
  const { reason, metadata } = info ? ErrorInfo.decode(info) : { reason: '', metadata: new Map<string, string>() };
  const bad = find('BadRequest');
  const retry = find('RetryInfo');
  return {
    reason,
    metadata,
    fields: bad ? BadRequest.decode(bad).fieldViolations.map(({ field }) => field) : [],
    retry: retry !== undefined && RetryInfo.decode(retry).retryDelay !== undefined,
  };
}

/** The error that a call ends with. */
export async function failure(promise: Promise<unknown>): Promise<ServiceError> {
  return promise.then(
    () => {
      throw new Error('the call succeeded');
    },
    (error: unknown) => error as ServiceError,
  );
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `condition` gives something; looks again at every turn of `every` ms, and gives up after `within` ms. */
export async function eventually<T>(
  condition: () => T | Promise<T>,
  within = 10_000,
  every = 20,
): Promise<NonNullable<T>> {
  const until = performance.now() + within;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > until) throw new Error(`not within ${within} ms: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

/** The memory of a server's process in bytes: now, and the most that it has had so far. */
export const memoryOf = (server: ServerProcess): number => fieldOfStatus(server, 'VmRSS');
export const peakMemoryOf = (server: ServerProcess): number => fieldOfStatus(server, 'VmHWM');

function fieldOfStatus({ process: { pid } }: ServerProcess, field: string): number {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(text)![1]) * 1_024;
}
