import type { Clock, Timer } from '../../base/clock.js';
import type { Telemetry } from '../../base/telemetry.js';
import { MemberRecord } from '../../gen/rollcall/storage/v1/records.js';
import type { Member } from '../../store/store.js';
import { Canary } from './canary.js';
import { Fence, type FenceReason, REWRITE_MS } from './fence.js';
import type { PeerLinks } from './peer-links.js';
import type { Propagation } from './propagation.js';
import { COUNTERS } from './instruments.js';

/** The most rewrites in flight: one that hangs must not hold up the next. */
const REWRITES_MAX = 2;
/** How often clocks, canary and fence are checked. */
export const LOOK_MS = 250;

/** A membership whose key is rewritten. */
export interface Rewritten {
  readonly member: Member;
  readonly joinedMs: number;
  /** Called when the key is known to be gone. */
  readonly lost: () => void;
}

/** The dependencies of Rewrites. */
export interface RewritesParts {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly links: PeerLinks;
  /** The record of this member's key, new with every call. */
  readonly record: () => MemberRecord;
  readonly propagation: Propagation;
  /** Called at each rewrite with the age of the membership in milliseconds. */
  readonly onRewrite: (ageMs: number) => void;
  /** Lists everything again, on a new watch. */
  readonly relist: () => void;
}

/**
 * Rewrites this member's key every REWRITE_MS. A confirmed rewrite shows that the store works (the fence). A rewrite
 * that arrives through this member's watch shows that the watch works (the canary).
 */
export class Rewrites {
  readonly #fence: Fence;
  readonly #canary: Canary;
  #current: Rewritten | undefined;
  #inFlight = 0;
  #timers: Timer[] = [];

  constructor(private readonly parts: RewritesParts) {
    const { clock, telemetry } = parts;
    this.#fence = new Fence({ clock, telemetry, onDiverged: () => this.#rewrite() });
    this.#canary = new Canary(clock);
  }

  start(): void {
    const { clock } = this.parts;
    this.#timers = [clock.every(REWRITE_MS, () => this.#rewrite()), clock.every(LOOK_MS, () => this.#look())];
  }

  close(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#current = undefined;
  }

  /** The process joined: the store confirmed a transaction that was sent at `sentMs`. */
  begin(current: Rewritten, sentMs: number): void {
    this.#canary.seen();
    this.#confirmed(sentMs);
    this.#current = current;
  }

  /** The membership has ended, or is about to. */
  end(): void {
    this.#current = undefined;
  }

  /** Notes that the watch of this process shows a rewrite of its own member key. */
  seen(writeId: string): void {
    this.#canary.seen();
    this.parts.propagation.reached('catalog', writeId);
  }

  /** Milliseconds since this member's watch last showed this member's rewrite. */
  get lagMs(): number {
    return this.#canary.lagMs;
  }

  /** The reason why no heartbeat may be acknowledged now. `undefined` if heartbeats may be. */
  fenced(): FenceReason | undefined {
    return this.#fence.reason();
  }

  /** True if the membership may end soon or may have ended, so that silence must not count. */
  get unconfirmed(): boolean {
    return this.#fence.unconfirmed;
  }

  /** True if the store works for this member. */
  get storeWorks(): boolean {
    return this.#fence.storeWorks;
  }

  #rewrite(): void {
    const current = this.#current;
    if (!current || this.#inFlight >= REWRITES_MAX) return;
    const { clock, record, onRewrite, propagation } = this.parts;
    const next = record();
    const sentMs = clock.now();
    this.#inFlight++;
    void current.member
      .rewrite(MemberRecord.encode(next).finish())
      .then(
        (isOurs) => {
          if (isOurs) propagation.confirmed(next.writeId);
          if (!isOurs) current.lost();
          else if (this.#current === current) this.#confirmed(sentMs);
        },
        () => undefined, // the outcome is unknown, so it confirms nothing
      )
      .finally(() => this.#inFlight--);
    onRewrite(sentMs - current.joinedMs);
  }

  #confirmed(sentMs: number): void {
    this.#fence.confirmed(sentMs);
    this.#canary.confirmed(sentMs);
  }

  #look(): void {
    const { links, relist, telemetry } = this.parts;
    this.#fence.compareClocks();
    if (!this.#current) return;
    if (this.#canary.isMissed) {
      const lagMs = Math.round(this.#canary.lagMs);
      telemetry.log.warn({ lagMs }, 'the watch misses the rewrites of this member; listing again on a new watch');
      telemetry.counters.add(COUNTERS.canaries_missed);
      this.#canary.seen(); // the new listing shows them
      relist();
    }
    if (!this.unconfirmed) {
      this.#fence.setOthersHaveStore(false);
      return;
    }
    // The store may answer again at any moment, so this rewrite does not wait for the next REWRITE_MS.
    if (this.#inFlight === 0) this.#rewrite();
    void links.anyHasStore().then((has) => this.#fence.setOthersHaveStore(has && this.unconfirmed));
  }
}
