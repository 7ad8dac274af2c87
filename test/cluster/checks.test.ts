import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { TestimonyKind } from '../../src/gen/rollcall/v1/cause.js';
import { CheckVerdict } from '../../src/gen/rollcall/v1/check.js';
import { Health, Liveness } from '../../src/gen/rollcall/v1/instance.js';
import { discover, getCheckResults, getStatus, register } from '../support/client.js';
import { pause } from '../support/cluster.js';
import { startEtcd } from '../support/etcd.js';
import { History } from '../support/history.js';
import { eventually, onEtcd, type ServerProcess, startWith } from '../support/server.js';

const TARGETS = 150;
const DYING = 10;
/** The interval of the checks. */
const INTERVAL_MS = 3_000;
/** Longer than a lease, so that a server which is stopped leaves the cluster. */
const STOPPED_MS = 13_000;

/** A listener at an address of this machine of its own. */
async function target(at: number): Promise<{ readonly address: string; readonly server: net.Server }> {
  const address = `127.1.${at >> 8}.${at & 255}`;
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(8_080, address, resolve));
  return { address, server };
}

test('three servers probe, confirm, and lose one another without a transition; those that die are found', async (t) => {
  const etcd = await startEtcd(t);
  const history = await History.open(etcd);
  t.after(() => history.close());
  const start = (node: string): Promise<ServerProcess> => startWith(t, [...onEtcd(etcd.endpoints), '--node', node], []);
  const servers = await Promise.all(['n1', 'n2', 'n3'].map(start));
  const [first, second, third] = servers as [ServerProcess, ServerProcess, ServerProcess];
  const targets = await Promise.all(Array.from({ length: TARGETS }, (_, at) => target(at)));
  t.after(() => targets.forEach(({ server }) => server.close()));
  const names = targets.map((_, at) => ({ service: 'db', id: `d${at}` }));
  const checks = [{ probe: { $case: 'tcp' as const, value: {} }, interval: { seconds: 3n, nanos: 0 } }];
  await Promise.all(
    names.map((name, at) =>
      register(first, {
        instance: { ...name, address: targets[at]!.address, port: 8_080, liveness: Liveness.LIVENESS_STATIC, checks },
        incarnation: 'a',
      }),
    ),
  );
  const shown = async (server: ServerProcess): Promise<number> =>
    (await discover(server, { service: 'db' })).instances.filter(({ health }) => health === Health.HEALTH_HEALTHY)
      .length;
  await eventually(async () => (await shown(second)) === TARGETS, 30_000);
  const probing = await Promise.all(names.map((name) => getCheckResults(second, name)));
  const nodes = new Set(probing.map(({ checks: [check] }) => check!.node));
  assert.deepEqual([...nodes].sort(), ['n1', 'n2', 'n3'], 'each probes its share');

  const verdicts = async (): Promise<string[]> => {
    await history.reached(await etcd.revision());
    return [...history.keys].flatMap(([key, states]) =>
      key.startsWith('w/h/') ? states.map(({ revision }) => `${key} ${revision}`) : [],
    );
  };
  const before = await verdicts();

  await t.test('K3 K4: a server is stopped and goes on, another is killed: no verdict changes', async () => {
    third.process.kill('SIGSTOP');
    await pause(STOPPED_MS);
    third.process.kill('SIGCONT');
    await pause(INTERVAL_MS);
    await second.kill();
    await pause(STOPPED_MS);
    assert.deepEqual(await verdicts(), before);
    assert.equal(await shown(first), TARGETS);
  });

  await t.test('K1: exactly those that die are FAILED, soon, and every server was asked', async (s) => {
    // The server that was stopped has to join again.
    await eventually(async () => (await getStatus(first)).cluster!.replicas.length === 2, 60_000);
    const dying = names.slice(0, DYING);
    for (const { server } of targets.slice(0, DYING)) server.close();
    const closedMs = performance.now();
    await eventually(async () => (await shown(first)) === TARGETS - DYING, 60_000);
    const tookMs = performance.now() - closedMs;
    s.diagnostic(`${DYING} of ${TARGETS} found after ${Math.round(tookMs)} ms`);
    for (const name of dying) {
      const { summary } = await getCheckResults(first, name);
      assert.equal(summary!.verdict, CheckVerdict.CHECK_VERDICT_FAILED);
      assert.deepEqual(
        summary!.cause!.testimonies.map(({ kind }) => kind),
        [TestimonyKind.TESTIMONY_KIND_FAILED, TestimonyKind.TESTIMONY_KIND_FAILED],
      );
    }
    await pause(3 * INTERVAL_MS);
    assert.equal(await shown(third), TARGETS - DYING);
  });
});
