import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  E6_MS,
  figures,
  FOUND_MS,
  LONG,
  pause,
  SLACK_MS,
  startCluster,
  type TestCluster,
  TTL_MS,
} from '../support/cluster.js';
import { eventually, type LaunchedServer, launchServer, onEtcd } from '../support/server.js';

const CRASH_EVERY_MS = LONG ? 15_000 : 6_000;
const LASTS_MS = LONG ? 180_000 : 50_000;

test('three replicas, and a node that keeps crashing', async (t) => {
  const cluster = await startCluster(t, { fleet: { choice: 'round robin' } });
  const { fleet, servers, etcd } = cluster;
  await cluster.verdictsFlow();

  await t.test(
    'F17: a process under the name of a node whose member lives waits, and takes nothing from it',
    async (s) => {
      const other = launch(cluster, 'node-0');
      s.after(() => other.process.kill('SIGKILL'));
      await eventually(() => other.log.some((line) => line.includes('ended uncleanly; waiting')));
      const dying = fleet.share(0.05);
      fleet.kill(dying);
      const found = await cluster.detected(dying, TTL_MS + 10_000);
      assert.ok(found.max <= FOUND_MS, figures(found));
      assert.deepEqual(cluster.accused, []);
      other.process.kill('SIGKILL');
      await other.exited;
    },
  );

  await t.test(
    `E6: a replica crashes every ${CRASH_EVERY_MS / 1_000} s for ${LASTS_MS / 1_000} s as 100 clients die: they are found within E6 of the first crash, and those that die later on time`,
    async (s) => {
      const until = performance.now() + LASTS_MS;
      let crashes = 1;
      const first = fleet.share(0.05);
      fleet.kill(first);
      servers[2]!.process.kill('SIGKILL');
      const crashing = (async () => {
        while (performance.now() < until) {
          const again = launch(cluster, 'node-2');
          await pause(CRASH_EVERY_MS);
          again.process.kill('SIGKILL');
          await again.exited;
          crashes++;
        }
      })();
      s.after(() => crashing);
      const found = await cluster.detected(first, E6_MS + 10_000);
      s.diagnostic(`after the first crash: ${figures(found)}`);
      assert.ok(found.earliest >= 0);
      assert.ok(found.max <= E6_MS + SLACK_MS, figures(found));
      let rounds = 0;
      do {
        const next = fleet.share(0.05);
        fleet.kill(next);
        const later = await cluster.detected(next, TTL_MS + 10_000);
        if (rounds++ === 0) s.diagnostic(`later: ${figures(later)}`);
        assert.ok(later.earliest >= 0);
        assert.ok(later.max <= FOUND_MS, figures(later));
      } while (performance.now() < until - CRASH_EVERY_MS && rounds < 5);
      await crashing;
      s.diagnostic(`${crashes} crashes`);
      assert.deepEqual(cluster.accused, []);
      assert.deepEqual(fleet.rejected, []);
      assert.equal(
        (await etcd.admin.kv.range({ key: Buffer.from('rollcall/w/m/'), range_end: Buffer.from('rollcall/w/m0') })).kvs
          .length,
        2,
      );
    },
  );
});

function launch({ etcd }: TestCluster, node: string): LaunchedServer {
  return launchServer([...onEtcd(etcd.endpoints), '--node', node]);
}
