import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { connect as connectPlain } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { type ChannelCredentials, Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { GetStatusRequest } from '../../src/gen/rollcall/v1/admin_service.js';
import { WatchConfigRequest } from '../../src/gen/rollcall/v1/config_service.js';
import { DiscoverRequest, ListServicesRequest, RegisterRequest } from '../../src/gen/rollcall/v1/registry_service.js';
import { accessFile, callerWith } from '../support/access.js';
import { authority, type Certificate, type TestAuthority } from '../support/certificates.js';
import { withToken } from '../support/security.js';
import {
  call,
  type Clients,
  clientsOf,
  closeClients,
  detailsOf,
  eventually,
  failure,
  runProgram,
  type ServerProcess,
  startWith,
  temporaryFolder,
} from '../support/server.js';

const PAY = RegisterRequest.fromPartial({ instance: { service: 'pay', address: '10.0.0.1', port: 1 } });
const DISCOVER_PAY = DiscoverRequest.fromPartial({ service: 'pay' });
/** Files are looked at every 10 s. */
const RELOADED_MS = 15_000;
const HEALTH = '/grpc.health.v1.Health/Check';
const ca = await authority('tests');
const stranger = await authority('stranger');

/** A server with TLS. */
async function startTls(t: TestContext, pair: Certificate, ...args: string[]): Promise<ServerProcess> {
  const tls = ['--tls-cert', pair.certFile, '--tls-key', pair.keyFile];
  return startWith(t, ['--data-dir', temporaryFolder(), ...tls, ...args], []);
}

const clientFiles = (mode: string, more: readonly string[] = []): string[] => [
  ...['--tls-client-certs', mode, '--tls-client-ca', ca.certFile],
  ...more,
];

const trusting = (root: TestAuthority, own?: Certificate): ChannelCredentials =>
  credentials.createSsl(
    Buffer.from(root.cert),
    ...(own ? ([Buffer.from(own.key), Buffer.from(own.cert)] as const) : []),
  );

function clientsWith(t: TestContext, { address }: ServerProcess, creds: ChannelCredentials): Clients {
  const clients = clientsOf(address, creds);
  t.after(() => closeClients(clients));
  return clients;
}

/** One request over HTTPS on a connection of its own. */
function get(server: ServerProcess, path: string, own?: Certificate): Promise<{ status: number; body: string }> {
  const url = `${server.url.replace('http:', 'https:')}${path}`;
  return new Promise((resolve, reject) => {
    const options = { ca: ca.cert, agent: false, ...(own && { cert: own.cert, key: own.key }) };
    const request = httpsRequest(url, options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode!, body: Buffer.concat(chunks).toString() }));
    });
    request.on('error', reject);
    request.end();
  });
}

/** The health of a server by a call of gRPC, as a probe makes it. */
function health(t: TestContext, server: ServerProcess, creds: ChannelCredentials): Promise<Buffer> {
  const client = new Client(server.address, creds);
  t.after(() => client.close());
  return new Promise((resolve, reject) =>
    client.makeUnaryRequest(
      HEALTH,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      Buffer.alloc(0),
      (error, answer) => (error ? reject(error) : resolve(answer!)),
    ),
  );
}

const reasonOf = (error: ServiceError): string => detailsOf(error).reason;

/** The serial number of the certificate that a port shows. */
function shownBy(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect(
      { port, host: '127.0.0.1', ca: ca.cert, ALPNProtocols: ['h2', 'http/1.1'] },
      () => {
        resolve(socket.getPeerX509Certificate()!.serialNumber);
        socket.destroy();
      },
    );
    socket.on('error', reject);
  });
}

const portOf = (address: string): number => Number(address.split(':').at(-1));

test('with TLS both ports are served to clients that trust the authority, and to nobody else', async (t) => {
  const server = await startTls(t, await ca.issue('server'));
  const registry = clientsWith(t, server, trusting(ca)).registry;
  await call(registry, 'register', PAY);
  assert.match((await get(server, '/v1/services/pay')).body, /"10\.0\.0\.1"/);
  const wrong = clientsWith(t, server, trusting(stranger)).registry;
  assert.equal((await failure(call(wrong, 'discover', DISCOVER_PAY))).code, 14);
  await assert.rejects(call(server.registry, 'discover', DISCOVER_PAY), 'a client without TLS');
  for (const port of [portOf(server.address), portOf(server.url)]) {
    await new Promise<void>((resolve) => {
      const socket = connectPlain(port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n'));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve());
      socket.resume();
    });
  }
  assert.equal((await get(server, '/livez')).status, 200);
  const watch = clientsWith(t, server, trusting(ca)).config.watchConfig(WatchConfigRequest.fromPartial({ all: true }));
  await new Promise((resolve) => watch.once('data', resolve));
  watch.on('error', () => undefined);
  watch.cancel();
});

test('A2: a certificate that is required, or cannot be verified, is refused by the call; probes and health checks are answered', async (t) => {
  const [own, mine] = [await ca.issue('server'), await ca.issue('mine')];
  const expired = await ca.issue('expired', { validMs: -1 });
  const forServers = await ca.issue('for-servers', { usages: ['server'] });
  const revoked = await ca.issue('revoked');
  const crl = join(temporaryFolder(), 'crl.pem');
  writeFileSync(crl, await ca.revoke(revoked));
  for (const mode of ['required', 'optional']) {
    const server = await startTls(t, own, ...clientFiles(mode, ['--tls-crl', crl]));
    const list = (creds: ChannelCredentials): Promise<unknown> =>
      call(clientsWith(t, server, creds).registry, 'listServices', ListServicesRequest.fromPartial({}));
    const watch = (creds: ChannelCredentials): Promise<ServiceError | 'served'> =>
      new Promise((resolve) => {
        const stream = clientsWith(t, server, creds).config.watchConfig(WatchConfigRequest.fromPartial({ all: true }));
        stream.on('data', () => (resolve('served'), stream.cancel()));
        stream.on('error', (error: ServiceError) => resolve(error));
      });
    await list(trusting(ca, mine));
    assert.equal(await watch(trusting(ca, mine)), 'served');
    assert.equal((await get(server, '/v1/services', mine)).status, 200);
    for (const wrong of [await stranger.issue('foreign'), expired, forServers, revoked]) {
      const error = await failure(list(trusting(ca, wrong)));
      assert.deepEqual([error.code, reasonOf(error)], [16, 'CERTIFICATE_UNTRUSTED']);
      const ended = await watch(trusting(ca, wrong));
      assert.ok(ended !== 'served');
      assert.equal(reasonOf(ended), 'CERTIFICATE_UNTRUSTED');
      const answer = await get(server, '/v1/services', wrong);
      assert.deepEqual([answer.status, /CERTIFICATE_UNTRUSTED/.test(answer.body)], [401, true]);
    }
    if (mode === 'required') {
      assert.equal(reasonOf(await failure(list(trusting(ca)))), 'CERTIFICATE_REQUIRED');
      assert.match((await get(server, '/v1/services')).body, /CERTIFICATE_REQUIRED/);
    } else {
      await list(trusting(ca));
    }
    for (const path of ['/livez', '/readyz', '/version']) assert.equal((await get(server, path)).status, 200, path);
    await health(t, server, trusting(ca));
  }
});

test('A3: a pair that is renewed is shown by both ports under load with tokens, and no call fails; one that does not fit changes nothing', async (t) => {
  const pair = await ca.issue('server');
  const caller = callerWith('services', '{ role: service, namespaces: ["*"], services: ["*"] }');
  const server = await startTls(t, pair, '--access', accessFile([caller]));
  const { registry } = clientsWith(t, server, withToken(ca, caller.token));
  await call(registry, 'register', PAY);
  let calls = 0;
  let over = false;
  const one = async (on: Clients['registry']): Promise<void> => {
    await call(on, 'discover', DISCOVER_PAY);
    calls++;
  };
  const onOpenConnection = async (): Promise<void> => {
    while (!over) await one(registry);
  };
  const onNewConnections = async (): Promise<void> => {
    while (!over) {
      const clients = clientsOf(server.address, withToken(ca, caller.token));
      await one(clients.registry).finally(() => closeClients(clients));
    }
  };
  const load = Promise.all([onOpenConnection(), onOpenConnection(), onNewConnections()]);
  const ports = [portOf(server.address), portOf(server.url)];
  const shown = (): Promise<string[]> => Promise.all(ports.map(shownBy));
  const [before] = await shown();
  const reload = async (): Promise<void> => {
    const seen = server.log.length;
    server.process.kill('SIGHUP');
    await eventually(() => server.log.slice(seen).some((line) => /the settings were read again/.test(line)));
  };
  const renewed = await ca.issue('server');
  writeFileSync(pair.certFile, renewed.cert);
  await reload();
  await eventually(() => server.log.some((line) => /TLS_NOT_RELOADED/.test(line)), RELOADED_MS);
  assert.deepEqual(await shown(), [before, before]);
  writeFileSync(pair.keyFile, renewed.key);
  await reload();
  await eventually(async () => (await shown()).every((serial) => serial !== before), RELOADED_MS);
  await eventually(() => server.log.some((line) => /alarm cleared.*must be the private key/.test(line)), RELOADED_MS);
  const made = calls;
  await eventually(() => calls > made + 100);
  over = true;
  await load;
});

test('GetStatus and /metrics tell when a certificate ends', async (t) => {
  const server = await startTls(t, await ca.issue('server', { validMs: 3_600_000 }));
  const { alarms } = await call<{ alarms: { name: string }[] }>(
    clientsWith(t, server, trusting(ca)).admin,
    'getStatus',
    GetStatusRequest.fromPartial({}),
  );
  assert.deepEqual(
    alarms.map(({ name }) => name),
    ['CERTIFICATE_EXPIRES'],
  );
  const [, end] = /^rollcall_certificate_not_after_seconds\{use="server"\} (\d+)/m.exec(
    (await get(server, '/metrics')).body,
  )!;
  assert.ok(Math.abs(Number(end) - Date.now() / 1_000 - 3_600) < 60);
});

test('certificates for trying out work as the command says, and are never written over others', async (t) => {
  const folder = join(temporaryFolder(), 'certs');
  const made = runProgram('certs', 'demo', folder);
  assert.equal(made.status, 0, made.stderr);
  assert.deepEqual(readdirSync(folder).sort(), [
    'ca.crt',
    'ca.key',
    'client.crt',
    'client.key',
    'server.crt',
    'server.key',
  ]);
  assert.equal(statSync(join(folder, 'server.key')).mode & 0o077, 0);
  const command = made.stdout.split('\n').find((line) => line.includes('rollcall serve'))!;
  const args = command.trim().split(' ').slice(2);
  const server = await startWith(t, ['--data-dir', temporaryFolder(), ...args], []);
  const curl = made.stdout
    .split('\n')
    .find((line) => line.includes('curl --cacert'))!
    .trim();
  const words = curl
    .replace('https://localhost:7401', server.url.replace('http://127.0.0.1', 'https://localhost'))
    .split(' ');
  const answer = spawnSync(words[0]!, ['-sS', ...words.slice(1)], { encoding: 'utf8' });
  assert.match(answer.stdout, /^\{"revision":/, answer.stderr);
  const again = runProgram('certs', 'demo', folder);
  assert.equal(again.status, 1);
  assert.match(again.stderr, /ca\.crt exists; choose another folder/);
  assert.match(readFileSync(join(folder, 'ca.crt'), 'utf8'), /BEGIN CERTIFICATE/);
  assert.equal(runProgram('certs', 'demo').status, 2);
});

test('certificates for trying out have the names that are asked for, and no others', () => {
  const folder = join(temporaryFolder(), 'certs');
  const names = ['*.peers.example.org', 'rollcall.example.org', '10.0.0.11', 'fd00::11'];
  const made = runProgram('certs', 'demo', folder, ...names.flatMap((name) => ['--name', name]));
  assert.equal(made.status, 0, made.stderr);
  const { subjectAltName } = new X509Certificate(readFileSync(join(folder, 'server.crt')));
  const found = subjectAltName!.split(', ');
  for (const name of ['DNS:*.peers.example.org', 'DNS:rollcall.example.org', 'IP Address:10.0.0.11', 'DNS:localhost'])
    assert.ok(found.includes(name), `${name} in ${subjectAltName}`);
  assert.equal(found.filter((name) => /^IP Address:FD00:0:0:0:0:0:0:11$/i.test(name)).length, 1, subjectAltName);
  for (const wrong of ['a b', '*', 'a.*.b', '-a', '', 'a..b', 'x'.repeat(254)]) {
    const refused = runProgram('certs', 'demo', join(temporaryFolder(), 'certs'), '--name', wrong);
    assert.equal(refused.status, 1, wrong);
    assert.match(refused.stderr, /is neither a host name, such as \*\.example\.org, nor an IP address/);
  }
});
