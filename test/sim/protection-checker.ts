import type { ProtectionTimes } from '../../src/domain/health/protection-times.js';
import { type Fall, isShown, type Standing, VERDICTS } from './records.js';

/** How long a decision may rest on what its maker saw: a late catalog, and a late commit. */
const STALE_MS = 15_000;
/** A tick, a write, and what a quiet world takes for both. */
const PROMPT_MS = 3_000;
/** How old the count of a registry may be. */
const COUNTED_MS = 1_500;
/** Stamps are as old as a tick. */
const ROUNDING_MS = 600;
const ALONE_COUNT = 3;
const WIDESPREAD = { percent: 20, instances: 3, services: 2 };

/** The protection of a service from one revision on. */
export interface ProtectionStanding {
  readonly at: number;
  readonly revision: bigint;
  readonly active: boolean;
  readonly from: bigint;
  readonly before: number;
  /** True if an operator ended it. */
  readonly released: boolean;
}

/** What is known of who decided: when its process started, and when it sent its commit. */
export interface Decision {
  readonly startedAt: number;
  readonly sentAt: number;
  /** The revision that its maker had seen by then. */
  readonly seen: bigint;
  /** When its maker saw a revision. Whoever was cut off sees a fall later than it happened, and counts from then. */
  readonly sawAt: (revision: bigint) => number;
}

/** What a checker of protection needs from its world. */
export interface ProtectionFacts {
  /** Every state of every record, in order. */
  readonly history: ReadonlyMap<string, readonly Standing[]>;
  readonly protections: ReadonlyMap<string, readonly ProtectionStanding[]>;
  readonly times: ProtectionTimes;
  fail(promise: string, what: string): never;
}

/** True: an instance that fell in the event of a protection, or later, and counts. */
export function isMember(state: Standing, protection: ProtectionStanding | undefined): boolean {
  if (!protection?.active || state.removal !== undefined || state.override !== 0) return false;
  return state.falls.some(({ seasoned, revision }) => seasoned && revision >= protection.from);
}

/** The falls of an instance that count. */
const countedFalls = ({ falls, override }: Standing): readonly Fall[] =>
  override === 0 ? falls.filter(({ seasoned }) => seasoned) : [];

/** True: an instance fell silent or a check of it failed, and it counts. */
const isFallen = (state: Standing): boolean => countedFalls(state).length > 0;

/** True: an instance fell, and was too young to count. */
const isYoungFallen = ({ falls, override }: Standing): boolean =>
  override === 0 && falls.some(({ seasoned }) => !seasoned);

/** An instance as it stood at one moment. */
interface Present {
  readonly state: Standing;
  /** When its run began: the first state of this incarnation since the last other one. */
  readonly runBegan: number;
  /** When it registered its present address. */
  readonly placed: number;
  /** When it fell silent. */
  readonly fell: number;
  /** When a check of it failed. */
  readonly failed: number;
}

/** When one of the falls of an instance happened. */
const whenOf = ({ fell, failed }: Present, { byCheck }: Fall): number => (byCheck ? failed : fell);

/** The rule of protection.md, P1 to P12, held against everything that the store committed. It shares no code with src/. */
export class ProtectionChecker {
  constructor(private readonly facts: ProtectionFacts) {}

  /** A protection began or ended. `undefined` for `decision`: nobody knows who decided. */
  changed(service: string, before: ProtectionStanding | undefined, next: ProtectionStanding, decision: Decision): void {
    if (next.active && !before?.active) this.#began(service, before, next, decision);
    if (!next.active && before?.active && !next.released) this.#ended(service, before, decision);
  }

  /** P5: a verdict says that the instance counted. */
  verdict(verdict: Standing, seasoned: boolean, { startedAt, sentAt, sawAt }: Decision): void {
    if (!seasoned) return;
    const { runBegan } = this.#presentOf(verdict.key, verdict.at)!;
    const age = verdict.at - runBegan;
    if (runBegan > startedAt && age < this.#season(verdict.ttlMs) - ROUNDING_MS)
      this.facts.fail('P5', `${verdict.key} counts after ${age.toFixed(0)} ms`);
    // Whoever judged may not have seen yet that it was set aside, or that a check of it had failed.
    const before = (this.facts.history.get(verdict.key) ?? []).findLast(
      ({ at, from }) => at < verdict.at && at <= sentAt && sawAt(from) <= sentAt,
    );
    if (before && !isShown({ ...before, override: 0 }))
      this.facts.fail('P5', `${verdict.key} counts, and was hidden before it fell`);
  }

  /** P8: an instance expired. */
  expired(before: Standing, at: number): 'replaced' | 'kept long enough' {
    const { service, key, ttlMs, seasoned } = before;
    const present = this.#presentOf(key, before.at)!;
    if (this.#successor(present, at)) return 'replaced';
    const protection = this.#protectionAt(service, at);
    if (isMember(before, protection))
      this.facts.fail('P8', `${key} expired, and is a member of the event since ${protection!.from}`);
    const kept = seasoned ? Math.max(5 * ttlMs, this.facts.times.memoryMs) : 5 * ttlMs;
    if (at - present.fell < kept - ROUNDING_MS)
      this.facts.fail('P8', `${key} expired ${(at - present.fell).toFixed(0)} ms after it fell, seasoned: ${seasoned}`);
    return 'kept long enough';
  }

  /**
   * P3, P7, P11 and P12: what must have happened in a world that has been well since `wellSince`, with servers that have
   * all been running since `runningSince`.
   */
  sample(services: readonly string[], now: number, wellSince: number, runningSince: number): void {
    const quietSince = Math.max(wellSince, runningSince);
    if (now - quietSince < PROMPT_MS) return;
    for (const service of services) {
      const present = this.#presentIn(service, now);
      for (const one of present) this.#overdue(one, now, quietSince);
      if (this.#protectionAt(service, now)?.active) continue;
      const changed = Math.max(...present.map(({ state }) => state.at), -Infinity);
      const decided = this.#protectionAt(service, now)?.at ?? -Infinity;
      if (Math.max(changed, decided, quietSince) > now - PROMPT_MS) continue;
      if (this.#mustBegin(service, now, runningSince, wellSince))
        this.facts.fail('P3', `${service} has lost most of its instances, and is not protected`);
    }
  }

  /** P7 and P12: a silent record that should have been removed by now. */
  #overdue(present: Present, now: number, quietSince: number): void {
    const { state, fell } = present;
    if (!state.silent) return;
    const successor = this.#successor(present, now);
    if (successor && fell > quietSince && now - Math.max(successor.placed, fell) > PROMPT_MS)
      this.facts.fail('P7', `${state.key} is still there, and ${successor.state.key} has its address`);
    const neverCounted = !state.falls.some(({ seasoned }) => seasoned);
    if (neverCounted && fell > quietSince && now - fell > 5 * state.ttlMs + PROMPT_MS)
      this.facts.fail('P12', `${state.key} is still there, never counted, and fell ${(now - fell).toFixed(0)} ms ago`);
  }

  /** P1, P2, P4 and P10. */
  #began(
    service: string,
    before: ProtectionStanding | undefined,
    { from }: ProtectionStanding,
    decision: Decision,
  ): void {
    const { sentAt } = decision;
    const ended = before?.revision ?? 0n;
    const first = [...this.facts.history.values()]
      .flat()
      .some((state) => state.service === service && state.falls.some((one) => one.revision === from && one.seasoned));
    if (from <= ended || !first) this.facts.fail('P4', `${service} is protected from ${from} on, where nothing fell`);
    const moments = this.#moments(Math.max(this.#oldestSight(decision), before?.at ?? 0), sentAt);
    if (!moments.some((moment) => this.#mayBegin(service, moment, ended, decision)))
      this.facts.fail('P1', `${service} was protected, and had lost too few of its instances`);
  }

  /** P1: at this moment somebody who started then may have seen an event. Every doubt is in favor of it. */
  #mayBegin(service: string, moment: number, ended: bigint, { startedAt, sawAt }: Decision): boolean {
    const present = this.#presentIn(service, moment);
    const falls = present.flatMap((one) =>
      countedFalls(one.state).flatMap((fall) => (fall.revision > ended ? [{ ...one, fall }] : [])),
    );
    const up = present.filter(({ state }) => isShown(state));
    const hasLoop = present.some(({ state }) => isYoungFallen(state));
    // Whoever judges may see a registration late.
    const old = up.filter(({ state, runBegan }) => moment - runBegan >= state.ttlMs + 60_000);
    const upLeast = hasLoop ? old.length : up.length;
    // Whoever saw the falls late saw them at a later moment, at which more had been seasoned.
    const isSeasonedAt = ({ state, runBegan }: Present, time: number): boolean =>
      runBegan <= startedAt || runBegan + this.#season(state.ttlMs) <= time + STALE_MS;
    const fellAt = (one: Present & { readonly fall: Fall }): number =>
      Math.max(whenOf(one, one.fall), startedAt, sawAt(one.fall.revision));
    return falls.some((oldest) => {
      const time = fellAt(oldest);
      const late = falls.filter((one) => fellAt(one) >= time - ROUNDING_MS);
      const fallen = late.filter((one, i) => late.findIndex(({ state }) => state === one.state) === i);
      const before = [...fallen, ...up].filter((one) => isSeasonedAt(one, time)).length;
      if (2 * upLeast >= before) return false;
      if (fallen.length > ALONE_COUNT) return true;
      return this.#moments(moment - COUNTED_MS, moment).some((counted) => this.#isWidespread(counted, startedAt, 0));
    });
  }

  /** The oldest moment of the store that its maker may have taken for the present: whoever was cut off sees the past go by. */
  #oldestSight({ sentAt, seen, sawAt }: Decision): number {
    const from = sentAt - STALE_MS;
    const seenLate = [...this.facts.history.values()]
      .flat()
      .filter(({ at, from: revision }) => at <= from && revision <= seen && sawAt(revision) >= from)
      .map(({ at }) => at);
    return Math.min(from, ...seenLate);
  }

  /** P3: whoever judges must see an event now. Every doubt is against it. */
  #mustBegin(service: string, now: number, runningSince: number, wellSince: number): boolean {
    const { memoryMs } = this.facts.times;
    const ended = this.#protectionAt(service, now)?.revision ?? 0n;
    const present = this.#presentIn(service, now);
    const falls = present.flatMap((one) => {
      const counted = countedFalls(one.state);
      const isKnown = counted.every((fall) => {
        const fell = whenOf(one, fall);
        return fell > runningSince && fell > wellSince && now - fell < memoryMs / 2 && fall.revision > ended;
      });
      if (counted.length === 0 || !isKnown) return [];
      return [{ ...one, first: Math.min(...counted.map((fall) => whenOf(one, fall))) }];
    });
    const up = present.filter(({ state }) => isShown(state));
    const isSeasonedAt = ({ state, runBegan }: Present, time: number): boolean =>
      runBegan > wellSince && runBegan + this.#season(state.ttlMs) + ROUNDING_MS <= time;
    // The event is the one with most instances before it, and of these the shortest.
    const events = falls
      .map(({ first: time }) => {
        const fallen = falls.filter(({ first }) => first >= time);
        return { fallen, before: [...fallen, ...up].filter((one) => isSeasonedAt(one, time)).length };
      })
      .sort((x, y) => y.before - x.before || x.fallen.length - y.fallen.length);
    const [event] = events;
    if (!event || 2 * up.length >= event.before) return false;
    if (event.fallen.length > ALONE_COUNT) return true;
    const moments = this.#moments(now - PROMPT_MS, now);
    return moments.every((moment) => this.#isWidespread(moment, runningSince, wellSince));
  }

  /**
   * Much of the registry fell silent. `wellSince` 0: every doubt counts as a fall, and only what is certainly up is
   * counted as up; else the other way round.
   */
  #isWidespread(moment: number, startedAt: number, wellSince: number): boolean {
    const everybody = [...this.facts.history.keys()].flatMap((key) => this.#presentOf(key, moment) ?? []);
    const present = everybody.filter(({ state }) => state.removal === undefined);
    const strict = wellSince > 0;
    const isCertain = (fell: number): boolean => fell > wellSince && moment - fell < this.facts.times.memoryMs / 2;
    const fallen = present.filter(
      (one) =>
        isFallen(one.state) && (!strict || countedFalls(one.state).every((fall) => isCertain(whenOf(one, fall)))),
    );
    const up = present.filter(({ state, runBegan }) => {
      if (!isShown(state)) return false;
      return strict || runBegan <= startedAt || moment - runBegan >= this.#season(state.ttlMs) + 60_000;
    });
    const services = new Set(fallen.map(({ state }) => state.service));
    if (fallen.length < WIDESPREAD.instances || services.size < WIDESPREAD.services) return false;
    const all = fallen.length + up.length + (strict ? present.length - fallen.length - up.length : 0);
    return fallen.length * 100 >= all * WIDESPREAD.percent;
  }

  /** P9: a protection ended by itself. */
  #ended(service: string, protection: ProtectionStanding, { sentAt, seen, sawAt }: Decision): void {
    const { times } = this.facts;
    const { at, before } = protection;
    const moments = this.#moments(at, sentAt, seen);
    const upAt = (moment: number): number =>
      this.#presentIn(service, moment).filter(({ state }) => isShown(state)).length;
    // Those that an operator had set aside at a moment did not count then.
    const asideAt = (moment: number): number =>
      this.#presentIn(service, moment).filter(({ state }) => state.override > 0).length;
    const membersAt = (moment: number): number =>
      this.#presentIn(service, moment).filter(({ state }) => isMember(state, protection)).length;
    if ([...moments, sentAt].some((moment) => moment >= sentAt - STALE_MS && membersAt(moment) === 0)) return;
    // A dip whose beginning and end its maker saw at once did not last for it.
    const begins = this.#momentsSeen(moments, sawAt);
    for (const starts of [moments, begins]) {
      const longest = (share: number): number =>
        this.#longest(moments, sentAt, (moment) => upAt(moment) >= (before - asideAt(moment)) * share, starts);
      if (longest(1) >= times.fullMs - ROUNDING_MS || longest(1 / 2) >= times.halfMs - ROUNDING_MS) return;
    }
    if (sentAt - at >= times.maxMs - ROUNDING_MS) return;
    this.facts.fail('P9', `the protection of ${service} with ${before} before ended without a reason`);
  }

  /** The longest time on end for which something held: from the start of a moment to that of the next one. */
  #longest(
    moments: readonly number[],
    end: number,
    holds: (moment: number) => boolean,
    starts: readonly number[],
  ): number {
    let longest = 0;
    let since: number | undefined;
    moments.forEach((moment, i) => {
      const lasts = (starts[i + 1] ?? end) - starts[i]!;
      if (holds(moment)) since ??= starts[i]!;
      else if (lasts > 0) since = undefined;
      if (since !== undefined) longest = Math.max(longest, (starts[i + 1] ?? end) - since);
    });
    return longest;
  }

  /** When a maker of decisions saw each moment: at once or later, and in their order. */
  #momentsSeen(moments: readonly number[], sawAt: Decision['sawAt']): number[] {
    const revisions = new Map([...this.facts.history.values()].flat().map(({ at, from: revision }) => [at, revision]));
    let last = -Infinity;
    return moments.map((moment) => {
      const revision = revisions.get(moment);
      return (last = Math.max(last, revision === undefined ? moment : Math.max(moment, sawAt(revision))));
    });
  }

  /** A time, and the later times at which something changed, up to a revision. */
  #moments(from: number, to: number, seen = 2n ** 62n): number[] {
    const changes = [...this.facts.history.values()]
      .flat()
      .filter(({ at, from: revision }) => at > from && at <= to && revision <= seen)
      .map(({ at }) => at);
    return [from, ...changes.sort((a, b) => a - b)];
  }

  #presentIn(service: string, moment: number): Present[] {
    return [...this.facts.history].flatMap(([key, states]) => {
      if (states[0]?.service !== service) return [];
      const present = this.#presentOf(key, moment);
      return present && present.state.removal === undefined ? [present] : [];
    });
  }

  #presentOf(key: string, moment: number): Present | undefined {
    const states = (this.facts.history.get(key) ?? []).filter(({ at }) => at <= moment);
    const state = states.at(-1);
    if (!state) return undefined;
    const since = (same: (one: Standing) => boolean): number => {
      let first = state;
      for (let i = states.length - 1; i >= 0 && same(states[i]!); i--) first = states[i]!;
      return first.at;
    };
    const isRun = (one: Standing): boolean => one.removal === state.removal && one.incarnation === state.incarnation;
    return {
      state,
      runBegan: since(isRun),
      placed: since((one) => isRun(one) && one.place === state.place),
      fell: since((one) => isRun(one) && one.silent),
      failed: since((one) => isRun(one) && one.check === VERDICTS.FAILED),
    };
  }

  /** Another instance of the service that registered the address after this one fell. */
  #successor({ state, fell }: Present, now: number): Present | undefined {
    return this.#presentIn(state.service, now).find(
      (other) => other.state.key !== state.key && other.state.place === state.place && other.placed > fell,
    );
  }

  #protectionAt(service: string, moment: number): ProtectionStanding | undefined {
    return this.facts.protections.get(service)?.findLast(({ at }) => at <= moment);
  }

  #season(ttlMs: number): number {
    return Math.max(this.facts.times.seasonMs, 3 * ttlMs);
  }
}
