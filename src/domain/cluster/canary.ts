import type { Clock } from '../../base/clock.js';
import { REWRITE_MS } from './fence.js';

/** A confirmed rewrite not seen for so long, through the own watch: the watch is silent, and everything is listed anew. */
const CANARY_MS = 2.5 * REWRITE_MS;

/** Whether the own watch shows the rewrites of the own key that the store has confirmed. */
export class Canary {
  #seenMs = 0;
  /** When the first rewrite was confirmed that has not been seen. Undefined: none is to be seen. */
  #unseenSinceMs: number | undefined;
  /** When the last rewrite was sent that was confirmed. What was not written in an outage cannot be seen. */
  #sentMs = -Infinity;

  constructor(private readonly clock: Clock) {}

  /** Since a rewrite was last seen through the watch, in milliseconds. */
  get lagMs(): number {
    return this.clock.now() - this.#seenMs;
  }

  /** The watch has shown one, or there is nothing yet that it could show. */
  seen(): void {
    this.#seenMs = this.clock.now();
    this.#unseenSinceMs = undefined;
  }

  /** The store has confirmed what was sent at that time. */
  confirmed(sentMs: number): void {
    if (sentMs <= this.#sentMs) return;
    this.#sentMs = sentMs;
    if (this.#seenMs < sentMs) this.#unseenSinceMs ??= this.clock.now();
  }

  /** True: the store has taken what the watch does not show. */
  get isMissed(): boolean {
    const now = this.clock.now();
    return now - (this.#unseenSinceMs ?? now) > CANARY_MS && now - this.#sentMs < CANARY_MS;
  }
}
