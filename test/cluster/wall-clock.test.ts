import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Health, Liveness } from '../../src/gen/rollcall/v1/instance.js';
import { OverrideState } from '../../src/gen/rollcall/v1/override.js';
import { getInstance, getStatus, register, setInstanceOverride } from '../support/client.js';
import { figures, FOUND_MS, startCluster, TTL_MS } from '../support/cluster.js';
import { eventually, startServer, temporaryFolder } from '../support/server.js';

const SCRIPT = new URL('../../scripts/faketime.js', import.meta.url).pathname;

/** The command that runs a process under a wall clock that `move` moves. */
function movedClock(): { readonly move: (offset: string) => void; readonly command: readonly string[] } {
  const library = execFileSync(process.execPath, [SCRIPT], { encoding: 'utf8' }).trim();
  const file = join(temporaryFolder(), 'faketime');
  const move = (offset: string): void => writeFileSync(file, offset);
  move('+0');
  const variables = [
    `LD_PRELOAD=${library}`,
    `FAKETIME_TIMESTAMP_FILE=${file}`,
    'FAKETIME_CACHE_DURATION=1',
    'FAKETIME_DONT_FAKE_MONOTONIC=1',
  ];
  return { move, command: ['env', ...variables] };
}

test('O2: an override ends by the wall clock: a clock that goes back ends it too late, and never too early', async (t) => {
  const { move, command } = movedClock();
  const server = await startServer(t, temporaryFolder(), command);
  const p1 = { service: 'pay', id: 'p1' };
  await register(server, {
    instance: { ...p1, address: '10.0.0.1', port: 80, liveness: Liveness.LIVENESS_STATIC },
    incarnation: 'a',
  });
  const drain = (seconds: bigint): Promise<unknown> =>
    setInstanceOverride(server, {
      ...{ ...p1, state: OverrideState.OVERRIDE_STATE_DRAIN, comment: 'a test', force: true },
      expireAfter: { seconds, nanos: 0 },
    });
  const health = async (): Promise<Health> => (await getInstance(server, p1)).instance!.health;
  await drain(6n);
  const setAtMs = Date.now();
  move('-3600');
  await eventually(() => Date.now() > setAtMs + 12_000, 20_000);
  assert.equal(await health(), Health.HEALTH_DRAINING, 'by its clock there is an hour left');
  move('+0');
  await eventually(async () => (await health()) === Health.HEALTH_HEALTHY, 20_000);
  await drain(1_800n);
  move('+3600');
  await eventually(async () => (await health()) === Health.HEALTH_HEALTHY, 20_000);
});

test('three replicas, one of which has a wall clock that is moved', async (t) => {
  const { move, command: moved } = movedClock();
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
        assert.ok(found.max <= FOUND_MS, figures(found));
        await eventually(async () => (await getStatus(servers[1]!)).cluster!.fenced === '');
        assert.deepEqual(cluster.accused, []);
        assert.deepEqual(fleet.rejected, []);
      },
    );
  }
});
