import type { Clock } from '../../base/clock.js';
import { REWRITE_MS } from './fence.js';

/**
 * If a confirmed rewrite does not arrive through the watch within this time, the watch is dead: all is listed again.
 */
const CANARY_MS = 2.5 * REWRITE_MS;

/** Checks that confirmed rewrites of this member's key arrive through this member's watch. */
export class Canary {
  #seenMs = 0;
  /** The time at which the oldest unseen rewrite was confirmed. `undefined` if none is expected. */
  #unseenSinceMs: number | undefined;
  /** The time at which the last confirmed rewrite was sent. During an outage nothing is written, so nothing can arrive. */
  #sentMs = -Infinity;

  constructor(private readonly clock: Clock) {}

  /** Milliseconds since a rewrite was last seen through the watch. */
  get lagMs(): number {
    return this.clock.now() - this.#seenMs;
  }

  /** Notes that a rewrite arrived through the watch, or that none can arrive yet. */
  seen(): void {
    this.#seenMs = this.clock.now();
    this.#unseenSinceMs = undefined;
  }

  /** Notes that the store confirmed a rewrite that was sent at `sentMs`. */
  confirmed(sentMs: number): void {
    if (sentMs <= this.#sentMs) return;
    this.#sentMs = sentMs;
    if (this.#seenMs < sentMs) this.#unseenSinceMs ??= this.clock.now();
  }

  /** True if the store confirmed a rewrite that the watch does not show. */
  get isMissed(): boolean {
    const now = this.clock.now();
    return now - (this.#unseenSinceMs ?? now) > CANARY_MS && now - this.#sentMs < CANARY_MS;
  }
}
