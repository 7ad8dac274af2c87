import assert from 'node:assert/strict';
import { test } from 'node:test';
import { E6_MS, figures, LONG, pause, SLACK_MS, startCluster, TTL_MS } from '../support/cluster.js';
import { Dice } from '../support/dice.js';

const SHORT_STOPS = LONG ? [6_000, 7_000, 8_000, 9_000] : [7_000];

test('three replicas, one of which is stopped and goes on', async (t) => {
  const cluster = await startCluster(t, { fleet: { choice: 'sticky' } });
  const { fleet, servers } = cluster;
  const dice = new Dice(1);
  await cluster.verdictsFlow();

  for (const stopMs of SHORT_STOPS) {
    await t.test(
      `F14: SIGSTOP of a replica for ${stopMs / 1_000} s, within its lease, as 5 % of the clients die: those are found soon after, and only those`,
      async (s) => {
        const { process } = dice.pick(servers);
        const dying = fleet.share(0.05);
        fleet.kill(dying);
        process.kill('SIGSTOP');
        await pause(stopMs);
        process.kill('SIGCONT');
        const found = await cluster.detected(dying, stopMs + TTL_MS + 10_000);
        s.diagnostic(figures(found));
        assert.ok(found.earliest >= 0);
        assert.ok(found.max <= stopMs + TTL_MS + 1_000 + SLACK_MS, figures(found));
        assert.deepEqual(cluster.accused, []);
        assert.deepEqual(fleet.rejected, []);
      },
    );
  }

  await t.test(
    'F13: SIGSTOP of a replica for 3 ttl, beyond its lease, as 5 % of the clients die: those are found within E6, and only those',
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
