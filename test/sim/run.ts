// Runs the simulation: `npm run sim -- --seeds 500 [--from 1]`. Prints how often each kind of thing happened.
import { parseArgs } from 'node:util';
import { Simulation, type Tally } from './simulation.js';

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
  'watch message applied',
  'detections',
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

if (process.argv[1]?.endsWith('run.ts')) {
  const { values } = parseArgs({
    options: { seeds: { type: 'string', default: '500' }, from: { type: 'string', default: '1' } },
  });
  const tally = await runSeeds(Number(values.from), Number(values.seeds));
  process.stdout.write(`${table(tally)}\n`);
  const missing = MUST_HAPPEN.filter((name) => !tally.get(name));
  if (missing.length > 0) process.stdout.write(`never happened: ${missing.join(', ')}\n`);
  process.exit(missing.length > 0 ? 1 : 0);
}
