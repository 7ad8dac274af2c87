import type { Random } from './random.js';

/** Waiting times between tries: exponential with full jitter, so that many waiters spread out. */
export class Backoff {
  #tries = 0;

  /** The n-th wait is drawn evenly from 0 to `baseMs * 2^n`, at most `maxMs`. */
  constructor(
    private readonly random: Random,
    private readonly baseMs: number,
    private readonly maxMs: number,
  ) {}

  /** The next wait, in milliseconds. */
  nextMs(): number {
    const ceiling = Math.min(this.maxMs, this.baseMs * 2 ** Math.min(this.#tries, 30));
    this.#tries++;
    return this.random.fraction() * ceiling;
  }

  /** Starts over after a success. */
  reset(): void {
    this.#tries = 0;
  }
}
