// Runs the simulation: `npm run sim -- --seeds 500 [--from 1] [--cluster]`. Prints how often each kind of thing happened.
// With `--cluster` several replicas share a store; `--failures 5` goes on until five seeds have failed, and one seed alone
// prints more of its history with `--lines 1000`.
import { parseArgs } from 'node:util';
import { Simulation } from './alone/simulation.js';
import { CHECK_TRICKS, TRICKS } from './cluster/adversary.js';
import { CHECK_PLOTS } from './cluster/checks.js';
import { PLOTS } from './cluster/plots.js';
import { runClusterSeed, runClusterSeeds, tell } from './cluster/run.js';
import { OWN_FAULTS } from './cluster/targets.js';
import { FAULTS } from './cluster/trouble.js';
import type { Tally } from './scene.js';

/** What must have happened at least once, or the runs prove nothing. */
export const MUST_HAPPEN = [
  'crash',
  'stall',
  'compaction',
  'outage refuse',
  'outage hang',
  'outage lost-reply',
  'takeover',
  'ttl changed',
  'overlapping beat',
  'register',
  'register failed',
  'deregister',
  'beat',
  'beat failed',
  'beat NOT_REGISTERED',
  'beat SUPERSEDED',
  'beat RETRY',
  'verdicts',
  'verdicts_refused',
  'expiries',
  'heals',
  'touches',
  'commits_refused',
  'commits_failed',
  'relists',
  'watch begun',
  'watch resumed',
  'watch continued within a view',
  'watch message applied',
  'detections',
];

/** As MUST_HAPPEN, for the cluster. */
export const CLUSTER_MUST_HAPPEN = [
  // What clients do and are told.
  'register',
  'register failed',
  'register REVISION_MISMATCH',
  'deregister',
  'takeover',
  'ttl changed',
  'beat',
  'beat of many',
  'overlapping beat',
  'adverse beat',
  'beat failed',
  'beat NOT_REGISTERED',
  'beat SUPERSEDED',
  'beat RETRY',
  'beat DEREGISTERED',
  'deregister by hand',
  'register DEREGISTERED',
  'refused FENCED',
  'refused NOT_READY',
  'refused STORE_UNAVAILABLE',
  'balancer sticky',
  'balancer round-robin',
  'balancer flapping',
  // What replicas do.
  'asked',
  'asked for a promise',
  'answer HEARD',
  'answer CHANGED',
  'answer SILENT',
  'peer refused',
  'rounds_unanswered',
  'verdicts',
  'verdicts_refused',
  'heals',
  'touches',
  'expiries',
  'disturbances',
  'handed over',
  'released by hand',
  'histories compared',
  'override set',
  'override cleared',
  'override ended: 2',
  'override ended: 3',
  'override refused',
  'memberships_lost',
  'canaries_missed',
  'relists',
  'commits_refused',
  'commits_failed',
  // What watchers see.
  'watch begun',
  'watch resumed',
  'watch continued within a view',
  'watch resumed at another replica',
  'watch message applied',
  // What was measured.
  'detections',
  'detections after faults',
  // What went wrong.
  ...FAULTS,
  'evicted',
  'restored',
  'restored with a new epoch',
  'rollbacks',
  'watch reset by a restore',
  'outage refuse',
  'outage hang',
  'outage lost-reply',
  ...TRICKS.map((trick) => `trick: ${trick}`),
  // Protection: every way in which it begins and ends, and what lies between.
  'protections_begun_alone',
  'protections_begun_widespread',
  'protections_ended_empty',
  'protections_ended_full',
  'protections_ended_half',
  'protections_ended_late',
  'protections_released',
  'verdicts_unseasoned',
  'joined an event',
  'second event',
  'expired: replaced',
  'expired: kept long enough',
  ...PLOTS.map((plot) => `plot: ${plot}`),
  // Checks: every verdict from every one that it may come from, and how it came about.
  ...CHECK_PLOTS.map((plot) => `plot: ${plot}`),
  ...CHECK_TRICKS.map((trick) => `trick: ${trick}`),
  ...OWN_FAULTS.map((fault) => `own fault: ${fault}`),
  'dependency dies',
  'no way to targets',
  'checks changed',
  'checks released',
  'service checks set',
  'service checks ended',
  'checks off at one node',
  'other checks of the same run',
  'failed although another may not probe it',
  ...[
    [2, 1],
    [2, 3],
    [2, 4],
    [2, 5],
    [3, 1],
    [3, 2],
    [4, 2],
    [4, 3],
    [5, 1],
  ].map(([to, from]) => `check verdict ${to}, was ${from}`),
  'check failed at 1 of 1',
  'check failed at 2 of 2',
  'check failed at 2 of 3',
  'check failed at 3 of 3',
  'healed by what another server saw',
  'removed for its checks',
  'joined an event by a check',
  'check_verdicts_refused',
  'checks_vetoed',
  'probed for another: PASS',
  'probed for another: FAIL',
  'probed for another: INCONCLUSIVE',
  'K5 looked at',
  'K6 looked at',
];

/** Runs seeds one after the other. Throws at the first that breaks a promise, naming it. */
export async function runSeeds(from: number, count: number): Promise<Tally> {
  const total: Tally = new Map();
  for (let seed = from; seed < from + count; seed++) {
    try {
      for (const [name, n] of await new Simulation(seed).run()) total.set(name, (total.get(name) ?? 0) + n);
    } catch (error) {
      throw new Error(
        `seed ${seed}: ${(error as Error).message}; run it again with: npm run sim -- --from ${seed} --seeds 1`,
        { cause: error },
      );
    }
  }
  return total;
}

/** The tally as a table. */
export function table(tally: Tally): string {
  return [...tally]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, n]) => `${String(n).padStart(9)}  ${name}`)
    .join('\n');
}

/** How often a long run says how far it is. */
const REPORT_EVERY_WORLDS = 1_000;

function report(worlds: number): void {
  if (worlds % REPORT_EVERY_WORLDS === 0) process.stderr.write(`${worlds} worlds\n`);
}

if (process.argv[1]?.endsWith('sim/run.ts')) {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '500' },
      from: { type: 'string', default: '1' },
      cluster: { type: 'boolean', default: false },
      failures: { type: 'string', default: '1' },
      lines: { type: 'string', default: '120' },
    },
  });
  const [from, seeds] = [Number(values.from), Number(values.seeds)];
  let tally: Tally;
  let failed = false;
  if (values.cluster) {
    const result =
      seeds === 1
        ? await runClusterSeed(from, Number(values.lines))
        : await runClusterSeeds(from, seeds, Number(values.failures), report);
    tally = new Map(result.tally);
    failed = result.failures.length > 0;
    if (failed) process.stdout.write(`${tell(result)}\n`);
  } else {
    tally = await runSeeds(from, seeds);
  }
  process.stdout.write(`${table(tally)}\n`);
  const missing = (values.cluster ? CLUSTER_MUST_HAPPEN : MUST_HAPPEN).filter((name) => !tally.get(name));
  if (missing.length > 0) process.stdout.write(`never happened: ${missing.join(', ')}\n`);
  process.exit(failed || missing.length > 0 ? 1 : 0);
}
