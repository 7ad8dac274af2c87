import type { Telemetry } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Commits } from '../../catalog/commits.js';
import { type Testimony, TestimonyKind } from '../../gen/rollcall/v1/cause.js';
import { CheckVerdict, ProbeOutcome } from '../../gen/rollcall/v1/check.js';
import { ReportedState } from '../../gen/rollcall/v1/instance.js';
import { checkKey, isRelease, judgedCheck, serviceChecksKey, type Verdict, writeCheck } from '../../model/check.js';
import { RollcallError } from '../../model/errors.js';
import { failedForLong, reportedState } from '../../model/instance.js';
import { overrideKey } from '../../model/override.js';
import { protectionKey } from '../../model/protection.js';
import { fromDuration, toDuration } from '../../model/time.js';
import type { Compare, Txn } from '../../store/store.js';
import type { FallLimit } from '../health/fall-limit.js';
import type { LivenessClock } from '../health/liveness-clock.js';
import type { LivenessEntry, LivenessTable } from '../health/liveness-table.js';
import type { Cluster, Jury } from '../health/peers.js';
import type { Seasoning } from '../health/seasoning.js';
import type { CheckState } from './check-state.js';
import type { FailingShare } from './failing-share.js';
import { COUNTERS } from './instruments.js';
import { isPass, type ProbeResult } from '../../model/probe.js';
import type { Doubt, Tracked } from './tracked.js';

/** The most instances in one question and in one group of transactions. */
const ROUND_MAX = 100;
/** The wait before a round that came to nothing is repeated. */
const ROUND_AGAIN_MS = 1_000;
/** An instance that is recorded as ill is asked about again after this number of own failures. */
const FAILS_PER_ROUND = 3;
/** The number of such rounds in a row, in each of which another server saw it pass, that heal it. */
const SEEN_ROUNDS = 2;
/** Other servers get this much longer than the probe itself takes. */
const ANSWER_MORE_MS = 500;
/** An instance that waits for its first pass this long may be taken for passing while the servers cannot probe. */
const ASSUME_AFTER_MS = 30_000;
/** How long a server holds itself for the only one that may probe: several rounds. */
const SOLE_MS = 30_000;
/** How long a server looks back to a release: as long as falls count together. By then one of its own would have passed. */
const RELEASED_MS = 10 * 60_000;
/** The most testimonies that a record keeps, and the bytes of an error in it. */
const TESTIMONIES_MAX = 8;
const ERROR_CHARS = 256;
const TESTIMONY_CHARS = 64;

/** The dependencies of Verdicts. */
export interface VerdictsParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly cluster: Pick<Cluster, 'jury' | 'judges'>;
  readonly liveness: LivenessClock;
  readonly table: LivenessTable;
  readonly seasoning: Seasoning;
  readonly limit: FallLimit;
  readonly share: FailingShare;
  /** The name of the node of this server. */
  readonly node: string;
  readonly telemetry: Telemetry;
}

/** A failing check that the other servers are asked about. */
interface Case {
  readonly tracked: Tracked;
  readonly state: CheckState;
  /** The instance when the question began. */
  readonly item: Tracked['item'];
  /** The answers, the own one first. */
  readonly testimonies: Testimony[];
}

/** A verdict to write. */
interface Step {
  readonly tracked: Tracked;
  /** The instance that it was decided on. */
  readonly item: Tracked['item'];
  readonly verdict: Verdict;
}

/**
 * Decides what the course of the probes means, and records it: the only writer of verdicts on checks.
 *
 * A failure is recorded only after a question to all other members, each of which probes from where it is. One pass
 * anywhere acquits. More than half of the members that may probe it must have failed to reach the instance: one that does not
 * answer now, or cannot probe now, is no reason to record a failure, and one whose settings forbid it is none against it. Healing
 * needs no question.
 */
export class Verdicts {
  readonly #rounds = new Set<Promise<void>>();
  #cases: Case[] = [];
  #steps: Step[] = [];
  #isFlushing = false;
  /** When a round found that no other member may probe an instance (liveness clock). */
  #soleAtMs = -Infinity;

  constructor(private readonly parts: VerdictsParts) {}

  async close(): Promise<void> {
    await Promise.all(this.#rounds);
  }

  /** Looks at an instance after a probe of it. */
  consider(tracked: Tracked): void {
    if (tracked.isBusy || tracked.states.length === 0) return;
    const { states } = tracked;
    const failing = states.find(({ isFailing }) => isFailing);
    if (failing) this.#suspect(tracked, failing);
    else this.#relieve(tracked);
  }

  /**
   * Looks at an instance although no probe of it has ended: one that is ill for long, or whose failure is not recorded yet.
   * `trouble`: why this server cannot probe now.
   */
  look(tracked: Tracked, trouble: string | undefined): void {
    this.#timeIllness(tracked);
    if (tracked.isBusy) return;
    const isSole = tracked.isSole || this.#isAlone;
    const isOurs = trouble !== undefined || (this.parts.share.every.isTooMany && isSole);
    const overdue = this.#overdueOf(tracked);
    if (isOurs && this.#mayAssume(tracked)) this.#assume(tracked);
    else if (overdue) this.#begin(this.#remove(tracked, overdue));
    else if (tracked.states.some(({ isFailing }) => isFailing)) this.consider(tracked);
  }

  /** True while failures are not recorded, because no other member may probe and too many instances fail at once. */
  get isHeld(): boolean {
    const { share, liveness } = this.parts;
    return share.known.isTooMany && (this.#isAlone || liveness.nowMs - this.#soleAtMs < SOLE_MS);
  }

  /** True if no other member probes. */
  get #isAlone(): boolean {
    return this.parts.cluster.jury()?.others.every(({ canProbe }) => !canProbe) ?? false;
  }

  #suspect(tracked: Tracked, state: CheckState): void {
    const { nowMs } = this.parts.liveness;
    const isRecorded = tracked.isFailed || tracked.isPending;
    const isTime = isRecorded ? tracked.failsSinceRound >= FAILS_PER_ROUND : true;
    if (!isTime || nowMs < tracked.notBeforeMs) return;
    tracked.isBusy = true;
    tracked.failsSinceRound = 0;
    this.#cases.push({ tracked, state, item: tracked.item, testimonies: [] });
    this.#flushSoon();
  }

  #relieve(tracked: Tracked): void {
    const { states } = tracked;
    if (!states.every(({ passes }) => passes > 0)) return;
    const limited = states.find(({ degraded, check }) => degraded >= check.unhealthyThreshold);
    const next = limited ? CheckVerdict.CHECK_VERDICT_DEGRADED : CheckVerdict.CHECK_VERDICT_PASSING;
    if (tracked.verdict !== next && this.#mayLeave(tracked)) this.#step(tracked, next, limited);
  }

  /** Returns true if enough probes passed to leave the present verdict. PENDING and ASSUMED need no more than one each. */
  #mayLeave(tracked: Tracked): boolean {
    const { states, item, verdict } = tracked;
    if (verdict === CheckVerdict.CHECK_VERDICT_FAILED)
      return states.every((state) => state.passes >= tracked.passesNeeded(state, !item.shownByProtection));
    if (verdict === CheckVerdict.CHECK_VERDICT_DEGRADED)
      return states.every(({ clean, check }) => clean >= check.healthyThreshold);
    return true;
  }

  #mayAssume({ isPending, item }: Tracked): boolean {
    if (!isPending || !item.expectsHeartbeats || item.record.silent) return false;
    if (reportedState(item.instance) !== ReportedState.REPORTED_STATE_HEALTHY) return false;
    const entry = this.parts.table.entry(item.key);
    return entry !== undefined && this.parts.liveness.nowMs - entry.runBeganMs >= ASSUME_AFTER_MS;
  }

  #assume(tracked: Tracked): void {
    this.#step(tracked, CheckVerdict.CHECK_VERDICT_ASSUMED, undefined);
  }

  #step(tracked: Tracked, verdict: CheckVerdict, state: CheckState | undefined): void {
    tracked.isBusy = true;
    const { item } = tracked;
    const { incarnation } = item.record.instance!;
    const because = { check: state?.check.name ?? '', error: (state?.error ?? '').slice(0, ERROR_CHARS) };
    this.#steps.push({
      tracked,
      item,
      verdict: { incarnation, verdict, ...because, seasoned: false, cause: undefined },
    });
    this.#flushSoon();
  }

  /** Everything that was decided in one turn of the event loop goes together. */
  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    queueMicrotask(() => {
      this.#isFlushing = false;
      const [cases, steps] = [this.#cases, this.#steps];
      this.#cases = [];
      this.#steps = [];
      for (let i = 0; i < cases.length; i += ROUND_MAX) this.#begin(this.#round(cases.slice(i, i + ROUND_MAX)));
      for (let i = 0; i < steps.length; i += ROUND_MAX) this.#begin(this.#heal(steps.slice(i, i + ROUND_MAX)));
    });
  }

  #begin(round: Promise<void>): void {
    this.#rounds.add(round);
    void round.finally(() => this.#rounds.delete(round));
  }

  async #round(cases: readonly Case[]): Promise<void> {
    const { cluster, telemetry, limit, liveness } = this.parts;
    let chosen: readonly Step[] = [];
    try {
      const jury = cluster.jury();
      if (!jury) return;
      telemetry.counters.add(COUNTERS.check_rounds);
      const convicted = (await this.#ask(cases, jury)).map((one) => this.#conviction(one));
      chosen = limit.choose(convicted, (whole, step) => this.#partOf(whole, step, probingOf(jury).length + 1));
      for (const step of convicted) step.tracked.wasHeldBack = !chosen.includes(step);
      await this.#write(chosen, jury.guard);
    } catch (error) {
      this.#failed(error);
    } finally {
      limit.done(chosen);
      for (const { tracked } of cases) {
        tracked.isBusy = false;
        tracked.notBeforeMs = liveness.nowMs + ROUND_AGAIN_MS;
      }
    }
  }

  /** Asks the other members, and returns the cases of which a failure may be recorded. Acts on the acquittals. */
  async #ask(cases: readonly Case[], jury: Jury): Promise<readonly Case[]> {
    const { node, liveness } = this.parts;
    const queries = cases.map(({ state, item }) => ({
      ...{ namespace: item.namespace, service: item.scope, id: item.name },
      ...{ incarnation: item.record.instance!.incarnation, check: state.check.name, fingerprint: state.fingerprint },
    }));
    const timeoutMs = Math.max(...cases.map(({ state }) => fromDuration(state.check.timeout!))) + ANSWER_MORE_MS;
    const answers = await Promise.all(
      probingOf(jury).map(async (peer) => ({
        node: peer.node,
        results: await peer.probe(queries, timeoutMs).catch(() => undefined),
      })),
    );
    const { isTooMany } = this.parts.share.known;
    return cases.filter((one, i) => {
      const { tracked, state, item, testimonies } = one;
      const own = state.results[0];
      if (own) testimonies.push(testimonyOf(node, own));
      let fails = 1;
      let mayProbe = 1;
      for (const { node: of, results } of answers) {
        const result = results?.[i];
        if (result?.outcome !== ProbeOutcome.PROBE_OUTCOME_DENIED) mayProbe++;
        if (!result) continue;
        if (testimonies.length < TESTIMONIES_MAX) testimonies.push(testimonyOf(of, result));
        if (isPass(result)) {
          this.#doubt(tracked, state, { node: of, mayProbe, failed: fails });
          this.#acquit(tracked, state);
          return false;
        }
        if (result.outcome === ProbeOutcome.PROBE_OUTCOME_FAIL) fails++;
      }
      state.seenElsewhere = 0;
      tracked.isSole = mayProbe === 1;
      if (tracked.isSole) this.#soleAtMs = liveness.nowMs;
      const isConfirmed = 2 * fails > mayProbe && !(tracked.isSole && isTooMany);
      // It may have passed here, been released, or been registered in other words, while the others were asked.
      const isSame = tracked.item.checks.item?.revision === item.checks.item?.revision;
      const isStill = isSame && !tracked.isGone && state.isFailing && !tracked.isFailed && !tracked.isPending;
      this.#doubt(tracked, state, isStill && !isConfirmed ? { node: '', mayProbe, failed: fails } : undefined);
      return isStill && isConfirmed;
    });
  }

  /** Notes why the failure of a check is not recorded, and since when rounds have come to that. */
  #doubt(tracked: Tracked, state: CheckState, found: Omit<Doubt, 'state' | 'sinceMs'> | undefined): void {
    const before = tracked.doubt;
    const isSame = before?.state === state && (before.node === '') === (found?.node === '');
    if (found) tracked.doubt = { ...found, state, sinceMs: isSame ? before.sinceMs : this.parts.liveness.nowMs };
    else if (before?.state === state) tracked.doubt = undefined;
  }

  /** Another server reaches the instance. */
  #acquit(tracked: Tracked, state: CheckState): void {
    this.parts.telemetry.counters.add(COUNTERS.checks_vetoed);
    state.fails = 0;
    state.seenElsewhere++;
    const isOnly = tracked.states.every((one) => one === state || one.passes > 0);
    const heals = tracked.isFailed ? state.seenElsewhere >= SEEN_ROUNDS : tracked.isPending;
    if (!heals || !isOnly || tracked.isGone) return;
    this.#step(tracked, CheckVerdict.CHECK_VERDICT_PASSING, undefined);
  }

  /**
   * The instances of one service are probed by all members, and each may record its part of the failures of one moment. Where
   * there are fewer of them than members, the judge of the service comes first. The others follow a moment later: by then a
   * protection that is due has begun.
   */
  #partOf(whole: number, { item, tracked }: Step, members: number): number {
    const isFirst = tracked.wasHeldBack || this.parts.cluster.judges(item.namespace, item.scope);
    return Math.max(Math.floor(whole / members), isFirst ? 1 : 0);
  }

  /** About the instance of now: its heartbeats may have come and gone while the others were asked. */
  #conviction({ tracked, state, testimonies }: Case): Step {
    const { table, seasoning, node } = this.parts;
    const { item } = tracked;
    const entry = table.entry(item.key);
    const verdict: Verdict = {
      incarnation: item.record.instance!.incarnation,
      verdict: CheckVerdict.CHECK_VERDICT_FAILED,
      check: state.check.name,
      error: state.error.slice(0, ERROR_CHARS),
      seasoned: entry !== undefined && seasoning.isSeasoned(entry) && this.#hasStood(tracked, state, entry),
      cause: { decidedBy: node, testimonies },
    };
    return { tracked, item, verdict };
  }

  /**
   * Returns true if the instance was well because it passed, and not because an operator said so a moment ago: one that never came up
   * would else count as a fall after each release.
   */
  #hasStood({ item }: Tracked, state: CheckState, entry: LivenessEntry): boolean {
    const record = item.checks.item;
    if (!record || !isRelease(record) || state.hasPassed) return true;
    return this.parts.liveness.nowMs - entry.failedMs >= RELEASED_MS;
  }

  async #heal(steps: readonly Step[]): Promise<void> {
    try {
      const jury = this.parts.cluster.jury();
      if (jury) await this.#write(steps, jury.guard);
    } catch (error) {
      this.#failed(error);
    } finally {
      for (const { tracked } of steps) tracked.isBusy = false;
    }
  }

  async #write(steps: readonly Step[], guard: readonly Compare[]): Promise<void> {
    const { commits, telemetry, liveness } = this.parts;
    if (steps.length === 0) return;
    const results = await commits.commitEach(
      guard,
      steps.map((step) => this.#txnOf(step)),
    );
    for (const [i, { tracked, verdict }] of steps.entries()) {
      const result = results[i]!;
      telemetry.counters.add(result.ok ? COUNTERS.check_verdicts : COUNTERS.check_verdicts_refused);
      if (!result.ok) continue;
      if (verdict.verdict === CheckVerdict.CHECK_VERDICT_FAILED) tracked.failed(liveness.nowMs);
      else if (tracked.isFailed) tracked.healed(liveness.nowMs);
      await commits.visible(result.revision);
    }
  }

  /**
   * Compares the instance that was decided on, the record of the verdict, and the one that says which checks there are. The
   * instance may have been removed, or registered by another process, while the others were asked.
   */
  #txnOf({ item, verdict }: Step): Txn {
    const { commits, catalog } = this.parts;
    const { namespace, scope, name } = item;
    const record = judgedCheck(verdict, commits.stamp());
    const key = checkKey(namespace, scope, name);
    return {
      writeId: record.writeId,
      compares: [
        { key: item.key, modRevision: item.modRevision },
        ...catalog.unchanged(key, serviceChecksKey(namespace, scope)),
      ],
      writes: [{ kind: 'put', key, value: writeCheck(record) }],
    };
  }

  /** Only while probes are made, and fail: what is not looked at is not ill. */
  #timeIllness({ isFailed, isPending, item, states }: Tracked): void {
    const decider = item.checks.item?.record.check;
    for (const state of states) {
      const concerns = isFailed ? state.check.name === decider : isPending && !state.hasPassed;
      if (!concerns || state.outcome !== ProbeOutcome.PROBE_OUTCOME_FAIL) state.illSinceMs = undefined;
      else state.illSinceMs ??= this.parts.liveness.nowMs;
    }
  }

  /** The check that has failed, or not passed at all, for its `deregister_after`. */
  #overdueOf({ item, states }: Tracked): CheckState | undefined {
    if (item.shownByProtection) return undefined;
    const { nowMs } = this.parts.liveness;
    return states.find(
      ({ check: { deregisterAfter }, illSinceMs = Infinity }) =>
        deregisterAfter !== undefined && nowMs - illSinceMs >= fromDuration(deregisterAfter),
    );
  }

  /** Removes an instance, unless its record, its verdict, its protection or its override has changed. */
  async #remove(tracked: Tracked, overdue: CheckState): Promise<void> {
    const { commits, catalog, cluster, telemetry } = this.parts;
    const { item } = tracked;
    const { namespace, scope, name } = item;
    tracked.isBusy = true;
    try {
      const jury = cluster.jury();
      if (!jury) return;
      const outcome = tracked.isPending ? `${overdue.check.name} did not pass` : overdue.check.name;
      const because = `${outcome}: ${overdue.error.slice(0, ERROR_CHARS)}`;
      const record = failedForLong(item, because, commits.stamp());
      const txn = commits.instanceTxn(record, item.modRevision);
      const reasons = catalog.unchanged(
        checkKey(namespace, scope, name),
        serviceChecksKey(namespace, scope),
        protectionKey(namespace, scope),
        overrideKey(namespace, scope, name),
      );
      const [result] = await commits.commitEach(jury.guard, [{ ...txn, compares: [...txn.compares, ...reasons] }]);
      if (!result!.ok) return;
      telemetry.counters.add(COUNTERS.check_removals);
      const fields = { namespace, service: scope, id: name, revision: Number(result!.revision) };
      telemetry.log.info(
        { ...fields, error: because },
        'removed an instance whose checks had failed, or not passed, for long',
      );
      await commits.visible(result!.revision);
    } catch (error) {
      this.#failed(error);
    } finally {
      tracked.isBusy = false;
    }
  }

  #failed(error: unknown): void {
    const { log } = this.parts.telemetry;
    if (error instanceof RollcallError)
      log.warn({ reason: error.reason }, 'a verdict on checks was not recorded; retrying');
    else log.error({ err: error }, 'a verdict on checks was not recorded; retrying');
  }
}

/** The other members that probe at all. */
const probingOf = ({ others }: Jury): Jury['others'] => others.filter(({ canProbe }) => canProbe);

/** An answer as a record keeps it. */
function testimonyOf(node: string, result: ProbeResult): Testimony {
  const { outcome, latencyMs, error } = result;
  const failed = outcome === ProbeOutcome.PROBE_OUTCOME_FAIL;
  const kind = isPass(result)
    ? TestimonyKind.TESTIMONY_KIND_PASSED
    : failed
      ? TestimonyKind.TESTIMONY_KIND_FAILED
      : TestimonyKind.TESTIMONY_KIND_INCONCLUSIVE;
  return { node, kind, age: undefined, latency: toDuration(latencyMs), error: error.slice(0, TESTIMONY_CHARS) };
}
