import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getStatus } from '../support/client.js';
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
import { eventually } from '../support/server.js';

/** Replies are given for so long after the store was last heard: 95 % of the grace. */
const FENCE_MS = 0.95 * GRACE_MS;
const OUTAGE_MS = LONG ? 60_000 : 40_000;
/** How long a new leader may take, as etcd counts it: an election, and what the old one still held. */
const ELECTION_MS = 6_000;

test('three replicas, and an etcd that fails', async (t) => {
  const cluster = await startCluster(t, { fleet: { choice: 'round robin' } });
  const { fleet, etcd, servers } = cluster;
  await cluster.verdictsFlow();

  await t.test(
    'F5: the leader of etcd is killed as 5 % of the clients die: those are found, and only those',
    async (s) => {
      const dying = fleet.share(0.05);
      fleet.kill(dying);
      const leader = await etcd.leader();
      await leader.end();
      const found = await cluster.detected(dying, TTL_MS + ELECTION_MS + 10_000);
      s.diagnostic(figures(found));
      assert.ok(found.earliest >= 0);
      assert.ok(found.max <= TTL_MS + ELECTION_MS + SLACK_MS, figures(found));
      assert.deepEqual(cluster.accused, []);
      leader.start();
      await etcd.healthy();
      await allWell(cluster);
    },
  );

  await t.test(
    `F6: no quorum for ${OUTAGE_MS / 1_000} s: heartbeats are acknowledged until the fence, then UNAVAILABLE; nobody expires, and all is well again by itself`,
    async (s) => {
      const leader = await etcd.leader();
      const followers = etcd.nodes.filter((node) => node !== leader);
      await Promise.all(followers.map((node) => node.pause()));
      s.after(() => followers.forEach((node) => node.resume()));
      const begun = performance.now();
      await pause(TTL_MS);
      const dying = fleet.share(0.05);
      fleet.kill(dying);
      const refusedBefore = refused(cluster);
      await eventually(() => refused(cluster) > refusedBefore, FENCE_MS + 5_000);
      const fencedAfter = performance.now() - begun;
      s.diagnostic(`heartbeats were refused after ${Math.round(fencedAfter)} ms`);
      assert.ok(fencedAfter > FENCE_MS - 2 * TTL_MS, `${fencedAfter}`);
      await eventually(() => quiet(cluster), 10_000, 500);
      const acknowledged = fleet.acknowledged;
      await pause(OUTAGE_MS - (performance.now() - begun));
      assert.equal(fleet.acknowledged, acknowledged, 'none is acknowledged behind the fence');
      for (const node of followers) node.resume();
      const healed = performance.now();
      const found = await cluster.detected(dying, GRACE_MS + TTL_MS + 20_000);
      s.diagnostic(`the dead were found ${Math.round(performance.now() - healed)} ms after the quorum was back`);
      assert.ok(found.earliest >= 0);
      await allWell(cluster);
      assert.deepEqual(cluster.accused, []);
      assert.deepEqual(fleet.rejected, []);
    },
  );

  await t.test(
    'F16: the lease of a member is revoked: its clients go elsewhere, and only the dead are UNHEALTHY',
    async (s) => {
      await cluster.verdictsFlow();
      const { kvs } = await etcd.admin.kv.range({
        key: Buffer.from('rollcall/w/m/'),
        range_end: Buffer.from('rollcall/w/m0'),
      });
      assert.equal(kvs.length, 3);
      const probes = await cluster.probe();
      await etcd.admin.leaseClient.leaseRevoke({ ID: kvs[0]!.lease });
      const found = await cluster.detected(probes, GRACE_MS + TTL_MS + 10_000);
      s.diagnostic(figures(found));
      assert.ok(found.max <= GRACE_MS + TTL_MS + 1_000 + SLACK_MS, figures(found));
      assert.ok(servers.some(({ log }) => log.some((line) => line.includes('the membership was lost'))));
      assert.deepEqual(cluster.accused, []);
      assert.deepEqual(fleet.rejected, []);
    },
  );
});

/** Calls that did not succeed. */
function refused({ fleet }: TestCluster): number {
  return fleet.calls.get('14 UNAVAILABLE') ?? 0;
}

/** True: no heartbeat is acknowledged any more. */
async function quiet({ fleet }: TestCluster): Promise<boolean> {
  const before = fleet.acknowledged;
  await pause(TTL_MS / 3);
  return fleet.acknowledged === before;
}

/** Waits until no server has anything to say against its store, and every living client beats. */
async function allWell({ servers, fleet }: TestCluster): Promise<void> {
  await eventually(
    async () => {
      const all = await Promise.all(servers.map((server) => getStatus(server)));
      return all.every(
        ({ alarms, verdictsPostponed }) =>
          alarms.length === 0 && verdictsPostponed.every(({ reason }) => reason === 'GRACE'),
      );
    },
    LEASE_MS + 20_000,
    200,
  );
  await eventually(() => fleet.clients.every(({ alive, sentMs }) => !alive || performance.now() - sentMs < TTL_MS));
}
