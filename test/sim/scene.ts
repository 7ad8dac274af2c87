import { Dice } from '../support/dice.js';
import type { Checker } from './checker.js';
import { World } from './world.js';

/** What a run did, by name, so that a run in which something never happened is noticed. */
export type Tally = Map<string, number>;

/** How much of its past a world can print. */
const LINES_MAX = 20_000;

/** What everything in one simulated world shares: time, chance, the checker and the memory of what happened. */
export class Scene<C extends Checker = Checker> {
  readonly world = new World();
  readonly dice: Dice;
  readonly checker: C;
  readonly tally: Tally = new Map();
  failure: Error | undefined;
  /** True: no more faults, and a quick network. */
  calm = false;
  #lines: string[] = [];
  #next = 1;

  constructor(
    readonly seed: number,
    check: (now: () => number) => C,
  ) {
    this.dice = new Dice(seed);
    this.checker = check(() => this.world.now);
  }

  /** What happened, oldest first. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  /** A number that nothing else has. */
  number(): number {
    return this.#next++;
  }

  count(name: string, n = 1): void {
    this.tally.set(name, (this.tally.get(name) ?? 0) + n);
  }

  /** Remembers something that happened. */
  note(what: string): void {
    if (this.#lines.length >= 2 * LINES_MAX) this.#lines = this.#lines.slice(-LINES_MAX);
    this.#lines.push(`${this.world.now.toFixed(2).padStart(10)}  ${what}`);
  }

  /** Runs a check; a promise that was broken ends the run. */
  guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.failed(error as Error);
    }
  }

  /** Lets something go on beside everything else. */
  spawn(work: Promise<void>): void {
    work.catch((error: Error) => this.failed(error));
  }

  failed(error: Error): void {
    if (!this.failure) this.note(`FAILED: ${error.message}`);
    this.failure ??= error;
  }
}
