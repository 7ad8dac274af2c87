import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { HealthCheck, ProbeOutcome } from '../../src/gen/rollcall/v1/check.js';
import { Health, HealthReason, Liveness } from '../../src/gen/rollcall/v1/instance.js';
import { GroundKind } from '../../src/gen/rollcall/v1/admin_service.js';
import { TransitionKind } from '../../src/gen/rollcall/v1/transition.js';
import { Authority } from '../../src/tls/authority.js';
import { DAY_MS } from '../../src/model/time.js';
import { CommandLine } from '../support/cli.js';
import { discover, getCheckResults, getInstance, register, releaseChecks, why } from '../support/client.js';
import { freePorts } from '../support/etcd.js';
import { detailsOf, eventually, failure, type ServerProcess, startServer, temporaryFolder } from '../support/server.js';

const INTERVAL = { seconds: 2n, nanos: 0 };

/** Listens on a free port of this machine, until the test is over. */
async function listening(t: TestContext, server: net.Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A server that does with each connection what a test says. */
const raw = (t: TestContext, handle: (socket: net.Socket) => void): Promise<number> =>
  listening(
    t,
    net.createServer((socket) => {
      socket.on('error', () => undefined);
      handle(socket);
    }),
  );

type Probe = NonNullable<HealthCheck['probe']>['$case'];

const registered = (
  server: ServerProcess,
  id: string,
  port: number,
  $case: Probe,
  value: object = {},
  more: object = {},
): ReturnType<typeof register> => {
  const check = HealthCheck.fromPartial({
    ...{ probe: { $case, value }, interval: INTERVAL },
    ...{ timeout: { seconds: 0n, nanos: 700_000_000 } },
    ...more,
  });
  const instance = {
    service: 'pay',
    id,
    address: '127.0.0.1',
    port,
    liveness: Liveness.LIVENESS_STATIC,
    checks: [check],
  };
  return register(server, { instance, incarnation: 'a' });
};

const state = async (server: ServerProcess, id: string): Promise<string> => {
  const { instance } = await getInstance(server, { service: 'pay', id });
  return `${Health[instance!.health]} ${HealthReason[instance!.healthReason]}`
    .replace('HEALTH_REASON_', '')
    .replace('HEALTH_', '');
};

const untilState = (server: ServerProcess, id: string, wanted: string): Promise<unknown> =>
  eventually(async () => (await state(server, id)) === wanted, 20_000);

/** The newest result of the only check of an instance, once there is one. */
const newest = (server: ServerProcess, id: string) =>
  eventually(async () => {
    const { checks } = await getCheckResults(server, { service: 'pay', id });
    return checks[0]?.results[0];
  });

test('a database with a TCP check and a service with an HTTP check behave as documented, over a restart too', async (t) => {
  const folder = temporaryFolder();
  const first = await startServer(t, folder);
  let status = 200;
  const seen: (string | undefined)[] = [];
  const web = http.createServer((request, response) => {
    seen.push(request.headers['user-agent'], request.url, request.headers.host);
    response.writeHead(status).end('secret body');
  });
  const webPort = await listening(t, web);
  const db = net.createServer((socket) => socket.on('error', () => undefined));
  const dbPort = await listening(t, db);
  await registered(first, 'web', webPort, 'http', { path: '/health?deep=1', host: 'pay.example' });
  await registered(first, 'db', dbPort, 'tcp');
  for (const id of ['web', 'db']) await untilState(first, id, 'HEALTHY UNSPECIFIED');
  assert.match(seen[0]!, /^rollcall-check\/\d/);
  assert.deepEqual(seen.slice(1, 3), ['/health?deep=1', 'pay.example']);
  status = 503;
  db.close();
  for (const id of ['web', 'db']) await untilState(first, id, 'UNHEALTHY CHECK_FAILED');
  const { instances, hiddenCount } = await discover(first, { service: 'pay' });
  assert.deepEqual([instances.length, hiddenCount], [0, 2]);
  const { instance, checkSummary, checks } = await getInstance(first, { service: 'pay', id: 'web' });
  assert.deepEqual([instance!.healthNote, checkSummary!.error], ['status 503', 'status 503']);
  assert.equal(checks[0]!.results[0]!.outcome, ProbeOutcome.PROBE_OUTCOME_FAIL);
  const reason = await why(first, { service: 'pay', id: 'db' });
  assert.equal(reason.grounds[0]!.kind, GroundKind.GROUND_KIND_CHECK_FAILED);
  assert.match(
    reason.grounds[0]!.text,
    /its check failed \(check tcp: ECONNREFUSED\); decided by .*did not get it to pass/,
  );
  assert.deepEqual(
    reason.transitions.map(({ kind }) => TransitionKind[kind].replace('TRANSITION_KIND_', '')),
    ['CHECK_FAILED', 'CHECK_PASSED', 'REGISTERED'],
  );
  await first.kill();
  const second = await startServer(t, folder);
  assert.equal(await state(second, 'web'), 'UNHEALTHY CHECK_FAILED');
  status = 200;
  await untilState(second, 'web', 'HEALTHY UNSPECIFIED');
  assert.equal(await state(second, 'db'), 'UNHEALTHY CHECK_FAILED');
});

test('gRPC health and TLS: what serves passes, what does not fails with a text of its own', async (t) => {
  const server = await startServer(t);
  const health = new HealthImplementation({ '': 'SERVING', 'pay.v1.Pay': 'NOT_SERVING' });
  const grpc = new Server();
  health.addToServer(grpc);
  const grpcPort = await new Promise<number>((resolve, reject) =>
    grpc.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    ),
  );
  t.after(() => grpc.forceShutdown());
  const authority = await Authority.create('tests', 10 * DAY_MS);
  const alternatives = [{ type: 'dns', value: 'pay.example' }] as const;
  const pair = await authority.issue({ name: 'pay.example', alternatives, validMs: 10 * DAY_MS });
  const secure = https.createServer({ cert: pair.cert, key: pair.key }, (_, response) => response.end());
  const securePort = await listening(t, secure);
  await registered(server, 'serving', grpcPort, 'grpc');
  await registered(server, 'not-serving', grpcPort, 'grpc', { service: 'pay.v1.Pay' });
  await registered(server, 'unknown', grpcPort, 'grpc', { service: 'other' });
  await registered(server, 'no-grpc', securePort, 'grpc');
  await registered(server, 'secure', securePort, 'http', {}, { tls: { serverName: 'pay.example' } });
  await registered(server, 'verified', securePort, 'http', {}, { tls: { serverName: 'pay.example', verify: true } });
  await registered(
    server,
    'ends-soon',
    securePort,
    'http',
    {},
    {
      tls: { minValidity: { seconds: 90n * 86_400n, nanos: 0 } },
      unhealthyThreshold: 1,
    },
  );
  await registered(server, 'plain', securePort, 'http');
  for (const id of ['serving', 'secure']) await untilState(server, id, 'HEALTHY UNSPECIFIED');
  const errors: Record<string, RegExp> = {
    'not-serving': /^NOT_SERVING$/,
    unknown: /^NOT_FOUND: the server does not know that service$/,
    verified: /^(UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT_LOCALLY)$/,
  };
  for (const [id, error] of Object.entries(errors)) {
    const result = await newest(server, id);
    assert.equal(result.outcome, ProbeOutcome.PROBE_OUTCOME_FAIL, id);
    assert.match(result.error, error, id);
  }
  for (const id of ['no-grpc', 'plain'])
    assert.equal((await newest(server, id)).outcome, ProbeOutcome.PROBE_OUTCOME_FAIL, id);
  await untilState(server, 'ends-soon', 'DEGRADED CHECK_DEGRADED');
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  const metric = (name: string): number =>
    Number(
      metrics
        .split('\n')
        .find((line) => line.startsWith(name))!
        .split(' ')[1],
    );
  const endsInMs = metric('rollcall_check_certificate_expiry_timestamp_seconds ') * 1_000 - Date.now();
  assert.ok(endsInMs > 9 * DAY_MS && endsInMs < 10 * DAY_MS, `${endsInMs} ms`);
  for (const labels of ['kind="https",outcome="pass"', 'kind="grpc",outcome="fail"', 'kind="http",outcome="fail"'])
    assert.ok(metric(`rollcall_check_probe_duration_seconds_count{${labels}}`) > 0, labels);
});

test('K10: hostile targets do no harm: silent, dripping, endless, redirecting, and of another protocol', async (t) => {
  const server = await startServer(t);
  let redirected = 0;
  const elsewhere = await raw(t, (socket) => {
    redirected++;
    socket.destroy();
  });
  const targets: Record<string, { readonly port: number; readonly error: RegExp }> = {
    silent: { port: await raw(t, () => undefined), error: /^TIMEOUT$/ },
    dripping: {
      port: await raw(t, (socket) => {
        const timer = setInterval(() => socket.write('H'), 50);
        socket.on('close', () => clearInterval(timer));
      }),
      error: /^(TIMEOUT|HPE_\w+)$/,
    },
    banner: { port: await raw(t, (socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n')), error: /^HPE_\w+$/ },
    headers: {
      port: await raw(t, (socket) => socket.write(`HTTP/1.1 200 OK\r\nx: ${'a'.repeat(40_000)}\r\n`)),
      error: /^HPE_HEADER_OVERFLOW$/,
    },
    redirecting: {
      port: await raw(t, (socket) =>
        socket.end(`HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:${elsewhere}/\r\nContent-Length: 0\r\n\r\n`),
      ),
      error: /^status 302$/,
    },
    closing: { port: await raw(t, (socket) => socket.destroy()), error: /^(ECONNRESET|CLOSED|EPIPE)$/ },
    refused: { port: (await freePorts(1))[0]!, error: /^ECONNREFUSED$/ },
  };
  const endless = await raw(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    const timer = setInterval(() => socket.write('x'.repeat(1_000)), 5);
    socket.on('close', () => clearInterval(timer));
  });
  for (const [id, { port }] of Object.entries(targets)) await registered(server, id, port, 'http');
  await registered(server, 'endless', endless, 'http');
  for (const [id, { error }] of Object.entries(targets)) {
    const { outcome, error: found, latency } = await newest(server, id);
    assert.equal(outcome, ProbeOutcome.PROBE_OUTCOME_FAIL, id);
    assert.match(found, error, id);
    assert.ok(latency!.seconds < 1n + 1n, `${id} took ${latency!.seconds} s`);
  }
  await untilState(server, 'endless', 'HEALTHY UNSPECIFIED');
  // A body that drips for ever costs no connection for longer than a moment.
  const open = new Set<net.Socket>();
  let most = 0;
  const drips = await raw(t, (socket) => {
    open.add(socket);
    most = Math.max(most, open.size);
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    const timer = setInterval(() => socket.write('x'), 50);
    socket.on('close', () => {
      open.delete(socket);
      clearInterval(timer);
    });
  });
  await registered(server, 'drips', drips, 'http');
  await untilState(server, 'drips', 'HEALTHY UNSPECIFIED');
  await eventually(async () => {
    const { checks } = await getCheckResults(server, { service: 'pay', id: 'drips' });
    return checks[0]!.results.length >= 4;
  }, 20_000);
  assert.ok(most <= 2, `${most} connections at once`);
  assert.equal(redirected, 0, 'no redirect is followed');
});

test('a TCP check closes its connections properly: a program that expects no reset does not die of one', async (t) => {
  const server = await startServer(t);
  const errors: Error[] = [];
  let closed = 0;
  const db = net.createServer((socket) => {
    socket.on('error', (error) => errors.push(error));
    socket.on('close', () => closed++);
    socket.resume();
  });
  const port = await listening(t, db);
  await registered(server, 'db', port, 'tcp');
  await eventually(() => closed >= 3, 20_000);
  assert.deepEqual(errors, []);
});

/** A target in a process of its own, that answers each request after a while. */
const SLOW_TARGET = `
  const answer = (socket) => setTimeout(() => socket.end('HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n'), 300);
  const server = require('net').createServer((socket) => socket.on('error', () => {}).once('data', () => answer(socket)));
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
`;

test('K3: when the machine stops and goes on, again and again, no probe of a target that lives has failed', async (t) => {
  const server = await startServer(t);
  const target = spawn(process.execPath, ['-e', SLOW_TARGET], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => target.kill('SIGKILL'));
  const [line] = (await once(target.stdout, 'data')) as [Buffer];
  const ids = ['s1', 's2', 's3', 's4', 's5', 's6'];
  for (const id of ids) await registered(server, id, Number(line.toString()), 'http', { path: '/' });
  for (const id of ids) await untilState(server, id, 'HEALTHY UNSPECIFIED');
  const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  for (let stops = 0; stops < 8; stops++) {
    for (const one of [target, server.process]) one.kill('SIGSTOP');
    await wait(900); // longer than the timeout of the checks
    server.process.kill('SIGCONT');
    await wait(60); // and more than a tick of its clock later
    target.kill('SIGCONT');
    await wait(300);
  }
  const outcomes = new Set<ProbeOutcome>();
  for (const id of ids) {
    const { checks } = await getCheckResults(server, { service: 'pay', id });
    for (const { outcome } of checks[0]!.results) outcomes.add(outcome);
    assert.equal(await state(server, id), 'HEALTHY UNSPECIFIED');
  }
  assert.deepEqual([...outcomes], [ProbeOutcome.PROBE_OUTCOME_PASS]);
});

test('K9: the ports of the server itself, and addresses that the settings do not name, get no packet', async (t) => {
  const server = await startServer(t);
  const [, grpcPort] = server.address.split(':');
  const { warnings } = await registered(server, 'self', Number(grpcPort), 'tcp');
  assert.deepEqual(warnings, [`check "tcp" of 127.0.0.1:${grpcPort}: this is a port of the servers or of their store`]);
  const { outcome, error } = await newest(server, 'self');
  assert.deepEqual(
    [outcome, error],
    [ProbeOutcome.PROBE_OUTCOME_DENIED, 'this is a port of the servers or of their store'],
  );
  assert.equal(await state(server, 'self'), 'UNHEALTHY CHECK_PENDING');
  await eventually(() => server.log.some((line) => line.includes('CHECK_TARGETS_DENIED')));
  const off = await startServer(t, temporaryFolder(), [], '--checks', 'off');
  await registered(off, 'web', 18_080, 'http');
  assert.equal(await state(off, 'web'), 'UNHEALTHY CHECK_PENDING', 'no setting changes how it is shown');
});

test('checks that break a rule are refused, each by its field', async (t) => {
  const server = await startServer(t);
  const refused = async (check: object, endpoints: readonly object[] = [], port = 80): Promise<string[]> => {
    const instance = {
      service: 'pay',
      id: 'p1',
      address: '10.0.0.1',
      port,
      endpoints: [...endpoints],
      checks: [check],
    };
    const { fields } = detailsOf(await failure(register(server, { instance })));
    return fields.map((field) => field.replace('instance.checks[0].', ''));
  };
  const tcp = { probe: { $case: 'tcp', value: {} } };
  const httpWith = (value: object): object => ({ probe: { $case: 'http', value } });
  const s = (seconds: number): object => ({ seconds: BigInt(seconds), nanos: 0 });
  assert.deepEqual(await refused({}), ['probe']);
  assert.deepEqual(await refused({ ...tcp, interval: s(1) }), ['interval']);
  assert.deepEqual(await refused({ ...tcp, interval: s(2), timeout: s(3) }), ['timeout']);
  assert.deepEqual(await refused({ ...tcp, unhealthyThreshold: 11, healthyThreshold: -1 }), [
    'unhealthy_threshold',
    'healthy_threshold',
  ]);
  assert.deepEqual(await refused({ ...tcp, interval: s(60), deregisterAfter: s(60) }), ['deregister_after']);
  assert.deepEqual(await refused({ ...tcp, endpoint: 'metrics' }), ['endpoint']);
  assert.deepEqual(await refused(tcp, [], 0), ['endpoint']);
  assert.deepEqual(await refused(httpWith({ path: 'http://169.254.169.254/' })), ['http.path']);
  assert.deepEqual(await refused(httpWith({ path: '/a b' })), ['http.path']);
  assert.deepEqual(await refused(httpWith({ path: '/a#b' })), ['http.path']);
  for (const host of ['a/b', 'a:0', 'a.example:99999', '[::1]:99999'])
    assert.deepEqual(await refused(httpWith({ host })), ['http.host'], host);
  for (const name of ['X-Api-Key', 'X-Auth-Token', 'X-aliyun-ecs-metadata-token', 'User-Agent'])
    assert.deepEqual(await refused(httpWith({ headers: new Map([[name, 'x']]) })), [`http.headers["${name}"]`]);
  const twice = new Map([
    ['X-A', 'a'],
    ['x-a', 'b'],
  ]);
  assert.deepEqual(await refused(httpWith({ headers: twice })), ['http.headers["x-a"]']);
  for (const from of [100, 102, 199])
    assert.deepEqual(await refused(httpWith({ healthyStatuses: [{ from, to: 0 }] })), [
      'http.healthy_statuses[0].from',
    ]);
  assert.deepEqual(await refused(httpWith({ headers: new Map([['Metadata-Flavor', 'Google']]) })), [
    'http.headers["Metadata-Flavor"]',
  ]);
  assert.deepEqual(await refused(httpWith({ healthyStatuses: [{ from: 99, to: 0 }] })), [
    'http.healthy_statuses[0].from',
  ]);
  const everywhere = { service: 'pay', id: 'p1', comment: 'x', allServices: true };
  assert.deepEqual(detailsOf(await failure(releaseChecks(server, everywhere))).fields, ['service', 'id']);
  assert.deepEqual(detailsOf(await failure(releaseChecks(server, { id: 'p1', comment: 'x' }))).fields, ['service']);
  const both = { service: 'pay', id: 'p1', address: '10.0.0.1', port: 1, checks: [{ http: {}, tcp: {} }] };
  const answer = await fetch(`${server.url}/rollcall.v1.RegistryService/Register`, {
    ...{ method: 'POST', headers: { 'content-type': 'application/json' } },
    body: JSON.stringify({ instance: both }),
  });
  assert.match(await answer.text(), /instance\.checks\[0\]\.(tcp|http).*must not be set beside (http|tcp)/);
});

test('the command line defines, shows and releases checks', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  const port = await raw(t, (socket) => socket.end('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n'));
  const place = ['--static', '--address', '127.0.0.1', '--port', String(port)];
  await cli.ok(['register', 'db', '--id', 'd1', ...place, '--check-tcp', '--check-interval', '2s']);
  await cli.ok(['register', 'web', '--id', 'w1', ...place]);
  await cli.ok(['checks', 'set', 'web', '--check-http', '/', '--check-interval', '2s', '--comment', 'all of them']);
  await cli.ok(['register', 'web', '--id', 'w2', ...place]);
  await eventually(async () => /w2 .*UNHEALTHY, check pending/.test(await cli.ok(['instances', 'web'])));
  await eventually(
    async () => /w1 +UNHEALTHY, check failed .*status 500/.test(await cli.ok(['checks', 'show', 'web'])),
    20_000,
  );
  assert.match(
    await cli.ok(['checks', 'show', 'web/w1']),
    /web\/w1 {2}failed \(http: status 500\)\n.*\n.*http, by .* fail +\d+ ms +status 500/,
  );
  assert.match(await cli.ok(['why', 'db/d1']), /SHOWN: HEALTHY/);
  assert.match(
    await cli.ok(['checks', 'release', 'web', '--comment', 'a wrong path']),
    /^2 instances are taken for passing/,
  );
  assert.equal((await discover(server, { service: 'web' })).instances.length, 2);
  assert.match(await cli.ok(['checks', 'show', 'web/w1']), /^web\/w1 {2}passing \(released: a wrong path\)\n/);
  assert.match(await cli.ok(['events', 'web/w1']), /checks released.*a wrong path\n.*check failed .*http: status 500/);
  // Of one instance, of all services, and of neither.
  await eventually(async () => /w1 +UNHEALTHY, check failed/.test(await cli.ok(['checks', 'show', 'web'])), 20_000);
  const all = await cli.ok(['checks', 'release', '--all', '--comment', 'a wrong path']);
  assert.match(all, /^[12] instances? (is|are) taken for passing/);
  for (const wrong of [[], ['web', '--all']]) {
    const { code } = await cli.run(['checks', 'release', ...wrong, '--comment', 'x']);
    assert.equal(code, 2, wrong.join(' '));
  }
  await cli.ok(['checks', 'clear', 'web', '--comment', 'the path is mended']);
  assert.match(
    await cli.ok(['events', 'web']),
    /service checks ended.*the path is mended\n[^]*service checks set.*all of them\n/,
  );
  const { summary } = await getCheckResults(server, { service: 'web', id: 'w1' });
  assert.equal(summary, undefined);
  const both = await cli.run(['checks', 'set', 'web', '--check-tcp', '--check-http', '/']);
  assert.equal(both.code, 2);
});
