import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Instance, ReportedState } from '../../src/gen/rollcall/v1/instance.js';
import { CommandLine } from '../support/cli.js';
import { listInstances } from '../support/client.js';
import { freePorts } from '../support/etcd.js';
import { eventually, startServer } from '../support/server.js';

const SCRIPT = fileURLToPath(new URL('../../scripts/eureka.js', import.meta.url));
/** A JVM needs many seconds for its start on a busy machine. */
const START_MS = 120_000;
const CHANGE_MS = 30_000;

interface Jvm {
  readonly process: ChildProcess;
  readonly port: number;
}

let jar: string | undefined;

/** Starts the program of Spring with its settings, and waits until it listens. */
async function spring(t: TestContext, settings: Readonly<Record<string, string | number | boolean>>): Promise<Jvm> {
  jar ??= execFileSync(process.execPath, [SCRIPT], { encoding: 'utf8' }).trim();
  const args = Object.entries({ 'server.address': '127.0.0.1', ...settings }).map(
    ([name, value]) => `--${name}=${value}`,
  );
  const quick = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
  const jvm = spawn('java', [...quick, '-jar', jar, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(jvm, 'exit');
  t.after(async () => {
    jvm.kill('SIGKILL');
    await exited;
  });
  let log = '';
  jvm.stdout.on('data', (text: Buffer) => (log += text.toString()));
  const port = await Promise.race([
    eventually(() => /Tomcat started on port (\d+)/.exec(log)?.[1], START_MS),
    exited.then(() => Promise.reject(new Error(`it ended: ${log.slice(-2_000)}`))),
  ]);
  return { process: jvm, port: Number(port) };
}

/** A registry that forgets within seconds who has ended. */
const registry = (t: TestContext, port = 0): Promise<Jvm> =>
  spring(t, {
    'server.port': port,
    'eureka.client.register-with-eureka': false,
    'eureka.client.fetch-registry': false,
    'eureka.server.enable-self-preservation': false,
    'eureka.server.eviction-interval-timer-in-ms': 1_000,
    'eureka.server.response-cache-update-interval-ms': 500,
    'eureka.server.wait-time-in-ms-when-sync-empty': 0,
  });

/** A service that registers by Eureka's own client. */
const service = (t: TestContext, at: Jvm, id: string, port: number): Promise<Jvm> =>
  spring(t, {
    'server.port': port, // its client registers the port of its settings
    'spring.application.name': 'pay',
    'eureka.client.service-url.defaultZone': `http://127.0.0.1:${at.port}/eureka/`,
    'eureka.client.initial-instance-info-replication-interval-seconds': 1,
    'eureka.client.instance-info-replication-interval-seconds': 1,
    'eureka.instance.instance-id': id,
    'eureka.instance.ip-address': '127.0.0.1',
    'eureka.instance.prefer-ip-address': true,
    'eureka.instance.lease-renewal-interval-in-seconds': 1,
    'eureka.instance.lease-expiration-duration-in-seconds': 4,
    'eureka.instance.metadata-map.version': '2.1',
    'eureka.instance.metadata-map.zone': 'eu-1a',
  });

test('a bridge mirrors a real Eureka and the services of its own client', async (t) => {
  const eureka = await registry(t);
  const [one, two] = await Promise.all(
    (await freePorts(2)).map((port, at) => service(t, eureka, `pay-${at + 1}`, port)),
  );
  assert.ok(one && two);
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  const shown = async (): Promise<readonly Instance[]> =>
    (await listInstances(server, { namespace: 'from-eureka' })).instances;
  const find = async (id: string): Promise<Instance | undefined> => (await shown()).find((pay) => pay.id === id);
  const url = `http://127.0.0.1:${eureka.port}/eureka`;
  const bridge = cli.start(['bridge', 'eureka', url, '-n', 'from-eureka', '--every', '1s']);

  await t.test('they come with their addresses, versions and zones', async () => {
    await eventually(async () => {
      const all = await shown();
      return all.length === 2 && all.every((pay) => pay.reported?.state === ReportedState.REPORTED_STATE_HEALTHY);
    }, CHANGE_MS);
    assert.deepEqual(
      (await shown()).map((pay) => [pay.service, pay.id, pay.address, pay.port, pay.version, pay.locality?.zone]),
      [
        ['pay', 'pay-1', '127.0.0.1', one.port, '2.1', 'eu-1a'],
        ['pay', 'pay-2', '127.0.0.1', two.port, '2.1', 'eu-1a'],
      ],
    );
  });

  await t.test('an operator takes one out over there, and brings it back', async () => {
    const status = `${url}/apps/PAY/pay-1/status`;
    assert.equal((await fetch(`${status}?value=OUT_OF_SERVICE`, { method: 'PUT' })).status, 200);
    const is = (state: ReportedState) => async () => (await find('pay-1'))?.reported?.state === state;
    await eventually(is(ReportedState.REPORTED_STATE_DRAINING), CHANGE_MS);
    assert.equal((await fetch(`${status}?value=UP`, { method: 'DELETE' })).status, 200);
    await eventually(is(ReportedState.REPORTED_STATE_HEALTHY), CHANGE_MS);
  });

  await t.test('one that is killed goes when Eureka has forgotten it', async () => {
    two.process.kill('SIGKILL');
    await eventually(async () => (await find('pay-2')) === undefined, CHANGE_MS);
    assert.ok(await find('pay-1'));
  });

  await t.test('a registry that freezes, ends and starts again empty takes nothing away', async () => {
    const before = await find('pay-1');
    eureka.process.kill('SIGSTOP');
    await eventually(() => bridge.printed.stderr.includes('eureka did not answer'), CHANGE_MS);
    one.process.kill('SIGKILL'); // or it would register again
    eureka.process.kill('SIGKILL');
    await once(eureka.process, 'exit');
    await registry(t, eureka.port);
    await eventually(
      () => /eureka answered with none of the 1 instances that it had/.test(bridge.printed.stderr),
      CHANGE_MS,
    );
    assert.deepEqual(await find('pay-1'), before);
    await service(t, eureka, 'pay-1', one.port);
    await eventually(async () => {
      const pay = await find('pay-1');
      return pay?.reported?.state === ReportedState.REPORTED_STATE_HEALTHY && pay.incarnation !== before!.incarnation;
    }, CHANGE_MS);
  });
});
