import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLUSTER_MUST_HAPPEN, table } from '../run.js';
import { runClusterSeeds, tell } from './run.js';
import { ClusterSimulation } from './simulation.js';

const FROM = Number(process.env['ROLLCALL_SIM_FROM'] ?? 1);
const SEEDS = Number(process.env['ROLLCALL_SIM_SEEDS'] ?? (process.env['ROLLCALL_TEST_LONG'] ? 20_000 : 10));
/** With fewer worlds than this something may well not have happened. */
const SEEDS_ENOUGH = 500;

test(`E3 E4 E5 E6 I1 I2 I3 K1 K2 K3 K4 K5 K6 K7 K8 K10 K11 K12 K13 O1 O3 W1 W3 hold in ${SEEDS} simulated clusters with an adversary`, async (t) => {
  const result = await runClusterSeeds(FROM, SEEDS);
  assert.ok(result.failures.length === 0, `a promise was broken:\n${tell(result)}`);
  const tally = new Map(result.tally);
  t.diagnostic(`what happened:\n${table(tally)}`);
  if (SEEDS < SEEDS_ENOUGH) return;
  const missing = CLUSTER_MUST_HAPPEN.filter((name) => !tally.get(name));
  assert.deepEqual(missing, [], 'these never happened, so the runs prove nothing about them');
});

test('a simulated cluster can be had again from its seed', async () => {
  const run = async (): Promise<readonly string[]> => {
    const simulation = new ClusterSimulation(4711);
    await simulation.run();
    return simulation.scene.lines;
  };
  const once = await run();
  const again = await run();
  assert.ok(once.length > 500, 'things happened');
  assert.deepEqual(again, once);
});
