import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Health } from '../../src/gen/rollcall/v1/instance.js';
import { figures, FOUND_MS, LONG, pause, startCluster, TTL_MS } from '../support/cluster.js';
import { History } from '../support/history.js';

const STEADY_MS = LONG ? 60_000 : 12_000;
const SERVICES = LONG ? 500 : 250;
const PER_SERVICE = 20;
const ALL = SERVICES * PER_SERVICE;

test(`${ALL} instances of ${SERVICES} services beat round robin over three replicas`, async (t) => {
  const cluster = await startCluster(t, {
    fleet: { services: SERVICES, perService: PER_SERVICE, choice: 'round robin' },
    proxied: true,
  });
  const { fleet, etcd, observer, ways } = cluster;
  const history = await History.open(etcd);
  t.after(() => history.close());
  await cluster.verdictsFlow();

  await t.test(`steady state: for ${STEADY_MS / 1_000} s nothing is written but the members' own keys`, async (s) => {
    const revision = await etcd.revision();
    const acknowledged = fleet.acknowledged;
    const asked = bytesBetween(ways.map(({ peers }) => peers));
    await pause(STEADY_MS);
    const bytes = bytesBetween(ways.map(({ peers }) => peers)) - asked;
    assert.deepEqual(await cluster.writtenAfter(revision, history), []);
    const beats = fleet.acknowledged - acknowledged;
    const revisions = (await etcd.revision()) - revision;
    s.diagnostic(
      `${beats} heartbeats, ${revisions} revisions, ${Math.round((bytes / STEADY_MS) * 1_000)} bytes/s of questions between replicas`,
    );
    assert.ok(beats > (0.9 * fleet.clients.length * STEADY_MS) / (TTL_MS / 3), `${beats} heartbeats`);
    assert.deepEqual(cluster.accused, []);
  });

  await t.test(
    `F65: ${ALL / 2} of them die at once, half of every service: all are UNHEALTHY within ${FOUND_MS / 1_000} s, and nobody else`,
    async (s) => {
      const dying = fleet.share(0.5);
      assert.equal(dying.length, ALL / 2);
      fleet.kill(dying);
      const found = await cluster.detected(dying, TTL_MS + 15_000);
      s.diagnostic(figures(found));
      assert.ok(found.earliest >= 0);
      assert.ok(found.max <= FOUND_MS, figures(found));
      assert.equal(observer.count(Health.HEALTH_HEALTHY), ALL / 2);
      assert.deepEqual(cluster.accused, []);
      assert.deepEqual(fleet.rejected, []);
    },
  );
});

function bytesBetween(proxies: readonly { readonly bytes: number }[]): number {
  return proxies.reduce((sum, { bytes }) => sum + bytes, 0);
}
