import assert from 'node:assert/strict';
import { readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Client as GrpcClient, credentials, Server, ServerCredentials } from '@grpc/grpc-js';
import {
  CallError,
  Client,
  type ClientOptions,
  ConfigFormat,
  Health,
  type InstanceFields,
  registerResolver,
  type Registration,
  type RegistrationEvent,
  ReportedState,
  tokenFile,
} from '../../src/client/index.js';
import { accessFile, callerWith, startWithAccess } from '../support/access.js';
import { freePorts } from '../support/etcd.js';
import { Proxy } from '../support/proxy.js';
import { eventually, type ServerProcess, startServer, temporaryFolder } from '../support/server.js';

const PAY: NonNullable<InstanceFields> = { service: 'pay', id: 'a', address: '10.0.0.1', port: 1, ttl: seconds(2n) };

function seconds(count: bigint): { seconds: bigint; nanos: number } {
  return { seconds: count, nanos: 0 };
}

/** A client of a server, which is closed with the test. */
function clientOf(t: TestContext, server: ServerProcess | string, options: Partial<ClientOptions> = {}): Client {
  const client = new Client({ addresses: [typeof server === 'string' ? server : server.address], ...options });
  t.after(() => client.close().catch(() => undefined));
  return client;
}

/** The events of a registration by kind, and how it is registered. */
async function registered(
  client: Client,
  fields: NonNullable<InstanceFields> = PAY,
): Promise<{ registration: Registration; events: RegistrationEvent[] }> {
  const events: RegistrationEvent[] = [];
  const registration = await client.register(fields, { onEvent: (event) => events.push(event) });
  return { registration, events };
}

const overReasons = (events: readonly RegistrationEvent[]): string[] =>
  events.flatMap((event) => (event.kind === 'over' ? [event.reason] : []));

async function healthOf(client: Client, id = 'a'): Promise<Health> {
  return (await client.registry.getInstance({ service: 'pay', id })).instance!.health;
}

test('N3: an instance starts, serves, drains and leaves, and its deregistration is the last call', async (t) => {
  const client = clientOf(t, await startServer(t));
  const other = clientOf(t, client.address);
  const starting = { state: ReportedState.REPORTED_STATE_STARTING, note: 'loading' };
  const { registration } = await registered(client, { ...PAY, reported: starting });
  assert.equal(await healthOf(other), Health.HEALTH_UNHEALTHY);
  registration.report(ReportedState.REPORTED_STATE_HEALTHY);
  await eventually(async () => (await healthOf(other)) === Health.HEALTH_HEALTHY);
  const closed = client.close({ drainMs: 3_000 }); // longer than the ttl: heartbeats go on
  await eventually(async () => (await healthOf(other)) === Health.HEALTH_DRAINING);
  const states = new Set<Health>();
  let isClosed = false;
  void closed.then(() => (isClosed = true));
  while (!isClosed)
    await healthOf(other).then(
      (health) => states.add(health),
      (error: CallError) => assert.equal(error.reason, 'INSTANCE_NOT_FOUND'),
    );
  await closed;
  assert.deepEqual([...states], [Health.HEALTH_DRAINING]);
  await assert.rejects(healthOf(other), { reason: 'INSTANCE_NOT_FOUND' });
});

test('N2 N3: a process that was started later takes the id over, and the older one is over', async (t) => {
  const server = await startServer(t);
  const [older, newer] = [clientOf(t, server), clientOf(t, server)];
  const { registration, events } = await registered(older);
  const { registration: taken } = await registered(newer, { ...PAY, port: 2 });
  await registration.ended();
  assert.deepEqual(overReasons(events), ['SUPERSEDED']);
  await older.close();
  const { instance } = await newer.registry.getInstance({ service: 'pay', id: 'a' });
  assert.deepEqual([instance!.incarnation, instance!.port], [taken.incarnation, 2], 'the older one removed nothing');
});

test('an instance that an operator deregisters is over; a new registration of the same process comes back', async (t) => {
  const client = clientOf(t, await startServer(t));
  const { registration, events } = await registered(client);
  await client.registry.deregister({ service: 'pay', id: 'a' });
  await registration.ended();
  assert.deepEqual(overReasons(events), ['DEREGISTERED']);
  await registered(client);
  assert.equal(await healthOf(client), Health.HEALTH_HEALTHY);
});

test('N2: an instance that the server has forgotten registers again, with what it reports now', async (t) => {
  const [port] = await freePorts(1);
  const args = ['--grpc-port', String(port)];
  const first = await startServer(t, temporaryFolder(), [], ...args);
  const client = clientOf(t, `127.0.0.1:${port}`);
  const starting = { state: ReportedState.REPORTED_STATE_STARTING, note: '' };
  const { registration, events } = await registered(client, { ...PAY, reported: starting });
  registration.report(ReportedState.REPORTED_STATE_DEGRADED, 'slow disk');
  await eventually(async () => (await healthOf(client)) === Health.HEALTH_DEGRADED);
  await first.kill();
  await startServer(t, temporaryFolder(), [], ...args); // another store
  await eventually(async () => (await healthOf(client).catch(() => undefined)) === Health.HEALTH_DEGRADED, 15_000);
  const registrations = events.flatMap((event) => (event.kind === 'registered' ? [event.instance.health] : []));
  assert.deepEqual(registrations, [Health.HEALTH_UNHEALTHY, Health.HEALTH_DEGRADED]);
  assert.deepEqual(overReasons(events), []);
});

test('a client closes also while no server answers, and refuses calls from then on', async (t) => {
  const server = await startServer(t);
  const client = clientOf(t, server);
  await registered(client);
  await server.kill();
  await client.close();
  await assert.rejects(client.discover('pay'), { message: 'the client is closed' });
});

test('addresses that cannot be called are refused at once', () => {
  for (const addresses of [undefined, [], 'localhost:1', ['x']])
    assert.throws(() => new Client({ addresses: addresses as string[] }), /^TypeError: addresses: /);
});

test('what cannot be registered is refused with the field', async (t) => {
  const client = clientOf(t, await startServer(t));
  await assert.rejects(client.register({ ...PAY, port: 70_000 }), (error) => {
    assert.ok(error instanceof CallError);
    assert.deepEqual([error.reason, error.violations[0]?.field], ['INVALID_REQUEST', 'instance.port']);
    return true;
  });
});

test('N2: a token that is renewed in its file is shown from then on, and the registration goes on', async (t) => {
  const grant = '{ role: service, namespaces: ["*"], services: ["*"] }';
  const [before, after] = [callerWith('before', grant), callerWith('after', grant)];
  const path = accessFile([before, after]);
  const server = await startWithAccess(t, path);
  const token = join(temporaryFolder(), 'token');
  writeFileSync(token, before.token);
  const client = clientOf(t, server, { token: tokenFile(token) });
  const { events } = await registered(client);
  accessFile([after], '', `${path}.new`);
  renameSync(`${path}.new`, path);
  const refused = (): boolean =>
    events.some((event) => event.kind === 'failed' && event.error.reason === 'TOKEN_REFUSED');
  await eventually(refused, 20_000);
  writeFileSync(token, after.token);
  const beats = (): number => events.filter(({ kind }) => kind === 'beat').length;
  const seen = beats();
  await eventually(() => beats() > seen, 20_000);
  assert.deepEqual(overReasons(events), []);
});

test('N1: a view shows every change, whole; without a server it keeps what it showed, and says that it may be old', async (t) => {
  const server = await startServer(t);
  const proxy = await Proxy.open(t, Number(server.address.split(':')[1]));
  const writer = clientOf(t, server);
  const view = clientOf(t, `127.0.0.1:${proxy.port}`).viewServices({ services: ['pay'] });
  await view.ready();
  assert.deepEqual([view.instances(), view.isStale], [[], false]);
  await registered(writer);
  await eventually(() => view.instances('pay').map(({ id }) => id)[0] === 'a');
  proxy.mode = 'blackhole';
  proxy.cut();
  await eventually(() => view.isStale);
  const staleForMs = view.staleForMs;
  await eventually(() => view.staleForMs > staleForMs);
  await registered(writer, { ...PAY, id: 'b' });
  assert.deepEqual(view.instances().length, 1);
  proxy.mode = 'pass';
  proxy.cut();
  await eventually(() => view.instances().length === 2 && !view.isStale, 15_000);
  await writer.close();
  await eventually(() => view.instances().length === 0);
});

test('the loop over changes has one round for what came while its body ran, and ends with the view', async (t) => {
  const client = clientOf(t, await startServer(t));
  const view = client.viewConfigs({ keys: ['app.yaml'] });
  const publish = (text: string): Promise<unknown> =>
    client.config.publishConfig({ configs: [{ key: 'app.yaml', content: { $case: 'text', value: text } }] });
  const seen: (string | undefined)[] = [];
  for await (const { isReady } of view.changes()) {
    assert.ok(isReady);
    seen.push(view.text('app.yaml'));
    if (seen.length === 1) {
      for (const text of ['a: 1', 'a: 2', 'a: 3']) await publish(text);
      await eventually(() => view.text('app.yaml') === 'a: 3');
    } else if (view.text('app.yaml') === 'a: 3') {
      assert.equal(view.config('app.yaml')!.format, ConfigFormat.CONFIG_FORMAT_YAML);
      await client.config.deleteConfig({ key: 'app.yaml' });
    } else view.close();
  }
  assert.deepEqual(seen, [undefined, 'a: 3', undefined]);
});

test('a watch that cannot succeed rejects with the reason', async (t) => {
  const client = clientOf(t, await startServer(t));
  const view = client.viewServices({ services: ['Not A Name'] });
  await assert.rejects(view.ready(), { reason: 'INVALID_REQUEST' });
  const [closed] = [client.viewServices({ services: ['pay'] })];
  closed.close();
  await assert.rejects(closed.ready(), { name: 'AbortError' });
});

test('N1: the last good state is on disk for its owner, and a process starts with it while no server answers', async (t) => {
  const stateFolder = join(temporaryFolder(), 'state');
  const folder = temporaryFolder();
  const [port] = await freePorts(1);
  const address = `127.0.0.1:${port}`;
  const args = ['--grpc-port', String(port)];
  const server = await startServer(t, folder, [], ...args);
  const writer = clientOf(t, server);
  await writer.register({ ...PAY, ttl: seconds(60n) });
  const first = new Client({ addresses: [address], stateFolder });
  await first.viewServices({ services: ['pay'] }).ready();
  await first.close();
  const [file] = readdirSync(stateFolder);
  const path = join(stateFolder, file!);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(stateFolder).mode & 0o777, 0o700);
  await server.kill();

  const second = clientOf(t, address, { stateFolder });
  const view = second.viewServices({ services: ['pay'] });
  await view.ready();
  assert.deepEqual([view.instances().map(({ id }) => id), view.isStale, view.staleForMs > 0], [['a'], true, true]);
  assert.equal(second.viewServices({ services: ['other'] }).isReady, false, 'another selection has no state');
  assert.equal(clientOf(t, 'localhost:1', { stateFolder }).viewServices({ services: ['pay'] }).isReady, false);

  await startServer(t, folder, [], ...args);
  await clientOf(t, address).register({ ...PAY, id: 'b' });
  const third = clientOf(t, address, { stateFolder }).viewServices({ services: ['pay'] });
  await third.ready();
  assert.deepEqual([third.instances().length, third.isStale], [2, false], 'a server answers: the file does not count');
  await eventually(() => view.instances().length === 2 && !view.isStale, 15_000);

  const kept = readFileSync(path);
  writeFileSync(path, kept.subarray(0, kept.length / 2));
  assert.equal(clientOf(t, 'localhost:1', { stateFolder }).viewServices({ services: ['pay'] }).isReady, false);
  writeFileSync(path, kept);
});

test('a state that cannot be written is reported, and the view goes on', async (t) => {
  const stateFolder = join(temporaryFolder(), 'file');
  writeFileSync(stateFolder, 'no folder');
  const errors: unknown[] = [];
  const client = clientOf(t, await startServer(t), { stateFolder });
  const view = client.viewServices({ services: ['pay'] }, { onNotSaved: (error) => errors.push(error) });
  await view.ready();
  await eventually(() => errors.length > 0);
  await registered(client);
  await eventually(() => view.instances().length === 1);
});

test('a channel of grpc-js follows the instances of a service, and keeps them while no server answers', async (t) => {
  const server = await startServer(t);
  const proxy = await Proxy.open(t, Number(server.address.split(':')[1]));
  const writer = clientOf(t, server);
  registerResolver(clientOf(t, `127.0.0.1:${proxy.port}`));
  const [one, two] = [await echo(t, 'one'), await echo(t, 'two')];
  const channel = new GrpcClient('rollcall:///shop/echo', credentials.createInsecure());
  t.after(() => channel.close());
  const ask = (): Promise<string> =>
    new Promise((resolve, reject) =>
      channel.makeUnaryRequest<Buffer, Buffer>(
        '/test.Echo/Name',
        (bytes) => bytes,
        (bytes) => bytes,
        Buffer.alloc(0),
        { deadline: Date.now() + 5_000 },
        (error, answer) => (error ? reject(error) : resolve(answer!.toString())),
      ),
    );
  await assert.rejects(ask(), /no instance of echo can take traffic/);
  const at = { namespace: 'shop', service: 'echo', address: '127.0.0.1' };
  const { registration } = await registered(writer, { ...at, id: 'one', port: one });
  await eventually(async () => (await ask().catch(() => '')) === 'one');
  await registered(writer, { ...at, id: 'two', port: two });
  const names = new Set<string>();
  await eventually(async () => names.add(await ask()).size === 2);
  proxy.mode = 'blackhole';
  proxy.cut();
  await eventually(async () => (await ask()) === 'one');
  proxy.mode = 'pass';
  proxy.cut();
  await registration.close();
  await eventually(async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, ask));
    return answers.every((answer) => answer === 'two');
  }, 15_000);
  assert.throws(() => new GrpcClient('rollcall:///a/b/c', credentials.createInsecure()), /rollcall:\/\/\/SERVICE/);
});

/** A server that answers every call with its name. Returns its port. */
async function echo(t: TestContext, name: string): Promise<number> {
  const server = new Server();
  const asItIs = (bytes: Buffer): Buffer => bytes;
  const method = { path: '/test.Echo/Name', requestStream: false, responseStream: false };
  const both = { requestSerialize: asItIs, requestDeserialize: asItIs };
  server.addService(
    { name: { ...method, ...both, responseSerialize: asItIs, responseDeserialize: asItIs } },
    { name: (_: unknown, done: (error: null, answer: Buffer) => void) => done(null, Buffer.from(name)) },
  );
  t.after(() => server.forceShutdown());
  return new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    ),
  );
}
