import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Health } from '../../src/gen/rollcall/v1/instance.js';
import { register, watchServices } from '../support/client.js';
import {
  figures,
  GRACE_MS,
  LEASE_MS,
  LONG,
  pause,
  SLACK_MS,
  startCluster,
  type TestCluster,
  TTL_MS,
} from '../support/cluster.js';
import { History } from '../support/history.js';
import { eventually } from '../support/server.js';

const DOWN_MS = LONG ? 10 * TTL_MS : 3 * TTL_MS;

test('three replicas that all end at once', async (t) => {
  const cluster = await startCluster(t, { fleet: { choice: 'sticky' } });
  const { fleet, etcd, observer, servers } = cluster;

  await t.test(
    `F3: all replicas are down for ${DOWN_MS / 1_000} s as 5 % of the clients die: nothing is lost, there is no storm, and the dead are found after the grace`,
    async (s) => {
      const before = await instancesIn(cluster);
      assert.equal(before.size, fleet.clients.length);
      for (const { process } of servers) process.kill('SIGKILL');
      const dying = fleet.share(0.05);
      fleet.kill(dying);
      await Promise.all(servers.map(({ exited }) => exited));
      await pause(DOWN_MS);
      assert.deepEqual(await instancesIn(cluster), before);
      await Promise.all([0, 1, 2].map((at) => cluster.startServer(at)));
      const backMs = performance.now();
      assert.deepEqual(await instancesIn(cluster), before);
      const found = await cluster.detected(dying, GRACE_MS + TTL_MS + 15_000);
      s.diagnostic(`found ${Math.round(performance.now() - backMs)} ms after the start; ${figures(found)}`);
      assert.ok(performance.now() - backMs >= GRACE_MS, 'clients had the time to find the servers again');
      assert.ok(found.max <= DOWN_MS + LEASE_MS + GRACE_MS + TTL_MS + 5_000 + SLACK_MS, figures(found));
      assert.deepEqual(cluster.accused, []);
      assert.deepEqual(fleet.rejected, []);
    },
  );

  await t.test(
    'F4: the whole site ends, and starts again with the replicas first: the state is as before, and served only when it is known',
    async () => {
      const before = await instancesIn(cluster);
      for (const { process } of servers) process.kill('SIGKILL');
      await Promise.all([...servers.map(({ exited }) => exited), ...etcd.nodes.map((node) => node.end())]);
      const starting = [0, 1, 2].map((at) => cluster.startServer(at));
      let listening = 0;
      for (const one of starting) void one.then(() => listening++);
      await pause(TTL_MS);
      assert.equal(listening, 0, 'no replica says that it is ready');
      for (const node of etcd.nodes) node.start();
      await etcd.healthy();
      await Promise.all(starting);
      const after = await instancesIn(cluster);
      assert.deepEqual(after, before);
      for (const server of servers) {
        const watch = watchServices(server, { all: true, filter: { healthStates: [Health.HEALTH_HEALTHY] } });
        t.after(() => watch.close());
        await watch.seen(({ revision }) => revision > 0n);
        const shown = watch.messages.reduce((sum, { upserted }) => sum + upserted.length, 0);
        assert.equal(shown, fleet.clients.length - fleet.dead.length);
      }
      await register(servers[0]!, { instance: { service: 'new', id: 'n1', address: '10.0.0.1' } });
      await eventually(() => observer.has('new/n1'), 20_000);
      await eventually(() => fleet.clients.every(({ alive, sentMs }) => !alive || performance.now() - sentMs < TTL_MS));
      assert.deepEqual(cluster.accused, []);
      assert.deepEqual(fleet.rejected, []);
    },
  );
});

/** Which revision of each instance of the fleet stands in etcd. */
async function instancesIn({ etcd }: TestCluster): Promise<Map<string, bigint>> {
  const history = await History.open(etcd);
  try {
    await history.reached(await etcd.revision());
    const standing = [...history.keys].filter(([key]) => key.startsWith('w/i/default/service-'));
    return new Map(standing.map(([key, states]) => [key, states.at(-1)!.revision]));
  } finally {
    history.close();
  }
}
