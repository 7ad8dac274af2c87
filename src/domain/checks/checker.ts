import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import { nameSome } from '../../base/name-some.js';
import type { Telemetry } from '../../base/telemetry.js';
import { TimerWheel } from '../../base/timer-wheel.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { CatalogChange } from '../../catalog/changes.js';
import { INSTANCE } from '../../catalog/kinds.js';
import { CheckVerdict, ProbeOutcome } from '../../gen/rollcall/v1/check.js';
import { type InstanceItem, isLive } from '../../model/instance.js';
import type { LivenessClock } from '../health/liveness-clock.js';
import type { Cluster } from '../health/peers.js';
import { type CheckState } from './check-state.js';
import { ALARMS, COUNTERS } from './instruments.js';
import type { Prober } from './prober.js';
import { isPass, type ProbeResult } from '../../model/probe.js';
import { hasSameChecks, Tracked } from './tracked.js';
import type { Verdicts } from './verdicts.js';

/** How often due probes are begun. */
const TICK_MS = 50;
/** The slots of the wheel: one turn is a little more than the longest common interval. */
const WHEEL_SLOTS = 512;
/** The first probes of instances that wait for one begin this far apart: a mass registration is no storm. */
const FIRST_APART_MS = 5;
/** How often the state as a whole is looked at. */
const LOOK_MS = 1_000;
/** The share of probes that must be inconclusive within a window for an alarm, and the least number of probes in it. */
const INCONCLUSIVE_SHARE = 0.05;
const INCONCLUSIVE_WINDOW_MS = 60_000;
const INCONCLUSIVE_PROBES = 20;
/** A dispute between two servers raises an alarm after this. */
const DISAGREE_MS = 5 * 60_000;
/** The most instances that an alarm names. */
const NAMED_MAX = 5;

/** The dependencies of a Checker. */
export interface CheckerParts {
  readonly catalog: Catalog;
  readonly cluster: Pick<Cluster, 'checks' | 'fenced' | 'onMembers'>;
  readonly liveness: LivenessClock;
  readonly clock: Clock;
  /** `undefined`: this server does not probe. */
  readonly prober: Prober | undefined;
  readonly verdicts: Verdicts;
  readonly telemetry: Telemetry;
}

/** A check whose probe is due. */
interface Due {
  readonly tracked: Tracked;
  readonly state: CheckState;
}

/**
 * Probes the instances that this member is the checker of, each check at its interval, and hands their course to the
 * verdicts. Every member is the checker of its share of the instances; one that joins or leaves moves only its own.
 *
 * With more checks than the prober has room for, a check that is due waits its turn, so intervals grow and no queue
 * does. A slot that was missed is not made up for.
 */
export class Checker implements Closeable {
  readonly #tracked = new Map<string, Tracked>();
  readonly #wheel = new TimerWheel<CheckState>(TICK_MS, WHEEL_SLOTS);
  readonly #owner = new Map<CheckState, Tracked>();
  readonly #stop = new AbortController();
  #waiting: Due[] = [];
  #firstAtMs = -Infinity;
  #timers: Timer[] = [];
  #window = { sinceMs: 0, probes: 0, inconclusive: 0, error: '' };

  constructor(private readonly parts: CheckerParts) {}

  start(): void {
    const { catalog, cluster, clock, prober } = this.parts;
    const { signal } = this.#stop;
    catalog.subscribe('other', (change) => this.#take(change), signal);
    if (!prober) return;
    cluster.onMembers(() => this.#divideAgain(), signal);
    this.#timers = [clock.every(TICK_MS, () => this.#tick(prober)), clock.every(LOOK_MS, () => this.#look(prober))];
  }

  async close(): Promise<void> {
    this.#stop.abort();
    for (const timer of this.#timers) timer.cancel();
    await this.parts.verdicts.close();
  }

  /** The number of instances with checks, by verdict. */
  byVerdict(): Record<string, number> {
    const counts: Record<string, number> = { pending: 0, passing: 0, degraded: 0, failed: 0, assumed: 0 };
    for (const { verdict } of this.#tracked.values())
      counts[CheckVerdict[verdict].replace('CHECK_VERDICT_', '').toLowerCase()]!++;
    return counts;
  }

  /** The number of instances that this member probes. */
  mineCount(): number {
    let mine = 0;
    for (const { isMine } of this.#tracked.values()) if (isMine) mine++;
    return mine;
  }

  /** The number of checks that are due and wait for room. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** An instance that this member probes. `undefined` if it does not. */
  mine(key: string): Tracked | undefined {
    const tracked = this.#tracked.get(key);
    return tracked?.isMine ? tracked : undefined;
  }

  /** The time until the next probe of a check. */
  nextInMs({ dueMs }: CheckState): number | undefined {
    return dueMs === Infinity ? undefined : Math.max(0, dueMs - this.parts.liveness.nowMs);
  }

  #take(change: CatalogChange): void {
    if (change.cause === 'RESET') {
      for (const tracked of this.#tracked.values()) this.#disarm(tracked);
      this.#tracked.clear();
      return;
    }
    for (const { before, after } of [...change.of(INSTANCE), ...change.moved(INSTANCE)])
      if (after ? !isLive(after) || after.checks.definitions.length === 0 : before)
        this.#forget((after ?? before)!.key);
      else if (after) this.#follow(after);
  }

  #follow(item: InstanceItem): void {
    const known = this.#tracked.get(item.key);
    if (known && hasSameChecks(known, item)) {
      known.renew(item);
      return;
    }
    // The course of a check that was defined in other words, or of another process, says nothing about this one.
    if (known) this.#disarm(known);
    const tracked = new Tracked(item);
    this.#tracked.set(item.key, tracked);
    this.#divide(tracked);
  }

  #forget(key: string): void {
    const known = this.#tracked.get(key);
    if (!known) return;
    this.#disarm(known);
    this.#tracked.delete(key);
  }

  #divideAgain(): void {
    for (const tracked of this.#tracked.values()) this.#divide(tracked);
  }

  /** Begins to probe an instance that is this member's now, and stops for one that is another's. */
  #divide(tracked: Tracked): void {
    const { cluster, prober } = this.parts;
    const isMine = prober !== undefined && cluster.checks(tracked.item.key);
    if (isMine === tracked.isMine) return;
    tracked.isMine = isMine;
    tracked.forgetStreaks();
    if (!isMine) return this.#disarm(tracked);
    for (const state of tracked.states) {
      this.#owner.set(state, tracked);
      this.#arm(state, tracked.isPending ? this.#firstInMs() : state.phaseMs(this.parts.clock.wall()));
    }
  }

  #firstInMs(): number {
    const { nowMs } = this.parts.liveness;
    this.#firstAtMs = Math.max(nowMs, this.#firstAtMs + FIRST_APART_MS);
    return this.#firstAtMs - nowMs;
  }

  #arm(state: CheckState, inMs: number): void {
    state.dueMs = this.parts.liveness.nowMs + inMs;
    this.#wheel.arm(state, state.dueMs);
  }

  #disarm({ states }: Tracked): void {
    for (const state of states) {
      this.#wheel.disarm(state);
      this.#owner.delete(state);
      state.dueMs = Infinity;
    }
  }

  #tick(prober: Prober): void {
    const { catalog, cluster, liveness } = this.parts;
    if (!catalog.ready || liveness.pauses.size > 0 || cluster.fenced() !== undefined) return;
    for (const state of this.#wheel.advance(liveness.nowMs)) {
      const tracked = this.#owner.get(state);
      if (tracked) this.#waiting.push({ tracked, state });
    }
    let begun = 0;
    for (const { tracked, state } of this.#waiting) {
      if (!prober.hasRoom()) break;
      begun++;
      if (this.#owner.get(state) === tracked && !state.isOpen) this.#probe(prober, tracked, state);
    }
    if (begun > 0) this.#waiting = this.#waiting.slice(begun);
  }

  #probe(prober: Prober, tracked: Tracked, state: CheckState): void {
    state.isOpen = true;
    void prober.probe(state.target).then((result) => {
      state.isOpen = false;
      if (this.#owner.get(state) === tracked) this.#probed(tracked, state, result);
    });
  }

  #probed(tracked: Tracked, state: CheckState, result: ProbeResult): void {
    const { clock, verdicts } = this.parts;
    this.#count(result);
    state.take({ ...result, wallMs: clock.wall() });
    if (result.outcome === ProbeOutcome.PROBE_OUTCOME_FAIL) tracked.failsSinceRound++;
    else if (result.outcome === ProbeOutcome.PROBE_OUTCOME_PASS) tracked.disputed = undefined;
    this.#arm(state, state.waitMs(tracked.isPending, tracked.isFailed));
    verdicts.consider(tracked);
  }

  #count(result: ProbeResult): void {
    const { outcome, error } = result;
    const { counters } = this.parts.telemetry;
    this.#window.probes++;
    if (outcome === ProbeOutcome.PROBE_OUTCOME_FAIL) counters.add(COUNTERS.probes_failed);
    else if (isPass(result)) counters.add(COUNTERS.probes_passed);
    else {
      counters.add(COUNTERS.probes_inconclusive);
      if (outcome === ProbeOutcome.PROBE_OUTCOME_DENIED) return;
      this.#window.inconclusive++;
      this.#window.error = error;
    }
  }

  /** Looks at the instances that this member probes: those that are ill for long, and what an operator must know. */
  #look(prober: Prober): void {
    const { liveness, verdicts } = this.parts;
    if (liveness.pauses.size > 0) return;
    const mine = [...this.#tracked.values()].filter(({ isMine }) => isMine);
    verdicts.look(mine, prober.trouble());
    this.#alarmDenied(mine);
    this.#alarmDisputes(mine);
    this.#alarmBehind();
    this.#alarmInconclusive(prober.trouble());
  }

  #alarmDenied(mine: readonly Tracked[]): void {
    const denied = mine.flatMap(({ item, states }) => {
      const state = states.find(({ results }) => results[0]?.outcome === ProbeOutcome.PROBE_OUTCOME_DENIED);
      return state ? [`${item.scope}/${item.name} (${state.results[0]!.error})`] : [];
    });
    this.#raise(ALARMS.CHECK_TARGETS_DENIED, denied.length > 0 && `not probed: ${nameSome(denied, NAMED_MAX)}`);
  }

  #alarmDisputes(mine: readonly Tracked[]): void {
    const { nowMs } = this.parts.liveness;
    const disputed = mine.flatMap(({ item, disputed: one }) =>
      one && nowMs - one.sinceMs >= DISAGREE_MS ? [`${item.scope}/${item.name} (${one.node} reaches it)`] : [],
    );
    const text = `fail here and pass at another server: ${nameSome(disputed, NAMED_MAX)}`;
    this.#raise(ALARMS.CHECKS_DISAGREE, disputed.length > 0 && text);
  }

  #alarmBehind(): void {
    const { nowMs } = this.parts.liveness;
    const [first] = this.#waiting;
    const isBehind = first !== undefined && nowMs - first.state.dueMs > first.state.intervalMs / 2;
    this.#raise(ALARMS.PROBER_BEHIND, isBehind && `${this.#waiting.length} checks wait for their probe`);
  }

  #alarmInconclusive(trouble: string | undefined): void {
    const { nowMs } = this.parts.liveness;
    const { probes, inconclusive, error, sinceMs } = this.#window;
    const isMany = probes >= INCONCLUSIVE_PROBES && inconclusive > probes * INCONCLUSIVE_SHARE;
    const isOver = nowMs - sinceMs >= INCONCLUSIVE_WINDOW_MS;
    if (trouble !== undefined) this.#raise(ALARMS.CHECKS_INCONCLUSIVE, trouble);
    else if (isOver) this.#raise(ALARMS.CHECKS_INCONCLUSIVE, isMany && `${inconclusive} of ${probes} probes: ${error}`);
    if (isOver) this.#window = { sinceMs: nowMs, probes: 0, inconclusive: 0, error: '' };
  }

  /** Raises an alarm if there is a text, and clears it otherwise. */
  #raise(alarm: (typeof ALARMS)[keyof typeof ALARMS], text: string | false): void {
    const { alarms } = this.parts.telemetry;
    if (text === false) alarms.clear(alarm);
    else alarms.raise(alarm, text);
  }
}
