import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ChildProcess } from 'node:child_process';
import {
  E6_MS,
  figures,
  LEASE_MS,
  LONG,
  pause,
  SLACK_MS,
  startCluster,
  type TestCluster,
  TTL_MS,
} from '../support/cluster.js';
import { Dice } from '../support/dice.js';

/** A lease that is kept alive every 3.3 s has 6.7 s at least: what is longer may cost it. */
const SHORT_STOPS = LONG ? [6_000, 7_000, 8_000, 9_000] : [6_000];

test('three replicas, one of which is stopped and goes on', async (t) => {
  const cluster = await startCluster(t, { fleet: { choice: 'sticky' } });
  const { fleet, servers } = cluster;
  const dice = new Dice(1);
  await cluster.verdictsFlow();

  for (const stopMs of SHORT_STOPS) {
    await t.test(
      `E3 E6 F14: SIGSTOP of a replica for ${stopMs / 1_000} s as 5 % of the clients die: those are found soon after, or within E6 if that cost its lease, and only those`,
      async (s) => {
        const { process, log } = dice.pick(servers);
        const logged = log.length;
        const dying = fleet.share(0.05);
        fleet.kill(dying);
        process.kill('SIGSTOP');
        await pause(stopMs);
        process.kill('SIGCONT');
        const found = await cluster.detected(dying, E6_MS + 10_000);
        const isLost = log.slice(logged).some((line) => line.includes('the membership was lost'));
        s.diagnostic(`${isLost ? 'the lease was lost' : 'the lease was kept'}; ${figures(found)}`);
        assert.ok(found.earliest >= 0);
        assert.ok(found.max <= (isLost ? E6_MS : stopMs + TTL_MS + 1_000) + SLACK_MS, figures(found));
        assert.ok(!isLost || stopMs + LEASE_MS / 3 >= LEASE_MS, 'it could have been kept');
        assert.deepEqual(cluster.accused, []);
        assert.deepEqual(fleet.rejected, []);
        if (isLost) await replace(cluster, process);
      },
    );
  }

  await t.test(
    'E3 E6 F13: SIGSTOP of a replica for 3 ttl, beyond its lease, as 5 % of the clients die: those are found within E6, and only those',
    async (s) => {
      const dying = fleet.share(0.05);
      fleet.kill(dying);
      const { process, log } = servers[2]!;
      process.kill('SIGSTOP');
      await pause(3 * TTL_MS);
      const logged = log.length;
      process.kill('SIGCONT');
      const found = await cluster.detected(dying, E6_MS + 10_000);
      s.diagnostic(figures(found));
      assert.ok(found.earliest >= 0);
      assert.ok(found.max <= E6_MS + SLACK_MS, figures(found));
      assert.ok(log.slice(logged).some((line) => line.includes('the membership was lost')));
      assert.deepEqual(cluster.accused, []);
      assert.deepEqual(fleet.rejected, []);
    },
  );
});

/** Another node takes the place of a replica that waits before it joins again. */
async function replace(cluster: TestCluster, process: ChildProcess): Promise<void> {
  const at = cluster.servers.findIndex((server) => server.process === process);
  process.kill('SIGKILL');
  await cluster.servers[at]!.exited;
  await cluster.startServer(at);
  await cluster.verdictsFlow();
}
