import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Broken } from '../checker.js';
import { PLOTS } from './plots.js';
import type { Tally } from '../scene.js';
import type { ClusterScene } from './checker.js';
import { ClusterSimulation } from './simulation.js';

/** How much of its past a world that broke a promise prints. */
const TAIL_LINES = 120;
/** Seeds that a worker runs before it is given more. */
const BATCH = 10;
/** Worlds are made of short-lived objects: room for many of them saves a tenth of the time. */
const YOUNG = '--max-semi-space-size=64';

/** What one or several seeds came to. */
export interface ClusterResult {
  readonly tally: [string, number][];
  readonly failures: { readonly seed: number; readonly message: string; readonly tail: readonly string[] }[];
}

/** Runs one seed. */
export async function runClusterSeed(seed: number, tailLines = TAIL_LINES): Promise<ClusterResult> {
  const simulation = new ClusterSimulation(
    seed,
    PLOTS.find((plot) => plot === process.env['ROLLCALL_SIM_PLOT']),
  );
  try {
    return { tally: [...(await simulation.run())], failures: [] };
  } catch (error) {
    const message = error instanceof Broken ? error.message : String((error as Error).stack);
    const tail = tailOf(simulation.scene, message, tailLines);
    return { tally: [...simulation.scene.tally], failures: [{ seed, message, tail }] };
  }
}

/** The last lines that say something of the instance that the message names, or of no instance at all. */
function tailOf({ lines }: ClusterScene, message: string, count: number): string[] {
  const key = /w\/i\/[^ :]+/.exec(message)?.[0];
  return lines.filter((line) => !key || !/ w\/i\//.test(line) || line.includes(key)).slice(-count);
}

/** Runs seeds on all cores. Stops early once `failuresMax` have failed. `onWorlds` is told how many have run so far. */
export async function runClusterSeeds(
  from: number,
  count: number,
  failuresMax = 1,
  onWorlds: (worlds: number) => void = () => undefined,
): Promise<ClusterResult> {
  const total: Tally = new Map();
  let worlds = 0;
  const failures: ClusterResult['failures'] = [];
  let next = from;
  const workers = Math.max(1, Math.min(availableParallelism(), Math.ceil(count / BATCH)));
  const work = async (): Promise<void> => {
    const worker = fork(fileURLToPath(import.meta.url), ['worker'], { execArgv: ['--import', 'tsx', YOUNG] });
    try {
      while (next < from + count && failures.length < failuresMax) {
        const seeds = [next, Math.min(next + BATCH, from + count)];
        next = seeds[1]!;
        worker.send(seeds);
        const results = await answerOf(worker);
        for (const { tally, failures: found } of results) {
          for (const [name, n] of tally) total.set(name, (total.get(name) ?? 0) + n);
          failures.push(...found);
        }
        onWorlds((worlds += results.length));
      }
    } finally {
      worker.kill();
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
  failures.sort((a, b) => a.seed - b.seed);
  return { tally: [...total], failures };
}

async function answerOf(worker: ChildProcess): Promise<ClusterResult[]> {
  const over = new AbortController();
  const { signal } = over;
  const died = once(worker, 'exit', { signal }).then(([code]) => {
    throw new Error(`a worker of the simulation ended with ${code}`);
  });
  const answered = once(worker, 'message', { signal });
  try {
    const [results] = (await Promise.race([answered, died])) as [ClusterResult[]];
    return results;
  } finally {
    died.catch(() => undefined);
    answered.catch(() => undefined);
    over.abort();
  }
}

/** What a failure looks like for people. */
export function tell({ failures }: ClusterResult): string {
  return failures
    .map(
      ({ seed, message, tail }) =>
        `${tail.join('\n')}\nseed ${seed}: ${message}\nrun it again with: npm run sim -- --cluster --from ${seed} --seeds 1`,
    )
    .join('\n\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url) && process.argv[2] === 'worker') {
  process.on('message', (range: [number, number]) => {
    void (async () => {
      const results: ClusterResult[] = [];
      for (let seed = range[0]; seed < range[1]; seed++) results.push(await runClusterSeed(seed));
      process.send!(results);
    })();
  });
}
