import { CheckVerdict } from '../../gen/rollcall/v1/check.js';
import { isRelease } from '../../model/check.js';
import type { InstanceItem } from '../../model/instance.js';
import { type CheckState, statesOf } from './check-state.js';

/** After a heal, a failure within this time doubles the passes that the next heal needs. */
const FLAP_MS = 10 * 60_000;
/** The most that damping multiplies the passes by, and the longest that it keeps an instance out. */
const DAMP_MAX = 8;
const DAMP_MAX_MS = 5 * 60_000;

/** Why the failure of a check is not recorded. */
export interface Doubt {
  readonly state: CheckState;
  /** Since when rounds have come to this. */
  readonly sinceMs: number;
  /** The node that reaches the instance. Empty: none does. */
  readonly node: string;
  /** How many servers may probe it, and how many of these failed to reach it. */
  readonly mayProbe: number;
  readonly failed: number;
}

/** An instance with checks, as this process follows it. */
export class Tracked {
  states: readonly CheckState[];
  /** True if this member probes it. */
  isMine = false;
  /** True while a verdict on it is on its way. */
  isBusy = false;
  /** True if its failure was confirmed, and not recorded because too many of its service fell at once. */
  wasHeldBack = false;
  /** No round about it begins before this. */
  notBeforeMs = 0;
  /** Own failed probes since the last round about an instance that is recorded as ill. */
  failsSinceRound = 0;
  /** True once it is followed no longer: it was removed, or is defined in other words. Any decision about it is void. */
  isGone = false;
  /** Why its failure is not recorded, as the last round about it has found. `undefined`: there is no such failure. */
  doubt: Doubt | undefined;
  /** True if the last round has found that no other server may probe it. */
  isSole = false;
  #damp = 1;
  #healedMs = -Infinity;

  #item: InstanceItem;
  #verdict: CheckVerdict;

  constructor(item: InstanceItem) {
    this.#item = item;
    this.#verdict = item.checks.verdict;
    this.states = statesOf(item);
  }

  get item(): InstanceItem {
    return this.#item;
  }

  get verdict(): CheckVerdict {
    return this.#verdict;
  }

  get isPending(): boolean {
    return this.verdict === CheckVerdict.CHECK_VERDICT_PENDING;
  }

  get isFailed(): boolean {
    return this.verdict === CheckVerdict.CHECK_VERDICT_FAILED;
  }

  /**
   * Takes in a newer item of the same incarnation and the same checks. Another verdict is another illness, although a server
   * that was cut off from the store saw nothing between the two. Failures before a release count no longer.
   */
  renew(item: InstanceItem): void {
    const before = this.#item.checks.item;
    this.#item = item;
    this.#verdict = item.checks.verdict;
    const { item: verdict } = item.checks;
    if (verdict?.revision === before?.revision) return;
    this.doubt = undefined;
    for (const state of this.states) state.illSinceMs = undefined;
    if (verdict && isRelease(verdict)) this.forgetStreaks();
  }

  /** Counts from zero again: another server was the checker, or other checks are defined. */
  forgetStreaks(): void {
    for (const state of this.states) state.forgetStreaks();
    this.failsSinceRound = 0;
    this.doubt = undefined;
  }

  /** Notes that it was recorded as failed. */
  failed(nowMs: number): void {
    this.#damp = nowMs - this.#healedMs < FLAP_MS ? Math.min(DAMP_MAX, 2 * this.#damp) : 1;
    this.#forgetSeenElsewhere();
    this.failsSinceRound = 0;
    this.doubt = undefined;
  }

  /** Notes that it was recorded as passing after a failure. */
  healed(nowMs: number): void {
    this.#healedMs = nowMs;
    this.#forgetSeenElsewhere();
  }

  #forgetSeenElsewhere(): void {
    for (const state of this.states) state.seenElsewhere = 0;
  }

  /** The passes in a row that a check needs to heal. `damps`: one that failed again soon needs more. */
  passesNeeded({ check, intervalMs }: CheckState, damps: boolean): number {
    const { healthyThreshold } = check;
    if (!damps) return healthyThreshold;
    return Math.max(healthyThreshold, Math.min(healthyThreshold * this.#damp, Math.floor(DAMP_MAX_MS / intervalMs)));
  }
}

/** Returns true if two items are of one run with the same checks of the same places. */
export function hasSameChecks(tracked: Tracked, item: InstanceItem): boolean {
  const before = tracked.item;
  if (before.incarnationRevision !== item.incarnationRevision) return false;
  if (before.checks.definitions === item.checks.definitions && before.modRevision === item.modRevision) return true;
  const states = statesOf(item);
  return (
    states.length === tracked.states.length &&
    states.every(({ fingerprint }, i) => fingerprint === tracked.states[i]!.fingerprint)
  );
}
