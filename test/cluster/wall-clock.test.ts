import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { getStatus } from '../support/client.js';
import { figures, startCluster, TTL_MS } from '../support/cluster.js';
import { eventually, temporaryFolder } from '../support/server.js';

const SCRIPT = new URL('../../scripts/faketime.js', import.meta.url).pathname;

test('three replicas, one of which has a wall clock that is moved', async (t) => {
  const library = execFileSync(process.execPath, [SCRIPT], { encoding: 'utf8' }).trim();
  const file = join(temporaryFolder(), 'faketime');
  const move = (offset: string): void => writeFileSync(file, offset);
  move('+0');
  const moved = [
    'env',
    `LD_PRELOAD=${library}`,
    `FAKETIME_TIMESTAMP_FILE=${file}`,
    'FAKETIME_CACHE_DURATION=1',
    'FAKETIME_DONT_FAKE_MONOTONIC=1',
  ];
  const command = (at: number): readonly string[] => (at === 1 ? moved : []);
  const cluster = await startCluster(t, { fleet: { choice: 'round robin' }, command });
  const { fleet, servers } = cluster;
  await cluster.verdictsFlow();

  for (const [offset, hours] of [
    ['+3600', 1n],
    ['-3600', -2n],
  ] as const) {
    await t.test(
      `E2 F15: its clock is moved by ${hours} h as 5 % of the clients die: those are found on time, and only those`,
      async (s) => {
        const { log } = servers[1]!;
        const logged = log.length;
        const dying = fleet.share(0.05);
        fleet.kill(dying);
        move(offset);
        const line = await eventually(
          () => log.slice(logged).find((one) => one.includes('wall and monotonic clocks diverged')),
          5_000,
        );
        const { byMs } = JSON.parse(line) as { byMs: number };
        assert.ok(Math.abs(byMs - Number(hours) * 3_600_000) < 10_000, `${byMs} ms`);
        const found = await cluster.detected(dying, TTL_MS + 10_000);
        s.diagnostic(figures(found));
        assert.ok(found.earliest >= 0);
        assert.ok(found.max <= TTL_MS + 2_000, figures(found));
        await eventually(async () => (await getStatus(servers[1]!)).cluster!.fenced === '');
        assert.deepEqual(cluster.accused, []);
        assert.deepEqual(fleet.rejected, []);
      },
    );
  }
});
