import type { Clock } from '../base/clock.js';

/** Lets callers through once a revision has been reached. */
export class RevisionGate {
  readonly #waiting = new Set<{ revision: bigint; pass: (reached: boolean) => void }>();
  #revision = 0n;

  constructor(private readonly clock: Clock) {}

  /** Resolves true once `revision` has been reached, false after `waitMs`. */
  reached(revision: bigint, waitMs: number): Promise<boolean> {
    if (revision <= this.#revision) return Promise.resolve(true);
    return new Promise((resolve) => {
      const waiter = {
        revision,
        pass: (reached: boolean) => {
          this.#waiting.delete(waiter);
          timer.cancel();
          resolve(reached);
        },
      };
      const timer = this.clock.after(waitMs, () => waiter.pass(false));
      this.#waiting.add(waiter);
    });
  }

  /** Lets through the callers that wait for this revision or an older one. */
  advance(revision: bigint): void {
    this.#revision = revision;
    for (const waiter of this.#waiting) if (waiter.revision <= revision) waiter.pass(true);
  }
}
