import type { RevisionBatch } from '../../src/store/store.js';
import {
  type About,
  CHECK_FAILED,
  type CheckStanding,
  CLEARED,
  decode,
  EXPIRED,
  isGoodbyeOf,
  isLiveOf,
  isShown,
  joined,
  NEW_RUN,
  OPERATOR,
  OVER,
  type OverrideStanding,
  readCheckStanding,
  readOverrideStanding,
  readServiceChecksStanding,
  readStanding,
  type ServiceChecksStanding,
  type Standing,
  VERDICTS,
} from './records.js';
import { SHORT_PROTECTION, WALL_FROM_MS } from './process.js';
import { type Decision, isMember, ProtectionChecker, type ProtectionStanding } from './protection-checker.js';

/** Whoever reaches the store sees within this that it was restored. */
const REACHED_MS = 6_000;
/** And within this it has a new epoch: an outage goes on for some seconds after the store went back. */
const RENEWED_MS = 15_000;
/** A replica that is cut off acknowledges beats by what it knows for 28.5 s; another lists anew after 10 s at most. */
const CUT_OFF_MS = 40_000;

/** An override ends within this in a world that is well: looked at each second, and a second late. */
const OVERRIDE_LATE_MS = 10_000;

/** A call that a client made, and whose outcome it may not know. */
export interface Call {
  readonly kind: 'register' | 'deregister';
  readonly key: string;
  readonly incarnation: string;
  readonly ttlMs: number;
  readonly replaces: bigint | undefined;
  readonly from: number;
  /** Infinity while nobody knows the outcome. */
  to: number;
}

/** The death of a client process, or its end without a word. */
export interface Death {
  readonly key: string;
  readonly incarnation: string;
  /** When the last message of it can have reached a server. */
  readonly lastReceived: number;
}

/** What a revision of the store changed; undefined: deleted. */
export type Changes = readonly { readonly key: string; readonly value: Uint8Array | undefined }[];

export function changesOf({ changes }: RevisionBatch): Changes {
  return changes.map((change) =>
    change.kind === 'put'
      ? { key: change.entry.key, value: change.entry.value }
      : { key: change.key, value: undefined },
  );
}

/** What the store has held, from the first revision on. */
export interface Past {
  /** Every state of every instance record, in order. */
  readonly history: ReadonlyMap<string, readonly Standing[]>;
  readonly protections: ReadonlyMap<string, readonly ProtectionStanding[]>;
  /** Every state of every override, by the key of its instance. */
  readonly overrides: ReadonlyMap<string, readonly OverrideStanding[]>;
  /** Every verdict on checks, by the key of its instance. */
  readonly checks: ReadonlyMap<string, readonly CheckStanding[]>;
  readonly serviceChecks: ReadonlyMap<string, readonly ServiceChecksStanding[]>;
  /** True: there had been a member. */
  readonly anyMember: boolean;
}

/** What must stand, at some time during a beat, for each rejection. */
const DESERVED = {
  NOT_REGISTERED: (state: Standing | undefined, incarnation: string) =>
    !state || (state.removal !== undefined && !isGoodbyeOf(state, incarnation)),
  SUPERSEDED: (state: Standing | undefined, incarnation: string) =>
    state !== undefined && state.removal === undefined && state.incarnation !== incarnation,
  DEREGISTERED: isGoodbyeOf,
};

/** A promise that was broken. */
export class Broken extends Error {
  override readonly name = 'Broken';
}

/**
 * Holds what happened against what was promised, whoever made it happen: one server or many. It sees everything that
 * the store commits and everything that clients were told.
 */
export abstract class Checker {
  /** Every state of every instance record, in order. */
  readonly history = new Map<string, Standing[]>();
  readonly #protections = new Map<string, ProtectionStanding[]>();
  readonly #overrides = new Map<string, OverrideStanding[]>();
  readonly #checks = new Map<string, CheckStanding[]>();
  readonly #serviceChecks = new Map<string, ServiceChecksStanding[]>();
  /** The services of which operators have asked to define or release checks. */
  readonly #checksAsked = new Set<string>();
  /** The calls of operators about each instance that may still be on their way. */
  readonly #operators = new Map<string, number>();
  /** What the store had held whenever it was restored. */
  readonly #pasts: Past[] = [];
  #restoredAt = -Infinity;
  #allMended = false;
  readonly #calls = new Map<string, Call[]>();

  readonly #protection: ProtectionChecker;

  constructor(
    /** The time of the world. */
    protected readonly now: () => number,
  ) {
    this.#protection = new ProtectionChecker({
      ...{ history: this.history, protections: this.#protections, times: SHORT_PROTECTION },
      fail: (promise, what) => this.fail(promise, what),
    });
  }

  /** Who is deciding, as the one whose commit is being checked. */
  protected abstract decision(): Decision;

  /** Fails unless the one whose commit is being checked holds the guard of a judge. */
  protected abstract checkGuard(what: string): void;

  /** The revision that the catalog of a process is at. */
  seenBy: (name: string) => bigint = () => 2n ** 62n;
  /** When a server saw a revision of the present history. */
  sawAt: (name: string, revision: bigint) => number = () => 0;

  /** Notes that something happened which must happen in some world. */
  tallied: (name: string) => void = () => undefined;

  /** A record that somebody beats for was declared silent. */
  protected abstract checkVerdict(judged: Standing, verdict: Standing): void;

  /** A server recorded a verdict on the checks of an instance. */
  protected abstract checkCheckVerdict(before: Standing | undefined, key: string, verdict: CheckStanding): void;

  /** An instance was removed because a check of it had failed for long. */
  protected abstract checkRemovalByCheck(before: Standing): void;

  fail(promise: string, what: string): never {
    throw new Broken(`${promise}: ${what} (at ${this.now().toFixed(2)} ms)`);
  }

  standing(key: string): Standing | undefined {
    return this.history.get(key)?.at(-1);
  }

  /**
   * True: another incarnation holds the id. A real process would learn it from a beat; one that never got an answer to its
   * Register just stops.
   */
  isSuperseded(key: string, incarnation: string): boolean {
    const standing = this.standing(key);
    return standing !== undefined && standing.removal === undefined && standing.incarnation !== incarnation;
  }

  /** What the store has held up to now, for `restored`. */
  past(): Past {
    return {
      history: copied(this.history),
      protections: copied(this.#protections),
      overrides: copied(this.#overrides),
      checks: copied(this.#checks),
      serviceChecks: copied(this.#serviceChecks),
      anyMember: false,
    };
  }

  /** The store has gone back to what it held once: whatever was committed since has never been. */
  restored({ history, protections, overrides, checks, serviceChecks }: Past): void {
    this.#pasts.push(this.past());
    this.#restoredAt = this.now();
    replaceBy(this.history, history);
    replaceBy(this.#protections, protections);
    replaceBy(this.#overrides, overrides);
    replaceBy(this.#checks, checks);
    replaceBy(this.#serviceChecks, serviceChecks);
  }

  /** True: maybe nobody has seen yet that the store was restored. */
  protected get mayNotHaveSeen(): boolean {
    return this.now() - this.#restoredAt < RENEWED_MS;
  }

  /** True: somebody who is cut off may still act by what the store held before it was restored. */
  protected get mayNotKnow(): boolean {
    return this.now() - this.#restoredAt < CUT_OFF_MS;
  }

  /** True: what was sent then may be about what the store held before it was restored, and that may stand again. */
  protected mayBeOfThePast(sentAt: number): boolean {
    return sentAt < this.#restoredAt + REACHED_MS;
  }

  /** Nothing is broken any more, and everybody has had time to see what there is. */
  allMended(): void {
    this.#allMended = true;
  }

  /** A client makes a call. */
  began(
    kind: Call['kind'],
    key: string,
    incarnation: string,
    ttlMs = 0,
    replaces: bigint | undefined = undefined,
  ): Call {
    const call: Call = { kind, key, incarnation, ttlMs, replaces, from: this.now(), to: Infinity };
    listed(this.#calls, key).push(call);
    return call;
  }

  /** The store committed a change of an instance or of a protection. */
  protected recordChanged(key: string, value: Uint8Array | undefined, revision: bigint): void {
    if (key.startsWith('w/p/') && value) this.#protectionChanged(key, value, revision);
    if (key.startsWith('w/o/')) this.#overrideChanged(key.replace('w/o/', 'w/i/'), value, revision);
    if (key.startsWith('w/h/')) this.#checkChanged(key.replace('w/h/', 'w/i/'), value, revision);
    if (key.startsWith('w/s/')) this.#serviceChecksChanged(key, value, revision);
    if (!key.startsWith('w/i/')) return;
    if (!value) this.fail('1', `${key} was deleted`);
    const states = listed(this.history, key);
    const next = this.#joined(readStanding(key, value, revision, this.now()));
    const before = states.at(-1);
    this.#checkStep(before, next);
    this.#hidesNobody(before, next);
    states.push(next);
    const isFall = next.silent && !(before?.removal === undefined && before?.silent);
    if (isFall && !this.everRestored) this.#protection.verdict(next, next.seasoned, this.decision());
  }

  /** An instance with what is recorded about it now. */
  #joined(state: Standing): Standing {
    const about: About = {
      override: this.#overrides.get(state.key)?.at(-1),
      serviceChecks: this.#serviceChecks.get(state.service)?.at(-1),
      check: this.#checks.get(state.key)?.at(-1),
    };
    return joined(state, about);
  }

  /** Something that is recorded about an instance changed at a revision. Returns how it stands now. */
  #rejoin(key: string, revision: bigint): Standing | undefined {
    const states = this.history.get(key);
    const last = states?.at(-1);
    if (!states || !last) return undefined;
    const next = { ...this.#joined(last), at: this.now(), from: revision };
    states.push(next);
    return next;
  }

  /** A Register was acknowledged. */
  protected checkRegistered(call: Call, revision: bigint): void {
    call.to = this.now();
    const wrote = this.#ever(call.key).some((state) => state.visible === revision && isLiveOf(state, call.incarnation));
    if (!wrote)
      this.fail('6', `Register of ${call.key} was acknowledged at ${revision}, which the store does not have`);
  }

  /** A Deregister was acknowledged. */
  deregistered(call: Call, revision: bigint): void {
    call.to = this.now();
    const wrote = this.#ever(call.key).some((state) => state.revision === revision && state.removal !== undefined);
    if (!wrote)
      this.fail('6', `Deregister of ${call.key} was acknowledged at ${revision}, which the store does not have`);
  }

  /** A beat was rejected between two moments. */
  rejected(reason: keyof typeof DESERVED, key: string, incarnation: string, received: number): void {
    if (this.mayNotKnow) return;
    const deserved = this.#during(key, received).some((state) => DESERVED[reason](state, incarnation));
    if (!deserved) this.fail('10', `${reason} was said to ${key} ${incarnation}, which did not deserve it`);
  }

  /** W1: a view equals the store at its revision; by a history that is over, as long as somebody may not know that. */
  viewIs(services: readonly string[], view: ReadonlyMap<string, bigint>, revision: bigint): void {
    const now = { history: this.history, protections: this.#protections };
    const pasts = this.#allMended ? [] : this.#pasts;
    if ([now, ...pasts].some((past) => differenceOf(past, services, view, revision) === undefined)) return;
    // Nobody has given the store a new epoch yet, so that a token of the past is taken for one of now.
    if (this.mayNotHaveSeen) return;
    this.fail('W1', `a view at ${revision} shows ${differenceOf(now, services, view, revision)}`);
  }

  /** All states of a key, also of histories that are over, as long as somebody may not know that. */
  #ever(key: string): Standing[] {
    const pasts = this.#allMended ? [] : this.#pasts;
    return [this.history, ...pasts.map(({ history }) => history)].flatMap((history) => history.get(key) ?? []);
  }

  /** The states of a key between a moment and now; undefined: nothing stood there. */
  #during(key: string, from: number): (Standing | undefined)[] {
    const states = this.history.get(key) ?? [];
    const before = states.findLast((state) => state.at <= from);
    return [before, ...states.filter((state) => state.at > from)];
  }

  /** Every change of a record must have somebody who may have made it. */
  #checkStep(before: Standing | undefined, next: Standing): void {
    const live = before && before.removal === undefined ? before : undefined;
    if (next.removal === EXPIRED) {
      if (!live?.silent) this.fail('6', `${next.key} expired without having been SILENT`);
      if (live && !this.everRestored) this.tallied(`expired: ${this.#protection.expired(live, this.now())}`);
      return;
    }
    if (next.removal === CHECK_FAILED) {
      if (!live) this.fail('K12', `${next.key} was removed for its checks, and was not there`);
      if (!this.everRestored) this.checkRemovalByCheck(live);
      return;
    }
    if (next.removal !== undefined) {
      if (this.#open('deregister', next).length === 0)
        this.fail('6', `${next.key} was removed, and nobody asked for it`);
      return;
    }
    if (live?.incarnation !== next.incarnation) {
      const calls = this.#open('register', next);
      if (calls.length === 0) this.fail('8', `${next.key} came back or changed hands, and nobody registered it`);
      const may = calls.some(({ replaces }) => replaces === undefined || !before || replaces === before.visible);
      if (isGoodbyeOf(before, next.incarnation) && !calls.some(({ replaces }) => replaces === before!.visible))
        this.fail('I3', `${next.key} came back as ${next.incarnation}, which was deregistered`);
      if (!may) this.fail('10', `${next.key} was taken over, which replaces_revision did not allow`);
      return;
    }
    if (next.ttlMs !== live.ttlMs && !this.#open('register', next).some(({ ttlMs }) => ttlMs === next.ttlMs)) {
      this.fail('6', `the ttl of ${next.key} went from ${live.ttlMs} to ${next.ttlMs}, and nobody registered that`);
    }
    if (next.silent && !live.silent) {
      this.checkVerdict(live, next);
      if (next.seasoned && this.#protections.get(next.service)?.at(-1)?.active) this.tallied('joined an event');
    }
  }

  /** The calls that may have made a change. */
  #open(kind: Call['kind'], { key, incarnation, at }: Standing): Call[] {
    return listed(this.#calls, key).filter(
      (call) =>
        call.kind === kind &&
        call.from <= at &&
        call.to >= at &&
        (kind === 'deregister' || call.incarnation === incarnation),
    );
  }

  /** An operator asks for a change of an override, whose outcome may never be known. */
  operatorAsks(key: string): void {
    this.#operators.set(key, (this.#operators.get(key) ?? 0) + 1);
  }

  /** O1: an override changes for a reason, and only its own record does. */
  #overrideChanged(key: string, value: Uint8Array | undefined, revision: bigint): void {
    if (!value) this.fail('1', `the override of ${key} was deleted`);
    const states = listed(this.#overrides, key);
    const before = states.at(-1);
    const next = readOverrideStanding(value, revision, this.now());
    states.push(next);
    const instance = this.#rejoin(key, revision);
    if (next.byOperator) {
      if (!this.#operators.get(key))
        this.fail('O1', `the override of ${key} was changed, and no operator asked for it`);
      this.tallied(next.end === CLEARED ? 'override cleared' : 'override set');
      return;
    }
    if (this.everRestored) return;
    this.checkGuard(`the end of the override of ${key}`);
    if (before?.end !== 0) this.fail('O1', `the override of ${key} ended, and none was in force`);
    this.tallied(`override ended: ${next.end}`);
    if (next.end === OVER && !(before.expiresAt! + 1_000 <= this.wall()))
      this.fail('O1', `the override of ${key} ended ${before.expiresAt! + 1_000 - this.wall()} ms early`);
    const isOther = instance?.incarnation !== before.incarnation;
    if (next.end === NEW_RUN && !(before.incarnation !== '' && isOther))
      this.fail('O1', `the override of ${key} ended for another run, and there is none`);
    if (next.end !== OVER && next.end !== NEW_RUN) this.fail('O1', `the override of ${key} ended as ${next.end}`);
  }

  /** An operator asks for a change of the checks of a service, whose outcome may never be known. */
  operatorAsksOfChecks(service: string): void {
    this.#checksAsked.add(service);
  }

  /** The protection of a service as it stands. */
  protected protectionOf(service: string): ProtectionStanding | undefined {
    return this.#protections.get(service)?.at(-1);
  }

  /** K2, K8: a verdict changes for a reason, and only by the ones that may change it. */
  #checkChanged(key: string, value: Uint8Array | undefined, revision: bigint): void {
    if (!value) this.fail('1', `the verdict on the checks of ${key} was deleted`);
    const next = readCheckStanding(value, revision);
    const before = this.history.get(key)?.at(-1);
    listed(this.#checks, key).push(next);
    const after = this.#rejoin(key, revision);
    if (!next.isNew || this.everRestored) return;
    if (next.byOperator) {
      if (!this.#checksAsked.has(key.split('/')[3]!)) this.fail('K2', `the checks of ${key} were released by nobody`);
      return this.tallied('checks released');
    }
    this.checkGuard(`the verdict on the checks of ${key}`);
    this.checkCheckVerdict(before, key, next);
    if (next.verdict !== VERDICTS.FAILED || !after) return;
    this.#protection.verdict(after, next.seasoned, this.decision());
    if (next.seasoned && this.#protections.get(after.service)?.at(-1)?.active)
      this.tallied('joined an event by a check');
  }

  #serviceChecksChanged(key: string, value: Uint8Array | undefined, revision: bigint): void {
    if (!value) this.fail('1', `${key} was deleted`);
    const service = key.split('/')[3]!;
    if (!this.#checksAsked.has(service)) this.fail('K2', `the checks of ${service} were changed by nobody`);
    const next = readServiceChecksStanding(value, revision);
    listed(this.#serviceChecks, service).push(next);
    this.tallied(next.definitions.length > 0 ? 'service checks set' : 'service checks ended');
    for (const [instance, states] of this.history) {
      const before = states.at(-1)!;
      if (before.service === service) this.#hidesNobody(before, this.#rejoin(instance, revision)!);
    }
  }

  /** K7: only a verdict hides an instance for its checks, and no other write. */
  #hidesNobody(before: Standing | undefined, next: Standing): void {
    if (this.everRestored || next.removal !== undefined) return;
    const isNewRun = before?.removal !== undefined || before?.incarnation !== next.incarnation;
    if (isNewRun && next.definitions.length > 0 && next.check !== VERDICTS.PENDING)
      this.fail('K7', `${next.key} registered as ${next.check}`);
    if (!before || isNewRun) return;
    const isHidden = ({ check }: Standing): boolean => check === VERDICTS.FAILED || check === VERDICTS.PENDING;
    if (!isHidden(before) && isHidden(next))
      this.fail('K7', `${next.key} was ${before.check}, and is ${next.check} by other checks, at ${next.from}`);
    if (before.definitionsText !== next.definitionsText) this.tallied('other checks of the same run');
  }

  /** O1: in a world that has been well for a while, no override outlives its time. */
  protected sampleOverrides(): void {
    for (const [key, states] of this.#overrides) {
      const { end, expiresAt = Infinity } = states.at(-1)!;
      if (end === 0 && this.wall() > expiresAt + OVERRIDE_LATE_MS)
        this.fail('O1', `the override of ${key} is still in force ${this.wall() - expiresAt} ms after its time`);
    }
  }

  /** The wall clock of every process of the world. */
  protected wall(): number {
    return WALL_FROM_MS + this.now();
  }

  /** E4: a protection begins and ends for a reason, under the guard of whoever judges. */
  #protectionChanged(key: string, value: Uint8Array, revision: bigint): void {
    const record = decode('rollcall.storage.v1.ProtectionRecord', value) as {
      active: boolean;
      fromRevision: bigint;
      before: number;
      actor?: { kind: number };
      visibleRevision: bigint;
    };
    const service = key.split('/')[3]!;
    const { active, fromRevision: from, before } = record;
    const released = record.actor?.kind === OPERATOR;
    const states = listed(this.#protections, service);
    const last = states.at(-1);
    const next = { at: this.now(), revision: record.visibleRevision || revision, active, from, before, released };
    states.push(next);
    if (this.everRestored) return;
    this.#protection.changed(service, last, next, this.decision());
    if (!released) this.checkGuard(`the protection of ${service}`);
    if (active && states.some((state) => state.active && state !== next)) this.tallied('second event');
  }

  /** E4, looked at now and then: what must have happened in a world that has been well. */
  sampleProtection(services: readonly string[], wellSince: number, runningSince: number): void {
    if (!this.everRestored) this.#protection.sample(services, this.now(), wellSince, runningSince);
  }

  /** Somebody has gone back in time: what replicas knew about times is lost. */
  protected get everRestored(): boolean {
    return this.#pasts.length > 0;
  }
}

/** The first key of which a view shows something else than what stood at a revision. */
function differenceOf(
  { history, protections }: Pick<Past, 'history' | 'protections'>,
  services: readonly string[],
  view: ReadonlyMap<string, bigint>,
  revision: bigint,
): string | undefined {
  const protectionOf = (service: string): ProtectionStanding | undefined =>
    protections.get(service)?.findLast((state) => state.revision <= revision);
  for (const [key, states] of history) {
    const state = states.findLast((one) => one.from <= revision);
    const shown =
      state &&
      services.includes(state.service) &&
      state.removal === undefined &&
      (isShown(state) || isMember(state, protectionOf(state.service)));
    const expected = shown ? state.seen : undefined;
    if (view.get(key) !== expected) return `${key} at ${view.get(key)}, and the store has ${expected}`;
  }
  for (const key of view.keys()) if (!history.has(key)) return `${key}, of which the store has never heard`;
  return undefined;
}

const copied = <T>(lists: ReadonlyMap<string, readonly T[]>): Map<string, T[]> =>
  new Map([...lists].map(([key, list]) => [key, [...list]]));

/** The list of a key, which is made when it is first asked for. */
export function listed<T>(map: Map<string, T[]>, key: string): T[] {
  const known = map.get(key);
  if (known) return known;
  const list: T[] = [];
  map.set(key, list);
  return list;
}

function replaceBy<T>(lists: Map<string, T[]>, others: ReadonlyMap<string, readonly T[]>): void {
  lists.clear();
  for (const [key, list] of copied(others)) lists.set(key, list);
}
