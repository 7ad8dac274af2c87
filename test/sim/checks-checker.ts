import { listed } from './checker.js';
import { isMember, type ProtectionStanding } from './protection-checker.js';
import { type CheckDefinition, type Standing, VERDICTS } from './records.js';

/** The outcome of a probe, by the name that the wire has for it. */
export type Outcome = 'PASS' | 'DEGRADED' | 'FAIL' | 'INCONCLUSIVE' | 'DENIED';

/** A server alone records no failure while more than this share of its instances, and more than this number, fail. */
const SHARE = { part: 0.3, number: 3 };
/** The most that damping multiplies the passes of a heal by. */
const DAMP_MAX = 8;
const AGAIN_MIN_MS = 1_000;
/** Another server gets this much longer than the probe takes. */
const ANSWER_MORE_MS = 500;
/** What a round, a write and a tick take in a world that is calm, and what a service that is held back waits. */
const PROMPT_MS = 5_000;
/** Members are looked at once a second. */
const LOOK_MS = 1_000;

/** A probe whose result a server has read. */
export interface Probe {
  /** When it began. */
  readonly begun: number;
  /** False: another server asked for it. */
  readonly own: boolean;
  readonly outcome: Outcome;
}

/** A probe with the moment at which its result was read. Moments are in the order in which things happened. */
interface Seen extends Probe {
  readonly read: number;
  /** The time of the world. */
  readonly time: number;
}

/** A question of a server to others about one check, with the answers that it has read. */
export interface Round {
  readonly at: number;
  readonly time: number;
  readonly members: Set<string>;
  /** Their nodes. A node has two members for a while after its server died and began again. */
  readonly asked: Set<string>;
  /** How many of those that were asked may still answer. */
  open: number;
  /** When the last of them had answered, or had not in time. */
  endedAt?: number;
  readonly answers: { readonly from: string; readonly outcome: Outcome; readonly read: number }[];
}

/** What a server knew when it sent a verdict, or a removal. */
export interface Evidence {
  /** Why it should not have sent it; `undefined`: it may. */
  readonly violation: string | undefined;
  /** The servers that failed to reach the instance, itself included. */
  readonly failedAt: readonly string[];
  /** The nodes that it had asked, and how many of the answers were that the settings there forbid the probe. */
  readonly asked: ReadonlySet<string>;
  readonly denied: number;
  /** The record of the instance, and the verdict on its checks, that it had seen. */
  readonly record: bigint;
  readonly verdict: bigint;
  /** Why a server that is alone should not have sent it. */
  readonly alone: string | undefined;
}

/** A verdict, as it was written. */
export interface CheckVerdict {
  readonly incarnation: string;
  readonly verdict: number;
  readonly decider: string;
}

/** What a checker of checks needs from its world. */
export interface ChecksFacts {
  readonly history: ReadonlyMap<string, readonly Standing[]>;
  protectionOf(service: string): ProtectionStanding | undefined;
  now(): number;
  /** When a server saw a revision. */
  sawAt(by: string, revision: bigint): number;
  /** The newest revision that a server has seen. */
  seenBy(by: string): bigint;
  /** True: the server says of itself that it cannot probe. */
  isInTrouble(by: string): boolean;
  /** True: the servers of a node probe nothing, as their settings say. */
  isOff(node: string): boolean;
  fail(promise: string, what: string): never;
  tallied(name: string): void;
}

/**
 * K1 to K13 of docs/reference/guarantees.md, held against every probe that was made, every answer that was read, and every verdict that
 * the store committed. It shares no code with src/.
 */
export class ChecksChecker {
  readonly #probes = new Map<string, Seen[]>();
  readonly #rounds = new Map<string, Round[]>();
  readonly #notMineAt = new Map<string, number>();
  #next = 0;
  /** Results that were read at this time or later do not count now. */
  #before = Infinity;

  constructor(private readonly facts: ChecksFacts) {}

  /** A moment: later than all before. */
  next(): number {
    return ++this.#next;
  }

  /** A server has read the result of a probe. */
  probed(by: string, key: string, check: string, probe: Probe): void {
    listed(this.#probes, `${by} ${key} ${check}`).push({ ...probe, read: this.next(), time: this.facts.now() });
  }

  /** A server is not the one that probes an instance, or has just become it: what it has read of it counts no longer. */
  notMine(by: string, key: string): void {
    this.#notMineAt.set(`${by} ${key}`, this.next());
  }

  /** A server asks a member, which it has not asked yet in this round, about a check. `node`: where that one runs. */
  asked(by: string, key: string, check: string, member: string, node: string): Round {
    const rounds = listed(this.#rounds, `${by} ${key} ${check}`);
    const last = rounds.at(-1);
    if (last && last.time === this.facts.now() && !last.members.has(member)) {
      last.members.add(member);
      last.asked.add(node);
      last.open++;
      return last;
    }
    const round: Round = {
      ...{ at: this.next(), time: this.facts.now(), open: 1, answers: [] },
      ...{ members: new Set([member]), asked: new Set([node]) },
    };
    rounds.push(round);
    return round;
  }

  /** One of those that were asked has answered, or has not in time. */
  ended(round: Round): void {
    if (--round.open === 0) round.endedAt = this.facts.now();
  }

  /** The one that asked has read an answer. K1: it comes of a probe that began after the question. */
  answered(round: Round, from: string, key: string, check: string, outcome: Outcome): void {
    round.answers.push({ from, outcome, read: this.next() });
    if (outcome === 'INCONCLUSIVE' || outcome === 'DENIED') return;
    const fresh = (this.#probes.get(`${from} ${key} ${check}`) ?? []).some(
      (probe) => !probe.own && probe.begun > round.at && probe.outcome === outcome,
    );
    if (!fresh) this.facts.fail('K1', `${from} answered ${outcome} about ${key} ${check}, and had not probed it`);
  }

  /** A server sends a verdict: what speaks against it now? It may have decided just before it read a result of this very moment. */
  evidence(by: string, key: string, verdict: CheckVerdict): Evidence {
    const now = this.#evidence(by, key, verdict);
    if (now.violation === undefined && now.alone === undefined) return now;
    this.#before = this.facts.now();
    const before = this.#evidence(by, key, verdict);
    this.#before = Infinity;
    return before.violation === undefined ? before : now;
  }

  #evidence(by: string, key: string, { incarnation, verdict, decider }: CheckVerdict): Evidence {
    const state = this.#seen(by, key);
    const base = { ...NOBODY, record: state?.revision ?? 0n, verdict: state?.checkRevision ?? 0n, alone: undefined };
    const refuted = (violation: string): Evidence => ({ ...base, violation });
    if (!state || state.removal !== undefined) return refuted('K2: there is no such instance');
    if (state.incarnation !== incarnation) return refuted(`K2: it is about ${incarnation}, not ${state.incarnation}`);
    if (state.definitions.length === 0) return refuted('K7: the instance has no checks');
    if (state.check === verdict) return refuted('K8: the verdict stands already');
    const known = state.definitions.map((definition) => ({ definition, ...this.#course(by, state, definition) }));
    switch (verdict) {
      case VERDICTS.FAILED: {
        const one = known.find(({ definition }) => definition.name === decider);
        return one ? this.#conviction(by, state, one.definition, base) : refuted(`K1: no check ${decider} is defined`);
      }
      case VERDICTS.DEGRADED: {
        const isSo = known.some(({ degraded, definition }) => degraded >= definition.unhealthy);
        return isSo && known.every(({ passes }) => passes > 0)
          ? { ...base, violation: undefined }
          : refuted('K3: passes');
      }
      case VERDICTS.ASSUMED:
        return { ...base, violation: this.#assumption(by, state) };
      case VERDICTS.PASSING:
        return { ...base, violation: this.#heal(by, state, known) };
      default:
        return refuted(`K2: ${verdict} is no verdict`);
    }
  }

  /** The store has committed a verdict, over these members. `sent`: what its writer knew. */
  committed(
    by: string,
    sent: Evidence,
    before: Standing | undefined,
    key: string,
    { verdict }: CheckVerdict,
    members: readonly string[],
  ): void {
    const { facts } = this;
    const of = `the verdict ${verdict} of ${by} on ${key}`;
    if (sent.violation !== undefined) facts.fail('K', `${of}: ${sent.violation}`);
    if (!before || before.revision !== sent.record || before.checkRevision !== sent.verdict)
      return facts.fail('K2', `${of} rests on ${sent.record} and ${sent.verdict}, and others stand`);
    facts.tallied(`check verdict ${verdict}, was ${before.check}`);
    if (verdict !== VERDICTS.FAILED) return;
    const { failedAt, asked, denied, alone } = sent;
    const unasked = members.filter(
      (member) => member !== by && !asked.has(nodeOf(member)) && !facts.isOff(nodeOf(member)),
    );
    if (unasked.length > 0) facts.fail('K1', `${of}: ${unasked.join()} were not asked`);
    // Those that have left since they were asked count as they answered.
    const mayProbe = asked.size + 1 - denied;
    if (2 * failedAt.length <= mayProbe)
      facts.fail('K1', `${of}: only ${failedAt.join()} of ${mayProbe} did not reach it`);
    if (mayProbe === 1 && alone) facts.fail('K1', `${of}: ${alone}`);
    if (denied > 0) facts.tallied('failed although another may not probe it');
    facts.tallied(`check failed at ${failedAt.length} of ${asked.size + 1}`);
  }

  /** A server sends the removal of an instance for its checks: what speaks against it now? */
  removalEvidence(by: string, key: string): Evidence {
    const state = this.#seen(by, key);
    const base = { ...NOBODY, record: state?.revision ?? 0n, verdict: state?.checkRevision ?? 0n, alone: undefined };
    if (!state || (state.check !== VERDICTS.FAILED && state.check !== VERDICTS.PENDING))
      return { ...base, violation: 'K12: no check of it has failed' };
    const now = this.facts.now();
    const overdue = state.definitions.some(({ name, deregisterAfterMs: afterMs }) => {
      if (afterMs === undefined || (state.check === VERDICTS.FAILED && name !== state.decider)) return false;
      const definition = state.definitions.find((one) => one.name === name)!;
      if (this.#course(by, state, definition).last !== 'FAIL') return false;
      const ill = this.#since(state, ({ check }) => check === state.check);
      return now - this.facts.sawAt(by, ill.from) >= afterMs && now - ill.at >= afterMs;
    });
    return { ...base, violation: overdue ? undefined : 'K12: it has not failed for so long' };
  }

  /** The store has removed an instance for its checks. */
  removed(by: string, sent: Evidence | undefined, before: Standing): void {
    const { facts } = this;
    const of = `the removal of ${before.key} by ${by}`;
    if (!sent) return facts.fail('K12', `${of} was not sent by it`);
    if (sent.violation !== undefined) facts.fail('K12', `${of}: ${sent.violation}`);
    if (before.revision !== sent.record || before.checkRevision !== sent.verdict)
      facts.fail('K12', `${of} rests on ${sent.record} and ${sent.verdict}, and others stand`);
    if (isMember(before, facts.protectionOf(before.service))) facts.fail('K12', `${of}: its service is protected`);
    facts.tallied('removed for its checks');
  }

  /** K5 and K6: what must be by now, in a world that has been well since `wellSince` and is probed by several members. */
  sample(
    wellSince: number,
    fateOf: (key: string) => { readonly answers: boolean | undefined; readonly since: number },
  ): void {
    const { facts } = this;
    for (const [key, states] of facts.history) {
      const state = states.at(-1)!;
      if (state.removal !== undefined || state.definitions.length === 0) continue;
      const { answers, since } = fateOf(key);
      const defined = this.#since(
        state,
        (one) => isSameRun(one, state) && one.definitionsText === state.definitionsText,
      );
      // Service-wide checks that change begin anew, and so does the age of an instance that was set aside.
      const from = Math.max(since, wellSince, defined.at);
      const age = facts.now() - from;
      const isHidden = state.check === VERDICTS.FAILED || state.check === VERDICTS.PENDING;
      const slowest = Math.max(...state.definitions.map((one) => detectionMs(one)));
      if (answers === false && !isHidden && age > slowest)
        facts.fail('K5', `${key} has answered nobody for ${age.toFixed(0)} ms, and is ${state.check}`);
      if (answers === false && isHidden) facts.tallied('K5 looked at');
      const longest = Math.max(...state.definitions.map((one) => healMs(one)));
      if (answers === true && isHidden && age > longest)
        facts.fail('K6', `${key} has answered everybody for ${age.toFixed(0)} ms, and is ${state.check}`);
      if (answers === true && !isHidden) facts.tallied('K6 looked at');
    }
  }

  /** K1: a streak of its own, and then a question that it acquitted nobody of. */
  #conviction(by: string, state: Standing, definition: CheckDefinition, base: Omit<Evidence, 'violation'>): Evidence {
    const { key } = state;
    if (state.check === VERDICTS.PENDING) return { ...base, violation: 'K1: it has not passed yet' };
    const { fails, last } = this.#course(by, state, definition);
    if (fails < definition.unhealthy) return { ...base, violation: `K1: only ${fails} failures in a row` };
    if (last !== 'FAIL') return { ...base, violation: `K3: its last probe was ${last}` };
    const round = (this.#rounds.get(`${by} ${key} ${definition.name}`) ?? []).at(-1);
    const alone = this.#share(by, 'known');
    const failedAt = [by];
    let asked: ReadonlySet<string> = new Set();
    let denied = 0;
    if (round && this.#isOfStreak(by, state, definition, round)) {
      asked = round.asked;
      if (round.answers.some(({ outcome }) => isPass(outcome))) return { ...base, violation: 'K1: another reached it' };
      denied = round.answers.filter(({ outcome }) => outcome === 'DENIED').length;
      failedAt.push(...round.answers.filter(({ outcome }) => outcome === 'FAIL').map(({ from }) => from));
    }
    return { ...base, failedAt, asked, denied, alone, violation: undefined };
  }

  /** True: a question came after the failures that it is about, and has just ended. */
  #isOfStreak(by: string, state: Standing, definition: CheckDefinition, round: Round): boolean {
    if (round.endedAt !== this.facts.now()) return false;
    return this.#course(by, state, definition, round.at).fails >= definition.unhealthy;
  }

  /** Why a server that is alone should record no failure now: `known` are the instances that have passed before. */
  #share(by: string, of: 'known' | 'every'): string | undefined {
    let all = 0;
    let failing = 0;
    for (const key of this.facts.history.keys()) {
      const state = this.#seen(by, key);
      if (!state || state.removal !== undefined || state.definitions.length === 0) continue;
      if (state.check === VERDICTS.FAILED || (of === 'known' && state.check === VERDICTS.PENDING)) continue;
      if (!state.definitions.some((one) => this.#course(by, state, one).last)) continue;
      all++;
      if (state.definitions.some((one) => this.#course(by, state, one).said === 'FAIL')) failing++;
    }
    const isHeld = failing > SHARE.number && failing > all * SHARE.part;
    return isHeld ? `it is alone, and ${failing} of ${all} fail` : undefined;
  }

  #heal(
    by: string,
    state: Standing,
    known: readonly (Course & { readonly definition: CheckDefinition })[],
  ): string | undefined {
    const seenElsewhere = (rounds: number): boolean => {
      const elsewhere = known.filter(({ definition }) => this.#passedElsewhere(by, state, definition) >= rounds);
      return elsewhere.length > 0 && known.filter((one) => !elsewhere.includes(one)).every(({ passes }) => passes > 0);
    };
    switch (state.check) {
      case VERDICTS.FAILED: {
        if (known.every(({ passes, definition }) => passes >= definition.healthy)) return undefined;
        if (!seenElsewhere(2)) return 'K6: it has not passed often enough';
        this.facts.tallied('healed by what another server saw');
        return undefined;
      }
      case VERDICTS.DEGRADED:
        return known.every(({ clean, definition }) => clean >= definition.healthy)
          ? undefined
          : 'K6: not without limits';
      case VERDICTS.PENDING:
        if (known.every(({ passes }) => passes > 0)) return undefined;
        return seenElsewhere(1) ? undefined : 'K6: it has not passed';
      default:
        return known.every(({ passes }) => passes > 0) ? undefined : 'K6: it has not passed';
    }
  }

  /** The last questions in a row in which somebody reached it, since the verdict that stands. */
  #passedElsewhere(by: string, { key }: Standing, { name }: CheckDefinition): number {
    const rounds = this.#rounds.get(`${by} ${key} ${name}`) ?? [];
    let passed = 0;
    for (const { answers } of [...rounds].reverse()) {
      if (!answers.some(({ outcome }) => isPass(outcome))) break;
      passed++;
    }
    return passed;
  }

  /** K13. */
  #assumption(by: string, state: Standing): string | undefined {
    if (state.check !== VERDICTS.PENDING) return 'K13: it is not pending';
    if (state.silent) return 'K13: it is silent';
    if (state.reported !== 0 && state.reported !== 1) return 'K13: it does not report itself healthy';
    const isOurs = this.facts.isInTrouble(by) || this.#share(by, 'every') !== undefined;
    return isOurs ? undefined : 'K13: nothing is wrong with the server';
  }

  /** The course of one check as a server has read it: outcomes that say nothing of the target count neither way. */
  #course(by: string, state: Standing, { name }: CheckDefinition, upTo = Infinity): Course {
    const all = this.#probes.get(`${by} ${state.key} ${name}`) ?? [];
    const since = this.#definedAt(by, state);
    const released = state.released > 0n ? this.#momentOf(by, state.released) : 0;
    const readSince = Math.max(released, this.#notMineAt.get(`${by} ${state.key}`) ?? 0);
    const rounds = this.#rounds.get(`${by} ${state.key} ${name}`) ?? [];
    const acquitted = Math.max(
      0,
      ...rounds.flatMap(({ answers }) => answers.filter(({ outcome }) => isPass(outcome)).map(({ read }) => read)),
    );
    const course = { fails: 0, passes: 0, degraded: 0, clean: 0, ...NOTHING_SEEN };
    for (const { own, begun, read, time, outcome } of all) {
      if (!own || read > upTo || read < readSince || begun < since || time >= this.#before) continue;
      course.last = outcome;
      if (outcome === 'INCONCLUSIVE' || outcome === 'DENIED') continue;
      course.said = outcome;
      const isFail = outcome === 'FAIL';
      course.fails = isFail ? (read > acquitted ? course.fails + 1 : 0) : 0;
      course.passes = isFail ? 0 : course.passes + 1;
      course.degraded = outcome === 'DEGRADED' ? course.degraded + 1 : 0;
      course.clean = outcome === 'PASS' ? course.clean + 1 : 0;
    }
    return course;
  }

  /**
   * The moment from which on a server probed the incarnation by the checks that are defined. What it never saw, because it was behind
   * and read several revisions at once, did not end that.
   */
  #definedAt(by: string, state: Standing): number {
    const states = this.facts.history.get(state.key) ?? [];
    let first = state;
    for (let i = states.indexOf(state) - 1; i >= 0; i--) {
      const one = states[i]!;
      if (isSameRun(one, state) && one.definitionsText === state.definitionsText) first = one;
      else if (this.#hasSeen(by, one, states[i + 1]!)) break;
    }
    return this.#momentOf(by, first.from);
  }

  /** Returns true if a server saw a state before it saw the next one. */
  #hasSeen(by: string, state: Standing, next: Standing): boolean {
    return this.#sights.get(by)?.some(({ revision }) => revision >= state.from && revision < next.from) ?? false;
  }

  /** The moments at which servers saw revisions. */
  readonly #sights = new Map<string, { readonly revision: bigint; readonly at: number }[]>();

  /** A server has seen a revision. `undefined`: it has forgotten what it saw. */
  saw(by: string, revision: bigint | undefined): void {
    if (revision === undefined) this.#sights.delete(by);
    else listed(this.#sights, by).push({ revision, at: this.next() });
  }

  #momentOf(by: string, revision: bigint): number {
    return this.#sights.get(by)?.find((sight) => sight.revision >= revision)?.at ?? Infinity;
  }

  /** The first of the states without a gap up to this one that are alike. */
  #since(state: Standing, same: (one: Standing) => boolean): Standing {
    const states = this.facts.history.get(state.key) ?? [];
    let first = state;
    for (let i = states.indexOf(state) - 1; i >= 0 && same(states[i]!); i--) first = states[i]!;
    return first;
  }

  /** An instance as a server has seen it. */
  #seen(by: string, key: string): Standing | undefined {
    const seen = this.facts.seenBy(by);
    return this.facts.history.get(key)?.findLast(({ from }) => from <= seen);
  }
}

const NOBODY = { failedAt: [], asked: new Set<string>(), denied: 0 };

const nodeOf = (server: string): string => server.split('.')[0]!;

interface Course {
  readonly fails: number;
  readonly passes: number;
  readonly degraded: number;
  readonly clean: number;
  /** The last outcome, and the last one that says anything about the target. */
  readonly last: Outcome | undefined;
  readonly said: Outcome | undefined;
}

const NOTHING_SEEN: { last: Outcome | undefined; said: Outcome | undefined } = { last: undefined, said: undefined };

const isPass = (outcome: Outcome): boolean => outcome === 'PASS' || outcome === 'DEGRADED';

const isSameRun = (one: Standing, other: Standing): boolean =>
  one.removal === undefined && one.incarnation === other.incarnation;

/** K5: how long after its death a target that answers nobody is recorded as failed. */
function detectionMs({ intervalMs, timeoutMs, unhealthy }: CheckDefinition): number {
  const again = Math.max(AGAIN_MIN_MS, intervalMs / 3) + timeoutMs;
  return intervalMs + (unhealthy - 1) * again + timeoutMs + timeoutMs + ANSWER_MORE_MS + LOOK_MS + PROMPT_MS;
}

/** K6: how long after it answers again a target is recorded as passing, however often it has failed before. */
function healMs({ intervalMs, timeoutMs, healthy }: CheckDefinition): number {
  return 2 * 3 * (intervalMs + timeoutMs) + healthy * DAMP_MAX * (intervalMs + timeoutMs) + LOOK_MS + PROMPT_MS;
}
