import type { Clock } from '../../base/clock.js';
import type { Telemetry } from '../../base/telemetry.js';
import { GRACE_MS } from '../health/liveness-table.js';
import { LEASE_MS } from '../../store/store.js';

/** The reasons for which a member acknowledges no heartbeat. Errors, GetStatus and the metrics show them. */
export const FENCE_REASONS = [
  'NOT_A_MEMBER',
  'LEAVING',
  'STORE_LOST',
  'STORE_LOST_HERE_ALONE',
  'CLOCKS_PARTED',
] as const;

/** One of them. */
export type FenceReason = (typeof FENCE_REASONS)[number];

/** How often a member rewrites its key: a third of its lease, so that two may fail. */
export const REWRITE_MS = 3_000;
/**
 * If the last confirmed rewrite was sent longer ago than this, no heartbeat is acknowledged: one grace after the lease
 * ends, the others judge.
 */
const FENCE_MS = 0.95 * GRACE_MS;
/**
 * A membership that was not confirmed for this time may end soon. This member then judges nothing, and asks its peers
 * whether the store works for them.
 */
const UNCONFIRMED_MS = 0.8 * LEASE_MS;
/** A confirmed rewrite that was sent within this shows that the store works. */
const STORE_WORKS_MS = 1.5 * REWRITE_MS;
/** If wall and monotonic clock diverge by more than this between checks, the process was suspended while the others ran. */
const DIVERGENCE_MAX_MS = 1_000;

/** The dependencies of a Fence. */
export interface FenceParts {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Called when the clocks have diverged. Only a rewrite that is sent after that allows acknowledgements again. */
  readonly onDiverged: () => void;
}

/**
 * Decides until when heartbeats may be acknowledged and silence may count. Both depend on the time at which the last
 * confirmed rewrite of this member's key was *sent*. An unconfirmed rewrite shows nothing, and a reply may have been in
 * flight for a long time.
 */
export class Fence {
  /** True if other members report that the store works for them, while it does not for this one. */
  #othersHaveStore = false;
  /** The time at which the last confirmed rewrite was sent. */
  #sentMs = -Infinity;
  /** Rewrites that were sent before this do not count: the clocks have diverged since. */
  #trustedFromMs = -Infinity;
  #wallAheadMs: number | undefined;

  constructor(private readonly parts: FenceParts) {}

  /** Takes in whether the store works for other members. */
  setOthersHaveStore(has: boolean): void {
    this.#othersHaveStore = has;
  }

  /** Notes that the store confirmed a join or a rewrite that was sent at `sentMs`. */
  confirmed(sentMs: number): void {
    if (sentMs > this.#sentMs) this.#sentMs = sentMs;
  }

  /** The reason why no heartbeat may be acknowledged now. `undefined` if heartbeats may be. */
  reason(): FenceReason | undefined {
    this.compareClocks();
    if (this.#sentMs < this.#trustedFromMs) return 'CLOCKS_PARTED';
    if (this.#hasPassed(FENCE_MS)) return 'STORE_LOST';
    if (this.#othersHaveStore) return 'STORE_LOST_HERE_ALONE';
    return undefined;
  }

  /** True if the membership may end soon or may have ended, so that silence must not count. */
  get unconfirmed(): boolean {
    return this.#hasPassed(UNCONFIRMED_MS);
  }

  /**
   * True if the store confirmed a write recently. In an outage it turns false on all members before one asks the
   * others.
   */
  get storeWorks(): boolean {
    return !this.#hasPassed(STORE_WORKS_MS);
  }

  /**
   * Notices that the process was suspended, which the monotonic clock alone does not show. Called at every heartbeat.
   */
  compareClocks(): void {
    const { clock, telemetry, onDiverged } = this.parts;
    const now = clock.now();
    const wallAheadMs = clock.wall() - now;
    const divergedMs = wallAheadMs - (this.#wallAheadMs ?? wallAheadMs);
    this.#wallAheadMs = wallAheadMs;
    if (Math.abs(divergedMs) <= DIVERGENCE_MAX_MS) return;
    const fields = { byMs: Math.round(divergedMs) };
    telemetry.log.warn(
      fields,
      'wall and monotonic clocks diverged: the process was suspended, or the wall clock was set',
    );
    this.#trustedFromMs = now;
    onDiverged();
  }

  #hasPassed(ms: number): boolean {
    return this.parts.clock.now() >= this.#sentMs + ms;
  }
}
