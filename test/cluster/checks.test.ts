import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { TestimonyKind } from '../../src/gen/rollcall/v1/cause.js';
import { CheckVerdict, ProbeOutcome } from '../../src/gen/rollcall/v1/check.js';
import { Health, Liveness } from '../../src/gen/rollcall/v1/instance.js';
import { discover, getCheckResults, getStatus, register } from '../support/client.js';
import { LONG, pause } from '../support/cluster.js';
import { Dice } from '../support/dice.js';
import { startEtcd } from '../support/etcd.js';
import { History } from '../support/history.js';
import { eventually, onEtcd, type ServerProcess, startWith } from '../support/server.js';

const TARGETS = LONG ? 10_000 : 2_000;
/** One of a hundred dies at once. */
const DYING = TARGETS / 100;
/** Those that die one after the other while their checkers are killed. */
const KILLS = LONG ? 12 : 1;
/** The interval of the checks. */
const INTERVAL_MS = LONG ? 10_000 : 5_000;
/** Longer than a lease, so that a server which is stopped leaves the cluster. */
const STOPPED_MS = 20_000;
/** How many are registered at a time. */
const AT_A_TIME = 200;

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

test(`three servers probe ${TARGETS} targets, and lose one another without a transition; those that die are found`, async (t) => {
  const etcd = await startEtcd(t);
  const history = await History.open(etcd);
  t.after(() => history.close());
  const start = (node: string): Promise<ServerProcess> => startWith(t, [...onEtcd(etcd.endpoints), '--node', node], []);
  const nodes = ['n1', 'n2', 'n3'];
  const servers = await Promise.all(nodes.map(start));
  const targets: Awaited<ReturnType<typeof target>>[] = [];
  t.after(() => targets.forEach(({ server }) => server.close()));
  const names = Array.from({ length: TARGETS }, (_, at) => ({ service: 'db', id: `d${at}` }));
  const seconds = BigInt(INTERVAL_MS / 1_000);
  const checks = [{ probe: { $case: 'tcp' as const, value: {} }, interval: { seconds, nanos: 0 } }];
  for (let at = 0; at < TARGETS; at += AT_A_TIME) {
    const some = names.slice(at, at + AT_A_TIME);
    targets.push(...(await Promise.all(some.map((_, i) => target(at + i)))));
    const place = (i: number) => ({
      address: targets[at + i]!.address,
      port: 8_080,
      liveness: Liveness.LIVENESS_STATIC,
    });
    await Promise.all(
      some.map((name, i) => register(servers[0]!, { instance: { ...name, ...place(i), checks }, incarnation: 'a' })),
    );
  }
  const shown = async (server: ServerProcess): Promise<number> =>
    (await discover(server, { service: 'db' })).instances.filter(({ health }) => health === Health.HEALTH_HEALTHY)
      .length;
  await eventually(async () => (await shown(servers[1]!)) === TARGETS, 60_000);
  // A server that does not answer within a second is not named.
  const probing = await Promise.all(
    names
      .slice(0, 200)
      .map((name) => eventually(async () => (await getCheckResults(servers[1]!, name)).checks[0]!.node, 30_000)),
  );
  assert.deepEqual([...new Set(probing)].sort(), nodes, 'each has a share');

  /** Every write about an instance or its checks, in order. */
  const writes = async (): Promise<string[]> => {
    await history.reached(await etcd.revision());
    return [...history.keys].flatMap(([key, states]) =>
      /^w\/[hisp]\//.test(key) ? states.map(({ revision }) => `${key} ${revision}`) : [],
    );
  };
  const allIn = (server: ServerProcess): Promise<unknown> =>
    eventually(async () => (await getStatus(server)).cluster!.replicas.length === nodes.length, 90_000);
  const before = await writes();

  await t.test('K8: while nothing changes nothing is written', async () => {
    await pause(2 * INTERVAL_MS);
    assert.deepEqual(await writes(), before);
  });

  await t.test('K3 K4: a server is stopped and goes on: no verdict changes', async () => {
    servers[2]!.process.kill('SIGSTOP');
    await pause(STOPPED_MS);
    servers[2]!.process.kill('SIGCONT');
    await allIn(servers[0]!);
    assert.deepEqual(await writes(), before);
  });

  await t.test('K4: all servers are restarted one after the other: no verdict changes', async () => {
    for (const [at, node] of nodes.entries()) {
      await servers[at]!.stop();
      servers[at] = await start(node);
      await allIn(servers[at]);
    }
    await pause(INTERVAL_MS);
    assert.deepEqual(await writes(), before);
    assert.equal(await shown(servers[0]!), TARGETS);
  });

  await t.test('K1 K5: exactly those that die are FAILED, soon, and every server was asked', async (s) => {
    const dying = names.slice(0, DYING);
    for (const { server } of targets.slice(0, DYING)) server.close();
    const closedMs = performance.now();
    await eventually(async () => (await shown(servers[0]!)) === TARGETS - DYING, 60_000);
    const tookMs = performance.now() - closedMs;
    s.diagnostic(`${DYING} of ${TARGETS} found after ${Math.round(tookMs)} ms`);
    for (const name of dying) {
      const { summary } = await getCheckResults(servers[0]!, name);
      assert.equal(summary!.verdict, CheckVerdict.CHECK_VERDICT_FAILED);
      assert.deepEqual(
        summary!.cause!.testimonies.map(({ kind }) => kind),
        nodes.map(() => TestimonyKind.TESTIMONY_KIND_FAILED),
      );
    }
    await pause(2 * INTERVAL_MS);
    assert.equal(await shown(servers[2]!), TARGETS - DYING);
  });

  await t.test(`K1 K2 K4: the checker of a target that dies is killed in its round, ${KILLS} times`, async () => {
    const dice = new Dice(1);
    for (let kill = 0; kill < KILLS; kill++) {
      const name = names[DYING + kill]!;
      const key = `w/h/default/db/${name.id}`;
      const { checks: found } = await getCheckResults(servers[0]!, name);
      const at = nodes.indexOf(found[0]!.node);
      targets[DYING + kill]!.server.close();
      // Anywhere between the first failed probe and the record of the verdict.
      await eventually(async () => {
        const { checks: now } = await getCheckResults(servers[at]!, name);
        return now[0]!.results[0]?.outcome === ProbeOutcome.PROBE_OUTCOME_FAIL;
      }, 30_000);
      await pause(dice.between(0, (2 * INTERVAL_MS) / 3));
      await servers[at]!.kill();
      const other = servers[(at + 1) % nodes.length]!;
      await eventually(async () => (await shown(other)) === TARGETS - DYING - kill - 1, 90_000);
      servers[at] = await start(nodes[at]!);
      await allIn(other);
      await history.reached(await etcd.revision());
      const verdicts = history.keys.get(key)!.length;
      assert.ok(verdicts <= 2, `${name.id} has ${verdicts} verdicts: one that it passed, one that it failed`);
    }
    await pause(INTERVAL_MS);
    assert.equal(await shown(servers[0]!), TARGETS - DYING - KILLS);
  });
});
