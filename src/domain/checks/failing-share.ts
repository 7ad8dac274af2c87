import type { Tracked } from './tracked.js';

/** A server that is alone records no failure while more than this share of its instances fail, and more than this number. */
const SHARE_MAX = 0.3;
const NUMBER_MAX = 3;

/** Counts instances, and those of them that fail. */
class Tally {
  readonly #counted = new Map<Tracked, boolean>();
  #failing = 0;

  get failing(): number {
    return this.#failing;
  }

  get all(): number {
    return this.#counted.size;
  }

  get isTooMany(): boolean {
    return this.#failing > NUMBER_MAX && this.#failing > this.#counted.size * SHARE_MAX;
  }

  note(tracked: Tracked, fails: boolean): void {
    const before = this.#counted.get(tracked);
    if (before === fails) return;
    this.#failing += Number(fails) - Number(before ?? false);
    this.#counted.set(tracked, fails);
  }

  drop(tracked: Tracked): void {
    if (this.#counted.get(tracked)) this.#failing--;
    this.#counted.delete(tracked);
  }
}

/**
 * Counts the instances that this member has probed since it became the checker of them, and those of them whose last probe that
 * said anything failed. An instance that is recorded as failed counts in neither.
 *
 * Where no other member can be asked, many failures at once mean that the fault is here.
 */
export class FailingShare {
  /** Those that have passed before. One that never came up says nothing about what has happened to the others. */
  readonly known = new Tally();
  /** Those that have not passed yet too: where this server reaches no target, all of a new rollout fail. */
  readonly every = new Tally();

  /** Takes in the present state of an instance: after each probe of it, and whenever it is taken over or its verdict changes. */
  note(tracked: Tracked): void {
    const isProbed = tracked.states.some(({ outcome }) => outcome !== undefined);
    if (!tracked.isMine || tracked.isFailed || !isProbed) return this.drop(tracked);
    const fails = tracked.states.some(({ hasFailed }) => hasFailed);
    this.every.note(tracked, fails);
    if (tracked.isPending) this.known.drop(tracked);
    else this.known.note(tracked, fails);
  }

  /** An instance that this member does not probe any more. */
  drop(tracked: Tracked): void {
    this.known.drop(tracked);
    this.every.drop(tracked);
  }
}
