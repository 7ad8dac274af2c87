import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { Health } from '../../src/gen/rollcall/v1/instance.js';
import { getStatus, heartbeat } from '../support/client.js';
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
  type Ways,
} from '../support/cluster.js';
import type { FleetClient } from '../support/fleet.js';
import type { Proxy, ProxyMode } from '../support/proxy.js';
import { detailsOf, eventually, failure, type ServerProcess } from '../support/server.js';

const CUT_MS = LONG ? 60_000 : 8_000;
/** Until a connection on which nothing comes back is given up: requests to keep a lease may arrive until then. */
const HALF_OPEN_MS = 13_000;

test('three replicas behind proxies, one of which is cut off', async (t) => {
  const cluster = await startCluster(t, { fleet: { choice: 'round robin' }, proxied: true });
  const { fleet, observer, servers, ways } = cluster;
  await cluster.verdictsFlow();

  await t.test(
    `F11: no other replica can ask one for ${CUT_MS / 1_000} s: they pass no verdict meanwhile, and the dead are found soon after`,
    async (s) => {
      const dying = fleet.share(0.05);
      fleet.kill(dying);
      drop(s, 'blackhole', ways[2]!.peers);
      await pause(CUT_MS);
      const waiting = dying.filter((client) => stateOf(cluster, client) === Health.HEALTH_HEALTHY).length;
      s.diagnostic(
        `${dying.length - waiting} of ${dying.length} were found meanwhile, by the one that could ask the others`,
      );
      assert.ok(waiting > 0);
      const cannotAsk = async (server: ServerProcess): Promise<boolean> =>
        (await getStatus(server)).verdictsPostponed.some(({ reason }) => reason === 'PEER_UNREACHABLE');
      for (const server of servers.slice(0, 2)) await eventually(() => cannotAsk(server));
      assert.equal(await cannotAsk(servers[2]!), false);
      mend(ways[2]!.peers);
      const found = await cluster.detected(dying, CUT_MS + TTL_MS + 10_000);
      s.diagnostic(figures(found));
      assert.ok(found.earliest >= 0);
      assert.ok(found.max <= CUT_MS + TTL_MS / 3 + 2_000 + SLACK_MS, figures(found));
      assert.deepEqual(cluster.accused, []);
      assert.deepEqual(fleet.rejected, []);
    },
  );

  await t.test(
    'E6 F12: the replies of etcd do not reach one replica: it sends its clients away, and the dead are found within E6 of its last word to etcd',
    async (s) => {
      const dying = fleet.share(0.05);
      fleet.kill(dying);
      drop(s, 'keep-replies', ...ways[1]!.etcd);
      const begun = performance.now();
      assert.equal(await sendsAway(cluster, servers[1]!), 'STORE_LOST_HERE_ALONE');
      s.diagnostic(`clients were sent away after ${Math.round(performance.now() - begun)} ms`);
      assert.ok(performance.now() - begun <= LEASE_MS + SLACK_MS);
      const found = await cluster.detected(dying, HALF_OPEN_MS + E6_MS + 10_000);
      s.diagnostic(figures(found));
      assert.ok(found.earliest >= 0);
      assert.ok(found.max <= HALF_OPEN_MS + E6_MS + SLACK_MS, figures(found));
      assert.deepEqual(cluster.accused, []);
      assert.deepEqual(fleet.rejected, []);
      mend(...ways[1]!.etcd);
      await eventually(async () => (await getStatus(servers[1]!)).store!.reachable, 20_000);
    },
  );

  await t.test(
    'E3 E6 F11: a replica is cut off from etcd and from the other replicas: no instance that beats is UNHEALTHY, and the dead are found within E6',
    async (s) => {
      const dying = fleet.share(0.05);
      fleet.kill(dying);
      const { etcd, peers }: Ways = ways[2]!;
      drop(s, 'blackhole', ...etcd, peers);
      const found = await cluster.detected(dying, E6_MS + 10_000);
      s.diagnostic(figures(found));
      assert.ok(found.earliest >= 0);
      assert.ok(found.max <= E6_MS + SLACK_MS, figures(found));
      assert.ok(observer.count(Health.HEALTH_HEALTHY) >= fleet.clients.length - fleet.dead.length);
      assert.deepEqual(cluster.accused, []);
      assert.deepEqual(fleet.rejected, []);
      mend(...etcd, peers);
      await eventually(async () => (await getStatus(servers[2]!)).store!.reachable, 20_000);
    },
  );
});

/** Lasts until the test is over, or until it is mended. */
function drop(t: TestContext, mode: ProxyMode, ...proxies: readonly Proxy[]): void {
  t.after(() => mend(...proxies));
  for (const proxy of proxies) proxy.mode = mode;
}

/** Connections that have lost bytes are of no use any more. */
function mend(...proxies: readonly Proxy[]): void {
  for (const proxy of proxies) {
    proxy.mode = 'pass';
    proxy.cut();
  }
}

function stateOf({ observer }: TestCluster, { service, id }: FleetClient): Health | undefined {
  return observer.health(`${service}/${id}`);
}

/** Waits until a server takes no heartbeats, and says the cause that it gives. */
async function sendsAway({ fleet }: TestCluster, server: ServerProcess): Promise<string | undefined> {
  const { service, id, incarnation } = fleet.clients.find(({ alive }) => alive)!;
  const beat = (): Promise<unknown> => heartbeat(server, { instances: [{ service, id, incarnation }] });
  const error = await eventually(() => failure(beat()).catch(() => undefined), LEASE_MS + 10_000, 100);
  return detailsOf(error).metadata.get('cause');
}
