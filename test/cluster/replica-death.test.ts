import assert from 'node:assert/strict';
import { test } from 'node:test';
import { E6_MS, figures, FOUND_MS, LEASE_MS, LONG, pause, SLACK_MS, startCluster, TTL_MS } from '../support/cluster.js';
import type { Choice } from '../support/fleet.js';
import { History } from '../support/history.js';
import { eventually } from '../support/server.js';

const STEADY_MS = LONG ? 60_000 : 10_000;
const CHOICES: readonly Choice[] = LONG ? ['sticky', 'round robin'] : ['sticky'];

for (const choice of CHOICES) {
  test(`three replicas on three members of etcd, 2,000 ${choice} clients`, async (t) => {
    const cluster = await startCluster(t, { fleet: { choice } });
    const { fleet, observer, etcd, servers } = cluster;
    const history = await History.open(etcd);
    t.after(() => history.close());
    await cluster.verdictsFlow();

    await t.test(`steady state: for ${STEADY_MS / 1_000} s nothing is written but the members' own keys`, async (s) => {
      const revision = await etcd.revision();
      const acknowledged = fleet.acknowledged;
      await pause(STEADY_MS);
      assert.deepEqual(await cluster.writtenAfter(revision, history), []);
      const beats = fleet.acknowledged - acknowledged;
      s.diagnostic(`${beats} heartbeats, ${(await etcd.revision()) - revision} revisions`);
      assert.ok(beats > (0.9 * fleet.clients.length * STEADY_MS) / (TTL_MS / 3), `${beats} heartbeats`);
    });

    await t.test(
      'E6 F63: a replica stops cleanly as 30 % of the clients die: those are found on time, and only those',
      async (s) => {
        fleet.kill(fleet.share(0.15));
        await pause(TTL_MS / 2); // these must not have a new ttl from the hand-over
        fleet.kill(fleet.share(0.15));
        const dying = fleet.dead;
        servers[2]!.process.kill('SIGTERM');
        const found = await cluster.detected(dying, TTL_MS + 10_000);
        s.diagnostic(figures(found));
        assert.ok(found.earliest >= 0);
        assert.ok(found.max <= FOUND_MS, figures(found));
        assert.equal(await servers[2]!.exited, 0);
        assert.deepEqual(cluster.accused, []);
        assert.deepEqual(fleet.rejected, []);
        await cluster.startServer(2);
      },
    );

    await t.test(
      'E3 F1: kill -9 of a replica: no instance is UNHEALTHY, and its clients move without a write',
      async (s) => {
        const probes = await cluster.probe();
        const revision = await etcd.revision();
        const members = membersOf(history);
        const killedMs = performance.now();
        servers[1]!.process.kill('SIGKILL');
        await eventually(() => fleet.clients.every(({ alive, sentMs }) => !alive || sentMs > killedMs));
        s.diagnostic(
          `every client has beaten at a server that lives after ${Math.round(performance.now() - killedMs)} ms; it is due every ${Math.round(TTL_MS / 3)} ms`,
        );
        await eventually(() => membersOf(history) < members, LEASE_MS + 5_000);
        assert.deepEqual(await cluster.writtenAfter(revision, history), []);
        const found = await cluster.detected(probes, E6_MS + 5_000);
        s.diagnostic(`who never beat: ${figures(found)}`);
        assert.ok(found.max <= E6_MS + SLACK_MS, figures(found));
        assert.deepEqual(cluster.accused, []);
        assert.deepEqual(fleet.rejected, []);
        await cluster.startServer(1);
      },
    );

    await t.test(
      'E6 F2: kill -9 of a replica and of 30 % of the clients: exactly those are UNHEALTHY, none before its ttl, all within E6',
      async (s) => {
        const before = performance.now();
        const dying = fleet.share(0.3);
        fleet.kill(dying);
        servers[2]!.process.kill('SIGKILL');
        const found = await cluster.detected(dying, E6_MS + 5_000);
        s.diagnostic(figures(found));
        assert.ok(found.earliest >= 0);
        assert.ok(found.max <= E6_MS + SLACK_MS, figures(found));
        assert.deepEqual(cluster.accused, []);
        assert.deepEqual(fleet.rejected, []);
        const others = new Set(observer.since(before).map(({ key }) => key));
        for (const { service, id } of fleet.dead) others.delete(`${service}/${id}`);
        assert.deepEqual(
          [...others].filter((key) => !key.startsWith('probe-')),
          [],
        );
      },
    );
  });
}

/** How many members stand. */
function membersOf(history: History): number {
  return [...history.keys].filter(([key, states]) => key.startsWith('w/m/') && states.at(-1)?.value).length;
}
