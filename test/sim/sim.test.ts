import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MUST_HAPPEN, runSeeds, table } from './run.js';
import { Simulation } from './alone/simulation.js';

const SEEDS = Number(process.env['ROLLCALL_SIM_SEEDS'] ?? (process.env['ROLLCALL_TEST_LONG'] ? 5_000 : 60));
/** With fewer worlds than this something may well not have happened. */
const SEEDS_ENOUGH = 300;

test(`E1 E3 E4 E5 I1 I3 W1 hold in ${SEEDS} simulated worlds with crashes, stalls, outages and compactions`, async (t) => {
  const tally = await runSeeds(1, SEEDS);
  t.diagnostic(`what happened:\n${table(tally)}`);
  if (SEEDS < SEEDS_ENOUGH) return;
  const missing = MUST_HAPPEN.filter((name) => !tally.get(name));
  assert.deepEqual(missing, [], 'these never happened, so the runs prove nothing about them');
});

test('a simulated world can be had again from its seed', async () => {
  const once = await new Simulation(4711).run();
  const again = await new Simulation(4711).run();
  assert.ok(once.size > 20, 'things happened');
  assert.deepEqual([...again], [...once]);
});
