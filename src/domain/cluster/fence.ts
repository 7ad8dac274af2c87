import type { Clock } from '../../base/clock.js';
import type { Telemetry } from '../../base/observe.js';
import { GRACE_MS } from '../health/heard.js';
import { LEASE_MS } from '../../store/store.js';

/** How often a member rewrites its key: a third of its lease, so that two may fail. */
export const REWRITE_MS = 3_000;
/** No heartbeat is acknowledged so long after the last confirmed rewrite was sent: the others begin to judge a grace after our lease. */
const FENCE_MS = 0.95 * GRACE_MS;
/** A membership that was not confirmed for so long may be over soon: nothing is judged, and peers are asked about the store. */
const UNCONFIRMED_MS = 0.8 * LEASE_MS;
/** A rewrite confirmed that was sent within this: the store works. */
const STORE_WORKS_MS = 1.5 * REWRITE_MS;
/** Wall and monotonic clock that part by more between two looks: this process was suspended, and others' time went on. */
const CLOCKS_PART_MS = 1_000;

/**
 * Until when heartbeats may be acknowledged, and silence may count: by when the last confirmed rewrite of the own key was
 * *sent*. Of one that was not confirmed nothing is known, and a reply may have been on its way for long.
 */
export class Fence {
  /** True: other members say that the store works for them, while it does not for this one. */
  othersHaveStore = false;
  /** When the last confirmed rewrite was sent. */
  #sentMs = -Infinity;
  /** Rewrites that were sent before this do not count: the clocks have parted since. */
  #trustedFromMs = -Infinity;
  #wallAheadMs: number | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly telemetry: Telemetry,
    /** Called when the clocks have parted: only a rewrite that is sent from now on helps. */
    private readonly onParted: () => void,
  ) {}

  /** The store has confirmed what was sent at that time: a join or a rewrite. */
  confirmed(sentMs: number): void {
    if (sentMs > this.#sentMs) this.#sentMs = sentMs;
  }

  /** Why no heartbeat may be acknowledged now. Undefined: they may. */
  reason(): string | undefined {
    this.compareClocks();
    if (this.#sentMs < this.#trustedFromMs) return 'CLOCKS_PARTED';
    if (this.#hasPassed(FENCE_MS)) return 'STORE_LOST';
    if (this.othersHaveStore) return 'STORE_LOST_HERE_ALONE';
    return undefined;
  }

  /** True: the membership may be over soon, or already: silence must not count. */
  get unconfirmed(): boolean {
    return this.#hasPassed(UNCONFIRMED_MS);
  }

  /** True: the store has taken a rewrite lately. In an outage nobody says so by the time that anybody asks. */
  get storeWorks(): boolean {
    return !this.#hasPassed(STORE_WORKS_MS);
  }

  /** A process that was suspended does not see it by its monotonic clock. Looked at whenever a heartbeat comes. */
  compareClocks(): void {
    const now = this.clock.now();
    const wallAheadMs = this.clock.wall() - now;
    const partedMs = wallAheadMs - (this.#wallAheadMs ?? wallAheadMs);
    this.#wallAheadMs = wallAheadMs;
    if (Math.abs(partedMs) <= CLOCKS_PART_MS) return;
    this.telemetry.log.warn({ byMs: Math.round(partedMs) }, 'the clocks have parted: suspended, or set');
    this.#trustedFromMs = now;
    this.onParted();
  }

  #hasPassed(ms: number): boolean {
    return this.clock.now() >= this.#sentMs + ms;
  }
}
