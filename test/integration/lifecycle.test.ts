import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:http2';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import {
  credentials,
  loadPackageDefinition,
  Metadata,
  type GrpcObject,
  type ServiceClientConstructor,
} from '@grpc/grpc-js';
import { load, loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader';
import {
  DiscoverRequest,
  RegisterRequest,
  RegisterResponse,
  WatchServicesRequest,
  WatchServicesResponse,
} from '../../src/gen/rollcall/v1/registry_service.js';
import { RegistryServiceClient } from '../support/clients.js';
import { fromTimestamp } from '../../src/model/time.js';
import { type ReflectionAnswer, reflectionClient } from '../support/reflection.js';
import { framed, openSession, sendRaw, symbolsOfImage } from '../support/wire.js';
import { getInstance, getStatus, publishConfig, register, text, Watch, watchServices } from '../support/client.js';
import {
  call,
  detailsOf,
  eventually,
  failure,
  MAIN,
  runProgram,
  startServer,
  startWith,
  temporaryFolder,
} from '../support/server.js';

test('SIGTERM ends 1,000 streams with a reason, finishes calls in flight, and exits 0', async (t) => {
  const server = await startServer(t);
  const watches = Array.from({ length: 1_000 }, () => watchServices(server, { all: true }));
  await eventually(() => watches.every(({ messages }) => messages.length > 0), 20_000);
  const answers = Array.from({ length: 100 }, (_, i) =>
    register(server, { instance: { service: 'pay', id: `p${i}`, address: '10.0.0.1' } }),
  );
  await Promise.race(answers);
  const began = performance.now();
  server.process.kill('SIGTERM');
  const settled = await Promise.allSettled(answers);
  assert.equal(await server.exited, 0);
  assert.ok(performance.now() - began < 15_000);
  for (const watch of watches) {
    const error = await watch.failed();
    assert.deepEqual(
      [error.code, error.details, detailsOf(error).reason],
      [14, 'the server is shutting down', 'SHUTTING_DOWN'],
    );
  }
  for (const outcome of settled) {
    if (outcome.status === 'fulfilled') continue;
    assert.equal((outcome.reason as { code: number }).code, 14);
  }
  assert.ok(settled.some(({ status }) => status === 'fulfilled'));
});

test('a signal that comes twice at once, as from a terminal by way of npm, is one; one that comes later ends the process', async (t) => {
  const server = await startServer(t);
  // A call that waits for a revision keeps the shutdown waiting.
  const waiting = failure(getInstance(server, { service: 'pay', id: 'p1', minRevision: 1_000_000n }));
  await getInstance(server, { service: 'pay', id: 'p1' }).catch(() => undefined);
  server.process.kill('SIGTERM');
  await eventually(() => server.log.some((line) => line.includes('shutting down')));
  server.process.kill('SIGTERM');
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  assert.equal(server.process.exitCode, null, 'the call in flight is still waited for');
  server.process.kill('SIGINT');
  assert.equal(await server.exited, 130);
  assert.equal((await waiting).code, 14);
});

test('a server whose output is no longer read goes on, and stops cleanly', async (t) => {
  const args = [MAIN, 'serve', '--grpc-port', '0', '--data-dir', temporaryFolder()];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  const exited = once(child, 'exit');
  child.stdout.destroy(); // gone before the server has said anything
  let log = '';
  for await (const part of child.stderr) {
    log += String(part);
    if (log.includes('"listening"')) break; // which closes our end
  }
  assert.equal(child.stderr.destroyed, true);
  const registry = new RegistryServiceClient(
    `127.0.0.1:${/"grpcPort":(\d+)/.exec(log)![1]}`,
    credentials.createInsecure(),
  );
  t.after(() => registry.close());
  for (let i = 0; i < 3; i++) {
    const request = { instance: { service: 'pay', address: '10.0.0.1', id: '' } };
    await call(registry, 'register', RegisterRequest.fromPartial(request)); // warns of it, on a log that is gone
  }
  child.kill('SIGTERM');
  assert.deepEqual(await exited, [0, null]);
});

test('C1: what was acknowledged before a clean end is there afterwards', async (t) => {
  const folder = temporaryFolder();
  const server = await startServer(t, folder);
  const { revision } = await register(server, { instance: { service: 'pay', id: 'p1', address: '10.0.0.1' } });
  assert.equal(await server.stop(), 0);
  const again = await startServer(t, folder);
  const { instance } = await getInstance(again, { service: 'pay', id: 'p1' });
  assert.equal(instance?.revision, revision);
  assert.ok(!again.log.some((line) => line.includes('did not end cleanly')));
});

test('after a start GetStatus says until when what was found is not judged', async (t) => {
  const folder = temporaryFolder();
  const server = await startServer(t, folder);
  await eventually(async () => (await getStatus(server)).verdictsPostponed.length === 0);
  await register(server, { instance: { service: 'pay', id: 'p1', address: '10.0.0.1' } });
  assert.equal(await server.stop(), 0);
  const before = Date.now();
  const again = await startServer(t, folder);
  const grace = (await getStatus(again)).verdictsPostponed.find(({ reason }) => reason === 'GRACE');
  const [since, until] = [fromTimestamp(grace!.since!), fromTimestamp(grace!.until!)];
  assert.ok(since >= before && since <= Date.now(), `since ${since}`);
  assert.equal(Math.round(until - since), 30_000);
});

test('bad settings end the program with what is wrong, and exit code 2', () => {
  const cases: [string[], RegExp][] = [
    [['serve', '--grpc-port', '99999'], /--grpc-port/],
    [['serve', '--grpc-port', 'x'], /--grpc-port/],
    [['serve', '--store', 'sqlite'], /--store/],
    [['serve', '--colour', 'red'], /--colour/],
    [['serve', '--log-level', 'loud'], /--log-level/],
    [['sevre'], /sevre/],
    [['version', '--bogus'], /--bogus/],
    [['store'], /new-epoch/],
  ];
  for (const [args, message] of cases) {
    const { status, stderr } = runProgram(...args);
    assert.equal(status, 2, args.join(' '));
    assert.match(stderr, message);
  }
  for (const args of [['-h'], ['store', 'new-epoch', '--help'], ['serve', '-h']])
    assert.equal(runProgram(...args).status, 0);
  const help = runProgram('serve', '--help');
  assert.equal(help.status, 0);
  assert.match(help.stdout, /--grpc-port/);
  assert.match(runProgram('help').stdout, /^ {2}serve /m);
  assert.match(runProgram('version').stdout, /^\d+\.\d+\.\d+\n$/);
});

test('a port that is taken is named', async (t) => {
  const server = await startServer(t);
  const port = server.address.split(':')[1]!;
  const { status, stderr } = runProgram('serve', '--grpc-port', port, '--data-dir', temporaryFolder());
  assert.equal(status, 1);
  assert.match(stderr, new RegExp(port));
});

test('grpc.health.v1 says SERVING for the server and for each service, and ends its streams at shutdown', async (t) => {
  const server = await startServer(t);
  // The protos of the health service as a stock client has them.
  const path = new URL('../../node_modules/grpc-health-check/proto/health/v1/health.proto', import.meta.url).pathname;
  const loaded = loadPackageDefinition(await load(path, { enums: String, defaults: true }));
  const Health = ((loaded.grpc as GrpcObject).health as GrpcObject).v1 as GrpcObject;
  const client = new (Health.Health as ServiceClientConstructor)(server.address, credentials.createInsecure());
  t.after(() => client.close());
  const check = (service: string): Promise<string> =>
    new Promise((resolve, reject) =>
      (client.check as (request: object, done: (error: Error | null, answer: { status: string }) => void) => void)(
        { service },
        (error, answer) => (error ? reject(error) : resolve(answer.status)),
      ),
    );
  for (const service of ['', 'rollcall.v1.RegistryService', 'rollcall.v1.ConfigService', 'rollcall.v1.AdminService']) {
    assert.equal(await check(service), 'SERVING', service);
  }
  await assert.rejects(check('no.such.Service'), { code: 5 });
  const states: string[] = [];
  const watch = (client.watch as (request: object) => NodeJS.ReadableStream)({ service: '' });
  let failure: { code: number } | undefined;
  watch.on('data', ({ status }: { status: string }) => states.push(status));
  watch.on('error', (error: unknown) => (failure = error as { code: number }));
  await eventually(() => states.length > 0);
  server.process.kill('SIGTERM');
  await eventually(() => failure);
  assert.deepEqual(states, ['SERVING', 'NOT_SERVING']);
  assert.equal(failure?.code, 14);
  assert.equal(await server.exited, 0);
});

for (const version of ['v1', 'v1alpha'] as const) {
  test(`reflection ${version} lists the services and answers by symbol, file and type`, async (t) => {
    const server = await startServer(t);
    const ask = reflectionClient(t, server.address, version);
    const services = (await ask({ listServices: '*' })).listServicesResponse!.service.map(({ name }) => name);
    for (const name of [
      'rollcall.v1.RegistryService',
      'rollcall.v1.ConfigService',
      'rollcall.v1.AdminService',
      'grpc.health.v1.Health',
      'grpc.reflection.v1.ServerReflection',
      'grpc.reflection.v1alpha.ServerReflection',
    ]) {
      assert.ok(services.includes(name), name);
    }
    const names = (answer: ReflectionAnswer): number => answer.fileDescriptorResponse?.fileDescriptorProto.length ?? 0;
    for (const symbol of [
      'rollcall.v1.RegistryService',
      'rollcall.v1.RegistryService.Register',
      'rollcall.v1.Instance',
      'rollcall.v1.Health',
      'google.rpc.ErrorInfo',
      'google.rpc.BadRequest',
      'google.rpc.RetryInfo',
    ]) {
      assert.ok(names(await ask({ fileContainingSymbol: symbol })) > 0, symbol);
    }
    const isPrivate = (symbol: string): boolean => /^rollcall\.(peer|storage)\./.test(symbol);
    assert.deepEqual(services.filter(isPrivate), []);
    const [hidden, shown] = [symbolsOfImage().filter(isPrivate), symbolsOfImage().filter((one) => !isPrivate(one))];
    assert.ok(hidden.includes('rollcall.peer.v1.PeerService'));
    for (const symbol of [...hidden.slice(0, 20), 'rollcall.peer.v1.PeerService'])
      assert.equal((await ask({ fileContainingSymbol: symbol })).errorResponse?.errorCode, 5, symbol);
    for (const symbol of shown) assert.ok(names(await ask({ fileContainingSymbol: symbol })) > 0, symbol);
    assert.ok(names(await ask({ fileByFilename: 'rollcall/v1/instance.proto' })) > 0);
    assert.equal((await ask({ fileContainingSymbol: 'no.such.Thing' })).errorResponse?.errorCode, 5);
    assert.equal((await ask({ fileByFilename: 'no/such.proto' })).errorResponse?.errorCode, 5);
  });
}

test('what reflection tells is enough to make a call with no proto at hand', async (t) => {
  const server = await startServer(t);
  const ask = reflectionClient(t, server.address, 'v1');
  const { fileDescriptorResponse } = await ask({ fileContainingSymbol: 'rollcall.v1.ConfigService' });
  assert.ok(fileDescriptorResponse);
  await publishConfig(server, { configs: [{ key: 'a', content: text('x') }] });
  const field = (bytes: Buffer): Buffer => {
    const length: number[] = [];
    for (let n = bytes.length; ; n >>>= 7) {
      length.push(n > 127 ? (n & 127) | 128 : n);
      if (n <= 127) break;
    }
    return Buffer.concat([Buffer.from([0x0a, ...length]), bytes]);
  };
  const definition = loadFileDescriptorSetFromBuffer(
    Buffer.concat(fileDescriptorResponse.fileDescriptorProto.map((bytes) => field(Buffer.from(bytes)))),
    { longs: String },
  );
  const { ConfigService } = (loadPackageDefinition(definition).rollcall as GrpcObject).v1 as GrpcObject;
  const client = new (ConfigService as ServiceClientConstructor)(server.address, credentials.createInsecure());
  t.after(() => client.close());
  const answer = await new Promise<{ config: { text: string; version: string } }>((resolve, reject) =>
    (client.getConfig as (request: object, done: (error: Error | null, answer: never) => void) => void)(
      { key: 'a' },
      (error, value) => (error ? reject(error) : resolve(value)),
    ),
  );
  assert.deepEqual([answer.config.text, answer.config.version], ['x', '1']);
});

/** Starts a server through a shell, and stops it once it listens; returns its standard output and its log. */
async function outputOf(
  t: TestContext,
  wrap: (command: string) => readonly string[],
  signal: NodeJS.Signals = 'SIGTERM',
): Promise<{ output: string; log: string }> {
  const log = join(temporaryFolder(), 'log');
  const command = `exec ${process.execPath} ${MAIN} serve --grpc-port 0 --data-dir ${temporaryFolder()} 2>${log}`;
  const [program, ...args] = wrap(command);
  const child = spawn(program!, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.on('data', (part: Buffer) => (output += part.toString()));
  const exited = once(child, 'exit');
  const pid = await eventually(() => {
    const line =
      existsSync(log) &&
      readFileSync(log, 'utf8')
        .split('\n')
        .find((one) => one.includes('"listening"'));
    return line ? (JSON.parse(line) as { pid: number }).pid : undefined;
  });
  process.kill(pid, signal);
  await exited;
  return { output, log: readFileSync(log, 'utf8') };
}

test('a few lines for a person are printed on a terminal, and nowhere else', async (t) => {
  assert.equal((await outputOf(t, (command) => ['sh', '-c', command])).output, '');
  const { output: seen } = await outputOf(t, (command) => ['script', '-qec', command, '/dev/null']);
  assert.match(seen, /listens on 127\.0\.0\.1:\d+ \(gRPC\)/);
  assert.match(seen, /grpcurl -plaintext/);
});

test('a server whose terminal is closed stops cleanly', async (t) => {
  const { log } = await outputOf(t, (command) => ['script', '-qec', command, '/dev/null'], 'SIGHUP');
  assert.match(log, /"signal":"SIGHUP"/);
  assert.match(log, /"msg":"stopped"/);
});

test('at SIGHUP a server reads its settings again: it takes over some, names those that need a restart, and refuses bad ones', async (t) => {
  const file = join(temporaryFolder(), 'rollcall.yaml');
  writeFileSync(file, 'log-level: info\nstream-age-seconds: 60\n');
  const server = await startWith(t, ['--data-dir', temporaryFolder(), '--settings', file], []);
  const reload = async (settings: string): Promise<Record<string, unknown>> => {
    const known = server.log.length;
    writeFileSync(file, settings);
    server.process.kill('SIGHUP');
    const line = await eventually(() => server.log.slice(known).find((one) => one.includes('were read again')));
    return JSON.parse(line) as Record<string, unknown>;
  };
  const first = await reload('log-level: debug\nstream-age-seconds: 90\n');
  assert.deepEqual(first['taken'], ['log-level']);
  assert.deepEqual(first['needRestart'], ['stream-age-seconds']);
  const bad = await reload('log-level: loud\n');
  assert.equal(bad['level'], 'error');
  assert.match(String(bad['reason']), /rollcall\.yaml:1:12: must be silent, error/);
  const last = await reload('log-level: info\nstream-age-seconds: 60\n');
  assert.deepEqual([last['taken'], last['needRestart']], [['log-level'], []]);
  assert.equal(await server.stop(), 0);
});

test('serve --print-settings prints what is in force, and starts nothing', () => {
  const { status, stdout, stderr } = runProgram('serve', '--print-settings', '--grpc-port', '7500');
  assert.equal(status, 0);
  assert.match(stdout, /^grpc-port: 7500 {2}# --grpc-port$/m);
  const notes = stderr.split('\n').filter((line) => line !== '' && !line.includes('ROLLCALL_TEST_'));
  assert.deepEqual(notes, []);
  assert.equal(runProgram('serve', '--print-settings', '--grpc-port', 'x').status, 2);
});

test('the log is one JSON line per event, with component and a level in words', async (t) => {
  const server = await startServer(t);
  await register(server, { instance: { service: 'pay', id: 'p1', address: '10.0.0.1' } });
  await server.stop();
  assert.ok(server.log.length >= 3);
  for (const line of server.log) {
    const event = JSON.parse(line) as Record<string, unknown>;
    assert.ok(
      typeof event.msg === 'string' && typeof event.component === 'string' && typeof event.time === 'string',
      line,
    );
    assert.ok(['debug', 'info', 'warn', 'error'].includes(event.level as string), line);
  }
});

test('an HTTP/2 client that is no gRPC client gets an answer, and the server goes on', async (t) => {
  const server = await startServer(t);
  const session = connect(`http://${server.address}`);
  const stream = session.request({ ':method': 'GET', ':path': '/' });
  const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
  assert.ok(Number(headers[':status']) >= 400 || headers['grpc-status'] !== undefined);
  session.destroy();
  await register(server, { instance: { service: 'pay', id: 'p1', address: '10.0.0.1' } });
});

/** Deadlines around the most that a timer of Node counts, and the largest of each unit. */
const FAR_TIMEOUTS = [
  ...['2147483S', '2147484S', '2592000S', '4294968S', '99999999S'],
  ...['35791M', '35792M', '99999999M', '596H', '597H', '99999999H'],
  ...['99999999m', '99999999u'],
];

test('a deadline that is too far to count ends no call, in whatever unit', async (t) => {
  const server = await startServer(t);
  await register(server, { instance: { service: 'pay', id: 'p1', address: '10.0.0.1' } });
  const session = openSession(t, server.address);
  // A barrier waits for the store: a deadline that has passed would end the call first.
  const request = DiscoverRequest.encode(DiscoverRequest.fromPartial({ service: 'pay', barrier: true })).finish();
  for (const timeout of FAR_TIMEOUTS) {
    const path = '/rollcall.v1.RegistryService/Discover';
    const answer = await sendRaw(session, { ':path': path, 'grpc-timeout': timeout }, framed(request));
    assert.equal(answer['grpc-status'] ?? '0', '0', timeout); // the first message may end the call before its status
  }
});

test('a watch and a write with a deadline in 30 days go on as without one', async (t) => {
  const server = await startServer(t);
  const options = { deadline: Date.now() + 30 * 86_400_000 };
  const service = '/rollcall.v1.RegistryService';
  const stream = server.registry.makeServerStreamRequest(
    `${service}/WatchServices`,
    (request: WatchServicesRequest) => Buffer.from(WatchServicesRequest.encode(request).finish()),
    (bytes: Buffer) => WatchServicesResponse.decode(bytes),
    WatchServicesRequest.fromPartial({ all: true }),
    new Metadata(),
    options,
  );
  const watch = new Watch(stream);
  await watch.seen(({ revision }) => revision > 0n);
  const { revision } = await new Promise<RegisterResponse>((resolve, reject) => {
    server.registry.makeUnaryRequest(
      `${service}/Register`,
      (request: RegisterRequest) => Buffer.from(RegisterRequest.encode(request).finish()),
      (bytes: Buffer) => RegisterResponse.decode(bytes),
      RegisterRequest.fromPartial({ instance: { service: 'pay', id: 'p1', address: '10.0.0.1' } }),
      new Metadata(),
      options,
      (error, answer) => (error ? reject(error) : resolve(answer!)),
    );
  });
  await watch.reached(revision);
  assert.equal(watch.error, undefined);
  watch.close();
});
