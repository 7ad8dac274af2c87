import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Instance, ReportedState } from '../../src/gen/rollcall/v1/instance.js';
import { CommandLine, type RunningCommand } from '../support/cli.js';
import { deregister, listInstances, register } from '../support/client.js';
import { eventually, type ServerProcess, startServer } from '../support/server.js';

const FIXTURES = fileURLToPath(new URL('../fixtures/consul/', import.meta.url));
const recorded = (name: string): unknown => JSON.parse(readFileSync(join(FIXTURES, `${name}.json`), 'utf8'));

/** A registry over HTTP that answers as a test says. */
class Answering {
  /** The answers by path; one that is `undefined` is status 500. */
  readonly answers = new Map<string, unknown>();
  isSilent = false;
  /** Writes an answer by itself, in place of those in `answers`. */
  writes: ((response: http.ServerResponse) => void) | undefined;
  url = '';
  requests = 0;

  static async start(t: TestContext): Promise<Answering> {
    const answering = new Answering();
    const server = http.createServer(({ url }, response) => {
      answering.requests++;
      if (answering.isSilent) return void response.socket!.destroy();
      if (answering.writes) return answering.writes(response);
      const answer = answering.answers.get(decodeURIComponent(url!));
      if (answer === undefined) return void response.writeHead(500).end();
      response.end(JSON.stringify(answer));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => (server.closeAllConnections(), server.close()));
    answering.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return answering;
  }

  /** Waits until so many more requests have come. */
  async asked(count: number): Promise<void> {
    const from = this.requests;
    await eventually(() => this.requests >= from + count, 20_000);
  }
}

/** The answers of a real Consul 1.14. */
async function consul(t: TestContext): Promise<Answering> {
  const answering = await Answering.start(t);
  answering.answers.set('/v1/catalog/services', recorded('catalog-services'));
  answering.answers.set('/v1/health/service/pay', recorded('health-pay'));
  answering.answers.set('/v1/health/service/My DB (main)', recorded('health-mydb'));
  answering.answers.set('/v1/health/service/no_checks', recorded('health-nochecks'));
  return answering;
}

interface ConsulEntry {
  Service: { CreateIndex: number; ID: string };
  Checks: { CheckID: string; Status: string; Output: string }[];
}

const allOf = async (server: ServerProcess, namespace: string): Promise<readonly Instance[]> =>
  (await listInstances(server, { namespace })).instances;
const namesOf = async (server: ServerProcess, namespace: string): Promise<string[]> =>
  (await allOf(server, namespace)).map(({ service, id }) => `${service}/${id}`);
const find = async (server: ServerProcess, namespace: string, name: string): Promise<Instance> =>
  (await allOf(server, namespace)).find(({ service, id }) => `${service}/${id}` === name)!;

async function bridge(
  cli: CommandLine,
  kind: string,
  url: string,
  ...flags: readonly string[]
): Promise<RunningCommand> {
  const running = cli.start(['bridge', kind, url, '-n', kind, '--every', '1s', ...flags]);
  await eventually(() => running.printed.stdout.includes('is mirrored into namespace'), 20_000);
  return running;
}

/** Ends a bridge as Ctrl-C does, and returns its exit code. */
async function end({ process, ended }: RunningCommand): Promise<number | null> {
  process.kill('SIGINT');
  return (await ended).code;
}

test('a bridge mirrors Consul: names, addresses, states, and nothing else of its own', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  const source = await consul(t);
  const preview = await cli.run(['bridge', 'consul', source.url, '-n', 'consul', '--dry-run']);
  assert.equal(preview.code, 0, preview.stderr);
  assert.match(preview.stdout, /pay\/n1:pay-1 +127\.0\.0\.11:8080 +healthy/);
  assert.match(preview.stdout, /5 instances, 2 remarks; nothing was registered/);
  assert.match(preview.stdout, /pay\/n1:pay-2 +127\.0\.0\.12:8080 +draining/, 'it is in maintenance');
  assert.match(
    preview.stdout,
    /pay\/n1:pay-3-odd-id +127\.0\.0\.1:8080 +unhealthy/,
    'its check is critical, and its agent has the address',
  );
  assert.match(preview.stderr, /My DB \(main\)\/n1:db: is named My-DB-main\/n1:db/);
  assert.deepEqual(await namesOf(server, 'consul'), []);

  const running = await bridge(cli, 'consul', source.url);
  await eventually(async () => (await namesOf(server, 'consul')).length === 5);
  const pay = await find(server, 'consul', 'pay/n1:pay-1');
  assert.deepEqual(
    [pay.address, pay.port, pay.tags, pay.version, pay.locality?.zone, pay.weight, pay.reported?.state],
    ['127.0.0.11', 8080, ['blue', 'v2'], '1.2.3', 'a', 10, ReportedState.REPORTED_STATE_HEALTHY],
  );
  assert.deepEqual(Object.fromEntries(pay.metadata), { 'rollcall-bridge': 'consul' });
  assert.equal(pay.ttl?.seconds, 120n);
  const db = await find(server, 'consul', 'My-DB-main/n1:db');
  assert.deepEqual([db.address, db.metadata.get('rollcall-bridge-service')], ['db.internal', 'My DB (main)']);

  // Its checks fail, and it is taken out.
  const entries = recorded('health-pay') as ConsulEntry[];
  for (const [change, state] of [
    [{ Status: 'critical', Output: 'refused' }, ReportedState.REPORTED_STATE_UNHEALTHY],
    [{ Status: 'warning', Output: 'slow' }, ReportedState.REPORTED_STATE_DEGRADED],
    [{ Status: 'critical', CheckID: '_node_maintenance' }, ReportedState.REPORTED_STATE_DRAINING],
  ] as const) {
    const changed = structuredClone(entries);
    Object.assign(changed[0]!.Checks[0]!, change);
    source.answers.set('/v1/health/service/pay', changed);
    await eventually(async () => (await find(server, 'consul', 'pay/n1:pay-1')).reported?.state === state, 20_000);
  }
  assert.equal(await end(running), 0);
  assert.equal((await namesOf(server, 'consul')).length, 5, 'nothing is removed at its end');
});

test('a registry that does not answer, or with nothing of what it had, changes nothing; two answers without one remove it', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  const source = await consul(t);
  const running = await bridge(cli, 'consul', source.url, '--metrics-port', '0');
  await eventually(async () => (await namesOf(server, 'consul')).length === 5);
  const [, url] = /metrics: (http\S+)/.exec(running.printed.stdout)!;
  const metric = async (name: string): Promise<number> =>
    Number(new RegExp(`^rollcall_bridge_${name} (\\S+)`, 'm').exec(await (await fetch(url!)).text())![1]);
  const before = await allOf(server, 'consul');

  source.isSilent = true;
  await source.asked(4);
  assert.ok((await metric('failed_reads')) >= 3);
  assert.ok((await metric('stale_seconds')) >= 2);
  source.isSilent = false;
  source.answers.set('/v1/catalog/services', {});
  await source.asked(4);
  assert.deepEqual(await allOf(server, 'consul'), before);
  assert.match(
    running.printed.stderr,
    /consul answered with none of the 5 instances that it had; everything is kept as it was/,
  );

  source.answers.set('/v1/catalog/services', recorded('catalog-services'));
  source.answers.set('/v1/health/service/pay', []);
  await eventually(async () => (await namesOf(server, 'consul')).length === 2, 20_000);
  assert.match(running.printed.stderr, /pay\/n1:pay-1: removed; the registry has it no longer/);
  assert.equal(await metric('removals'), 3);
  assert.ok((await metric('stale_seconds')) < 5);
  // What it removed itself may come back as the same registration.
  source.answers.set('/v1/health/service/pay', recorded('health-pay'));
  await eventually(async () => (await namesOf(server, 'consul')).length === 5, 20_000);
});

test('two bridges run side by side, one that starts again changes nothing, and what is not theirs is left alone', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  const source = await consul(t);
  await register(server, {
    instance: { namespace: 'consul', service: 'no_checks', id: 'n1:nc', address: '10.0.0.1', port: 1 },
    incarnation: 'own',
  });
  const taken = (recorded('health-nochecks') as ConsulEntry[]).map((entry) => ({
    ...entry,
    Service: { ...entry.Service, ID: 'nc' },
  }));
  source.answers.set('/v1/health/service/no_checks', taken);
  const first = await bridge(cli, 'consul', source.url);
  await eventually(async () => (await namesOf(server, 'consul')).length === 5);
  await eventually(() =>
    first.printed.stderr.includes('no_checks/n1:nc: left alone; an instance that this bridge did not register'),
  );
  assert.equal((await find(server, 'consul', 'no_checks/n1:nc')).incarnation, 'own');
  const revisions = async (): Promise<string[]> =>
    (await allOf(server, 'consul')).map(({ id, revision, incarnation }) => `${id} ${revision} ${incarnation}`);
  const before = await revisions();
  const second = await bridge(cli, 'consul', source.url);
  await source.asked(12);
  assert.equal(await end(first), 0);
  assert.deepEqual(await revisions(), before);
  // An operator removes one: it stays away, until it is registered again over there.
  const { incarnation } = await find(server, 'consul', 'pay/n1:pay-1');
  await deregister(server, { namespace: 'consul', service: 'pay', id: 'n1:pay-1', incarnation });
  assert.equal(await end(second), 0);
  const third = await bridge(cli, 'consul', source.url);
  await eventually(() => third.printed.stderr.includes('pay/n1:pay-1: left alone; it was deregistered here'));
  assert.equal((await namesOf(server, 'consul')).length, 4);
  const again = recorded('health-pay') as ConsulEntry[];
  again[0]!.Service.CreateIndex++;
  source.answers.set('/v1/health/service/pay', again);
  await eventually(async () => (await namesOf(server, 'consul')).length === 5, 20_000);
});

test('a bridge mirrors Eureka: every status, its ports and its zone', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  const source = await Answering.start(t);
  // Written after the documentation of Eureka's REST operations.
  const instance = (id: string, status: string, more: object = {}): object => ({
    ...{ instanceId: id, hostName: 'h1', app: 'PAY-SERVICE', ipAddr: '10.0.0.7', vipAddress: 'pay-service', status },
    port: { $: 8080, '@enabled': 'true' },
    securePort: { $: 443, '@enabled': 'false' },
    dataCenterInfo: { '@class': 'x', name: 'MyOwn' },
    leaseInfo: { registrationTimestamp: 1_700_000_000_000 },
    metadata: { '@class': 'java.util.Collections$EmptyMap' },
    ...more,
  });
  const amazon = { '@class': 'x', name: 'Amazon', metadata: { 'availability-zone': 'eu-1a' } };
  source.answers.set('/eureka/apps', {
    applications: {
      application: [
        {
          name: 'PAY-SERVICE',
          instance: [
            instance('h1:pay:8080', 'UP', { dataCenterInfo: amazon, metadata: { version: '2', team: 'pay' } }),
            instance('h2', 'OUT_OF_SERVICE', { securePort: { $: '8443', '@enabled': 'true' } }),
            instance('h3', 'STARTING'),
            instance('h4', 'DOWN'),
          ],
        },
        { name: 'ONE', instance: instance('o1', 'UP', { vipAddress: undefined }) },
      ],
    },
  });
  await bridge(cli, 'eureka', `${source.url}/eureka`);
  await eventually(async () => (await namesOf(server, 'eureka')).length === 5);
  const states = (await allOf(server, 'eureka')).map(({ service, id, reported }) => [
    `${service}/${id}`,
    reported?.state,
  ]);
  assert.deepEqual(states, [
    ['one/o1', ReportedState.REPORTED_STATE_HEALTHY],
    ['pay-service/h1:pay:8080', ReportedState.REPORTED_STATE_HEALTHY],
    ['pay-service/h2', ReportedState.REPORTED_STATE_DRAINING],
    ['pay-service/h3', ReportedState.REPORTED_STATE_STARTING],
    ['pay-service/h4', ReportedState.REPORTED_STATE_UNHEALTHY],
  ]);
  const pay = await find(server, 'eureka', 'pay-service/h1:pay:8080');
  assert.deepEqual([pay.locality?.zone, pay.version, pay.metadata.get('team')], ['eu-1a', '2', 'pay']);
  const { endpoints } = await find(server, 'eureka', 'pay-service/h2');
  assert.deepEqual(
    endpoints.map(({ name, port }) => [name, port]),
    [['https', 8443]],
  );
});

test('an answer that stalls, that never ends, or that is odd in a part holds up nothing', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  const source = await Answering.start(t);
  const apps = JSON.parse(readFileSync(join(FIXTURES, '../eureka/apps.json'), 'utf8')) as {
    applications: { application: { name: string; instance: Record<string, unknown>[] }[] };
  };
  source.answers.set('/eureka/apps', apps);
  const running = await bridge(cli, 'eureka', `${source.url}/eureka`);
  await eventually(async () => (await namesOf(server, 'eureka')).length === 4);
  const says = (text: RegExp): Promise<unknown> => eventually(() => text.test(running.printed.stderr), 30_000);

  source.writes = (response) => void response.write('{');
  await says(/did not answer: \/eureka\/apps: no answer within 10 s; everything is kept/);
  source.writes = (response) => {
    const block = Buffer.alloc(1024 * 1024, 0x20);
    const more = (): void => void response.write(block, () => response.destroyed || more());
    more();
  };
  await says(/did not answer: \/eureka\/apps: more than 67108864 bytes/);
  source.writes = undefined;

  const pay = apps.applications.application.find(({ name }) => name === 'PAY-SERVICE')!;
  pay.instance.splice(0, 1);
  pay.instance[0]!['ipAddr'] = 7;
  source.answers.set('/eureka/apps', apps);
  await says(
    /an instance of "PAY-SERVICE": it answered in another form: ipAddr: .*; it is left out, and nothing is removed/,
  );
  await source.asked(4);
  assert.equal((await namesOf(server, 'eureka')).length, 4, 'it may be any of them');

  source.writes = (response) => void response.write('{');
  await source.asked(1);
  assert.equal(await end(running), 0, 'it does not wait for the answer');
});

test('a bridge mirrors the recorded answer of a real Eureka', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  const source = await Answering.start(t);
  // Of spring-cloud-netflix-eureka-server 4.3.0.
  source.answers.set('/eureka/apps', JSON.parse(readFileSync(join(FIXTURES, '../eureka/apps.json'), 'utf8')));
  await bridge(cli, 'eureka', `${source.url}/eureka`);
  await eventually(async () => (await namesOf(server, 'eureka')).length === 4);
  const shown = (await allOf(server, 'eureka')).map(({ service, id, port, version, locality, reported }) =>
    [`${service}/${id}`, port, version, locality?.zone, ReportedState[reported!.state]].join(' '),
  );
  assert.deepEqual(shown, [
    'one/o1 8080 2.1 eu-1a REPORTED_STATE_DRAINING',
    'pay-service/h1:pay:8080 8080 2.1 eu-1a REPORTED_STATE_HEALTHY',
    'pay-service/h2:pay:8080 8080 2.1 eu-1a REPORTED_STATE_STARTING',
    'pay-service/h3-odd-pay 8080 2.1 eu-1a REPORTED_STATE_UNHEALTHY',
  ]);
});

test('a bridge that is told wrong says what is wrong', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  const source = await Answering.start(t);
  source.answers.set('/eureka/apps', { apps: [] });
  for (const [args, code, error] of [
    [['consul', 'nowhere'], 2, /"nowhere" is no URL/],
    [['consul', source.url, '--source-token-file', '/absent'], 2, /\/absent: cannot be read \(ENOENT\)/],
    [['consul', source.url, '--every', '10ms'], 2, /one whole number with one unit/],
    [['consul', source.url, '--dry-run'], 3, /consul did not answer: \/v1\/catalog\/services: status 500/],
    [['eureka', `${source.url}/eureka`, '--dry-run'], 3, /eureka did not answer/],
  ] as const) {
    const outcome = await cli.run(['bridge', ...args]);
    assert.match(outcome.stderr, error);
    assert.equal(outcome.code, code, outcome.stderr);
  }
});
