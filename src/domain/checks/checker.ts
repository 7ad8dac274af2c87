import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import { nameSome } from '../../base/name-some.js';
import type { Telemetry } from '../../base/telemetry.js';
import { TimerWheel } from '../../base/timer-wheel.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { CatalogChange } from '../../catalog/changes.js';
import { INSTANCE } from '../../catalog/kinds.js';
import { CheckVerdict, type HealthCheck, ProbeOutcome } from '../../gen/rollcall/v1/check.js';
import { type InstanceItem, isLive } from '../../model/instance.js';
import type { LivenessClock } from '../health/liveness-clock.js';
import type { Cluster } from '../health/peers.js';
import { type CheckState } from './check-state.js';
import { ALARMS, type CheckKind, COUNTERS, HISTOGRAMS } from './instruments.js';
import type { FailingShare } from './failing-share.js';
import type { Prober } from './prober.js';
import { isPass, type ProbeResult } from '../../model/probe.js';
import { type Doubt, hasSameChecks, Tracked } from './tracked.js';
import type { Verdicts } from './verdicts.js';

/** How often due probes are begun. */
const TICK_MS = 50;
/** The slots of the wheel: one turn is a little more than the longest common interval. */
const WHEEL_SLOTS = 512;
/** The first probes of instances that wait for one begin this far apart: a mass registration is no storm. */
const FIRST_APART_MS = 5;
/** How often every instance is looked at, and the least number of them that one tick looks at. */
const LOOK_MS = 1_000;
const LOOK_LEAST = 100;
/** The share of probes that must be inconclusive within a window for an alarm, and the least number of probes in it. */
const INCONCLUSIVE_SHARE = 0.05;
const INCONCLUSIVE_WINDOW_MS = 60_000;
const INCONCLUSIVE_PROBES = 20;
/** A dispute between two servers raises an alarm after this. */
const DISAGREE_MS = 5 * 60_000;
/** Why a server without a prober cannot probe. */
const OFF = 'no server probes: checks are off (--checks)';
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
  readonly share: FailingShare;
  readonly telemetry: Telemetry;
}

/** A look at all instances, which takes many ticks if they are many. */
interface Look {
  readonly rest: Iterator<Tracked, undefined>;
  readonly denied: string[];
  readonly disputed: string[];
  /** The instances that this member is the checker of. */
  mine: number;
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
  #ticking: Timer | undefined;
  #look: Look | undefined;
  #nextLookMs = -Infinity;
  #window = { sinceMs: 0, probes: 0, inconclusive: 0, error: '' };

  constructor(private readonly parts: CheckerParts) {}

  start(): void {
    const { catalog, cluster, clock, prober } = this.parts;
    const { signal } = this.#stop;
    catalog.subscribe('other', (change) => this.#take(change), signal);
    cluster.onMembers(() => this.#divideAgain(), signal);
    this.#ticking = clock.every(TICK_MS, () => {
      if (prober) this.#tick(prober);
      this.#lookOn(prober);
    });
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#ticking?.cancel();
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

  /** When the first certificate ends, of those that the targets of this member showed, in milliseconds of the wall clock. */
  firstCertificateEndsMs(): number | undefined {
    let first: number | undefined;
    for (const { certificateEndsMs } of this.#owner.keys())
      if (certificateEndsMs !== undefined) first = Math.min(first ?? Infinity, certificateEndsMs);
    return first;
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

  /** Why an instance that this member is the checker of is not probed, or its failures are not recorded. Empty: nothing holds it up. */
  noteOn(tracked: Tracked): string {
    const { prober, share } = this.parts;
    const trouble = prober ? prober.trouble() : OFF;
    if (trouble !== undefined) return trouble;
    if (
      tracked.states.some(
        ({ isOpen, dueMs }) => !isOpen && dueMs !== Infinity && dueMs < this.parts.liveness.nowMs - LOOK_MS,
      )
    )
      return 'it waits for its turn: this server has more probes to make than it may begin';
    if (tracked.isFailed || tracked.isPending) return '';
    if (tracked.doubt) return wordsOf(tracked.doubt, share);
    return tracked.wasHeldBack ? 'its failure is held for a moment: many of its service fail at once' : '';
  }

  #take(change: CatalogChange): void {
    if (change.cause === 'RESET') {
      for (const tracked of this.#tracked.values()) this.#drop(tracked);
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
      this.parts.share.note(known);
      return;
    }
    // The course of a check that was defined in other words, or of another process, says nothing about this one.
    if (known) this.#drop(known);
    const tracked = new Tracked(item);
    this.#tracked.set(item.key, tracked);
    this.#divide(tracked);
  }

  #forget(key: string): void {
    const known = this.#tracked.get(key);
    if (!known) return;
    this.#drop(known);
    this.#tracked.delete(key);
  }

  #drop(tracked: Tracked): void {
    tracked.isGone = true;
    this.#disarm(tracked);
  }

  #divideAgain(): void {
    for (const tracked of this.#tracked.values()) this.#divide(tracked);
  }

  /** Begins to probe an instance that is this member's now, and stops for one that is another's. */
  #divide(tracked: Tracked): void {
    const { cluster, prober } = this.parts;
    const isMine = cluster.checks(tracked.item.key);
    if (isMine === tracked.isMine) return;
    tracked.isMine = isMine;
    tracked.forgetStreaks();
    if (!isMine) return this.#disarm(tracked);
    for (const state of tracked.states) {
      this.#owner.set(state, tracked);
      if (prober) this.#arm(state, tracked.isPending ? this.#firstInMs() : state.phaseMs(this.parts.clock.wall()));
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

  #disarm(tracked: Tracked): void {
    this.parts.share.drop(tracked);
    for (const state of tracked.states) {
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
    // In the order in which they were due, but none waits for another one's address.
    this.#waiting = this.#waiting.filter(({ tracked, state }) => {
      if (this.#owner.get(state) !== tracked || state.isOpen) return false;
      if (!prober.hasRoom() || !prober.mayBegin(state.target)) return true;
      this.#probe(prober, tracked, state);
      return false;
    });
  }

  #probe(prober: Prober, tracked: Tracked, state: CheckState): void {
    state.isOpen = true;
    void prober.probe(state.target).then((result) => {
      state.isOpen = false;
      if (this.#owner.get(state) === tracked) this.#probed(tracked, state, result);
    });
  }

  #probed(tracked: Tracked, state: CheckState, result: ProbeResult): void {
    const { clock, verdicts, share } = this.parts;
    this.#count(state, result);
    const wallMs = clock.wall();
    state.take(result, wallMs);
    share.note(tracked);
    if (result.outcome === ProbeOutcome.PROBE_OUTCOME_FAIL) tracked.failsSinceRound++;
    else if (isPass(result) && tracked.doubt?.state === state) tracked.doubt = undefined;
    this.#arm(state, state.waitMs(tracked.isPending, tracked.isFailed, wallMs));
    verdicts.consider(tracked);
  }

  #count({ check }: CheckState, result: ProbeResult): void {
    const { outcome, error, latencyMs } = result;
    const { counters, histograms } = this.parts.telemetry;
    const durations = HISTOGRAMS[kindOf(check)];
    this.#window.probes++;
    if (outcome === ProbeOutcome.PROBE_OUTCOME_FAIL) {
      counters.add(COUNTERS.probes_failed);
      histograms.observe(durations.fail, latencyMs / 1_000);
    } else if (isPass(result)) {
      counters.add(COUNTERS.probes_passed);
      histograms.observe(durations.pass, latencyMs / 1_000);
    } else {
      counters.add(COUNTERS.probes_inconclusive);
      if (outcome === ProbeOutcome.PROBE_OUTCOME_DENIED) return;
      this.#window.inconclusive++;
      this.#window.error = error;
    }
  }

  /** Looks at some of the instances that this member probes: each in turn, about once a second. */
  #lookOn(prober: Prober | undefined): void {
    const { nowMs, pauses } = this.parts.liveness;
    if (pauses.size > 0) return;
    if (!this.#look) {
      if (nowMs < this.#nextLookMs) return;
      this.#nextLookMs = nowMs + LOOK_MS;
      this.#look = { rest: this.#tracked.values(), denied: [], disputed: [], mine: 0 };
    }
    const trouble = prober ? prober.trouble() : OFF;
    const count = Math.max(LOOK_LEAST, Math.ceil((this.#tracked.size * TICK_MS) / LOOK_MS));
    for (let i = 0; i < count; i++) {
      const next: IteratorResult<Tracked, undefined> = this.#look.rest.next();
      if (next.done) return this.#lookedAtAll(this.#look, trouble);
      if (!next.value.isMine) continue;
      this.#look.mine++;
      this.#lookAt(next.value, this.#look, trouble);
    }
  }

  #lookAt(tracked: Tracked, { denied, disputed }: Look, trouble: string | undefined): void {
    const { verdicts, liveness } = this.parts;
    verdicts.look(tracked, trouble);
    const { item, states, doubt } = tracked;
    const name = (): string => `${item.scope}/${item.name}`;
    const refused = states.find(({ results }) => results[0]?.outcome === ProbeOutcome.PROBE_OUTCOME_DENIED);
    if (refused) denied.push(`${name()} (${refused.results[0]!.error})`);
    if (doubt && doubt.node !== '' && liveness.nowMs - doubt.sinceMs >= DISAGREE_MS)
      disputed.push(`${name()} (${doubt.node} reaches it)`);
  }

  #lookedAtAll({ denied, disputed, mine }: Look, trouble: string | undefined): void {
    this.#look = undefined;
    this.#raise(ALARMS.CHECK_TARGETS_DENIED, denied.length > 0 && `not probed: ${nameSome(denied, NAMED_MAX)}`);
    const text = `fail here and pass at another server: ${nameSome(disputed, NAMED_MAX)}`;
    this.#raise(ALARMS.CHECKS_DISAGREE, disputed.length > 0 && text);
    this.#alarmHeld();
    this.#alarmBehind();
    this.#alarmInconclusive(trouble === OFF && mine === 0 ? undefined : trouble);
  }

  #alarmHeld(): void {
    const { verdicts, share } = this.parts;
    const cure = 'they stay shown; another server that probes can confirm the failures';
    const { failing, all } = share.known;
    const text = `${failing} of ${all} instances fail their checks at once: ${cure}`;
    this.#raise(ALARMS.CHECKS_HELD, verdicts.isHeld && text);
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
    // Probes that were inconclusive for a known reason count no longer once that is over.
    if (isOver || trouble !== undefined) this.#window = { sinceMs: nowMs, probes: 0, inconclusive: 0, error: '' };
  }

  /** Raises an alarm if there is a text, and clears it otherwise. */
  #raise(alarm: (typeof ALARMS)[keyof typeof ALARMS], text: string | false): void {
    const { alarms } = this.parts.telemetry;
    if (text === false) alarms.clear(alarm);
    else alarms.raise(alarm, text);
  }
}

/** Why a failure is not recorded. */
function wordsOf({ node, mayProbe, failed }: Doubt, { known: { failing, all } }: FailingShare): string {
  if (node !== '') return `its failure is not recorded: ${node} reaches it`;
  if (mayProbe > 1)
    return `its failure is not recorded: only ${failed} of the ${mayProbe} servers that may probe it do not reach it`;
  return `its failure is held: ${failing} of ${all} instances fail at once, and no other server can be asked`;
}

function kindOf({ probe, tls }: HealthCheck): CheckKind {
  const kind = probe?.$case ?? 'tcp';
  return kind === 'http' && tls ? 'https' : kind;
}
