import { createHash } from 'node:crypto';
import { HealthCheck, ProbeOutcome } from '../../gen/rollcall/v1/check.js';
import { type InstanceItem, isLive } from '../../model/instance.js';
import { fromDuration } from '../../model/time.js';
import { isPass, type ProbeResult, type ProbeTarget, targetOf } from '../../model/probe.js';

/** The number of results that are kept of each check. */
const RESULTS_KEPT = 10;
/** The least time between two probes of one check. */
const AGAIN_MIN_MS = 1_000;
/** After a failure, probes follow one another in this part of the interval until the failure is certain. */
const QUICK_PART = 3;
/** The number of values of a phase. */
const PHASES = 2 ** 32;

/** A result with the time at which it came. */
interface Kept {
  outcome: ProbeOutcome;
  latencyMs: number;
  error: string;
  /** Wall-clock milliseconds. */
  wallMs: number;
}

/** See Kept. */
export type TimedResult = Readonly<Kept>;

/** The course of one check of an instance, as this process has seen it. Nothing of it is stored. */
export class CheckState {
  readonly intervalMs: number;
  /** Names this check of this instance: another definition, or another address, has another one. */
  readonly fingerprint: string;
  /** Failed probes in a row, passed ones, and of those the ones with a limitation and without. */
  fails = 0;
  passes = 0;
  degraded = 0;
  clean = 0;
  /** The outcome of the last probe. `undefined`: there was none since this member became the checker of the instance. */
  outcome: ProbeOutcome | undefined;
  /** True if the last probe that said anything about the target failed. */
  hasFailed = false;
  /** Since when it has kept the instance from being well, as this process has seen it without a gap (liveness clock). */
  illSinceMs: number | undefined;
  /** True if a probe has passed since this member began to count. */
  hasPassed = false;
  /** Rounds in a row in which another server saw it pass. */
  seenElsewhere = 0;
  /** True while a probe is under way. */
  isOpen = false;
  /** When the next probe is due (liveness clock). */
  dueMs = Infinity;
  /** When the certificate ends that the target showed last, in milliseconds of the wall clock. */
  certificateEndsMs: number | undefined;
  readonly #results: Kept[] = [];
  #pause = 0;
  #offsetMs: number | undefined;

  constructor(
    readonly key: string,
    readonly check: HealthCheck,
    readonly target: ProbeTarget,
  ) {
    this.intervalMs = fromDuration(check.interval!);
    this.fingerprint = fingerprintOf(check, target);
  }

  /** Takes in the result of a probe. An outcome that says nothing about the target counts neither way. */
  take(result: ProbeResult, wallMs: number): void {
    this.#keep(result, wallMs);
    this.outcome = result.outcome;
    this.certificateEndsMs = result.certificateEndsMs ?? this.certificateEndsMs;
    const isFail = result.outcome === ProbeOutcome.PROBE_OUTCOME_FAIL;
    if (!isFail && !isPass(result)) return;
    this.hasFailed = isFail;
    this.hasPassed ||= !isFail;
    this.fails = isFail ? this.fails + 1 : 0;
    this.passes = isFail ? 0 : this.passes + 1;
    this.degraded = result.outcome === ProbeOutcome.PROBE_OUTCOME_DEGRADED ? this.degraded + 1 : 0;
    this.clean = result.outcome === ProbeOutcome.PROBE_OUTCOME_PASS ? this.clean + 1 : 0;
  }

  /** The newest first, and at most RESULTS_KEPT. They hold until the next result is taken in. */
  get results(): readonly TimedResult[] {
    return this.#results;
  }

  /** The oldest one becomes the newest: thousands of results a second that live for long would keep the garbage collector busy. */
  #keep({ outcome, latencyMs, error }: ProbeResult, wallMs: number): void {
    const isFull = this.#results.length === RESULTS_KEPT;
    const kept = isFull ? this.#results.pop()! : { outcome, latencyMs: 0.5, error, wallMs: 0.5 };
    kept.outcome = outcome;
    kept.latencyMs = latencyMs;
    kept.error = error;
    kept.wallMs = wallMs;
    this.#results.unshift(kept);
  }

  /** Counts from zero again: the failures were refuted, or another server saw what came before. */
  forgetStreaks(): void {
    this.hasPassed = false;
    this.fails = 0;
    this.passes = 0;
    this.degraded = 0;
    this.clean = 0;
    this.seenElsewhere = 0;
    this.outcome = undefined;
    this.hasFailed = false;
    this.illSinceMs = undefined;
    this.#pause = 0;
  }

  /**
   * True if enough probes failed in a row that the other servers are asked. While this server cannot probe, earlier failures of it
   * count no more: they may have been its own.
   */
  get isFailing(): boolean {
    return this.outcome === ProbeOutcome.PROBE_OUTCOME_FAIL && this.fails >= this.check.unhealthyThreshold;
  }

  /** The error of the last probe that did not pass. */
  get error(): string {
    return this.results.find(({ error }) => error !== '')?.error ?? '';
  }

  /**
   * The wait until the next probe: never longer than the interval. `isPending`: the instance has not passed yet; `isFailed`: it
   * is recorded as failed; `wallMs`: the wall clock.
   */
  waitMs(isPending: boolean, isFailed: boolean, wallMs: number): number {
    const quickMs = Math.min(this.intervalMs, Math.max(AGAIN_MIN_MS, this.intervalMs / QUICK_PART));
    if (isPending && this.passes === 0) {
      // A process that starts is seen soon, and one that never comes is not hammered.
      this.#pause = Math.min(this.intervalMs, Math.max(AGAIN_MIN_MS, 2 * this.#pause));
      return this.#pause;
    }
    const isRepeated = isFailed ? this.passes > 0 : this.fails > 0 && !this.isFailing;
    // Back to its own moments, also after the first probe: instances that register together are soon probed apart.
    return isRepeated ? quickMs : Math.min(this.intervalMs, Math.max(AGAIN_MIN_MS, this.phaseMs(wallMs)));
  }

  /** The first moment of its own at or after `wallMs`: the same one on every server, so that no two checks start a storm. */
  phaseMs(wallMs: number): number {
    this.#offsetMs ??= this.#hash() * this.intervalMs;
    return (this.#offsetMs - (wallMs % this.intervalMs) + this.intervalMs) % this.intervalMs;
  }

  /** A number from 0 up to 1 that is this check's own. */
  #hash(): number {
    return createHash('sha1').update(`${this.key} ${this.check.name}`).digest().readUInt32BE() / PHASES;
  }
}

/** The states of the checks of an instance, without a result yet. */
export function statesOf(item: InstanceItem): CheckState[] {
  if (!isLive(item)) return [];
  return item.checks.definitions.flatMap((check) => {
    const target = targetOf(item, check);
    return target ? [new CheckState(item.key, check, target)] : [];
  });
}

function fingerprintOf(check: HealthCheck, { address, port }: ProbeTarget): string {
  const hash = createHash('sha1').update(HealthCheck.encode(check).finish());
  return hash.update(`${address} ${port}`).digest('base64url').slice(0, 16);
}
