import type { RevisionBatch } from '../../src/store/store.js';
import { decode, EXPIRED, isAiling, isGoodbyeOf, isLiveOf, isShown, readStanding, type Standing } from './records.js';

/** A service is protected when more than this share and more than so many of it are unhealthy (docs/reference/guarantees.md, E4). */
const PROTECTED_FROM = { percent: 50, count: 3 };
/** And until no more than this share, or no more than so many, are. */
const PROTECTED_UNTIL = { percent: 35, count: 2 };

/** No more of a service than this share, or one, is removed for its silence within a minute; its commit takes a moment. */
const REMOVED = { percent: 15, withinMs: 59_000 };

/** Whoever reaches the store sees within this that it was restored. */
const REACHED_MS = 6_000;
/** And within this it has a new epoch: an outage goes on for some seconds after the store went back. */
const RENEWED_MS = 15_000;
/** A replica that is cut off acknowledges beats by what it knows for 28.5 s; another lists anew after 10 s at most. */
const CUT_OFF_MS = 40_000;

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

/** The protection of a service from one revision on. */
interface ProtectionStanding {
  readonly revision: bigint;
  readonly active: boolean;
  /** True: an operator has ended it, and the service has not been below the threshold since. */
  readonly released: boolean;
}

/** What the store has held, from the first revision on. */
export interface Past {
  /** Every state of every instance record, in order. */
  readonly history: ReadonlyMap<string, readonly Standing[]>;
  readonly protections: ReadonlyMap<string, readonly ProtectionStanding[]>;
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
  /** What the store had held whenever it was restored. */
  readonly #pasts: Past[] = [];
  #restoredAt = -Infinity;
  #allMended = false;
  readonly #calls = new Map<string, Call[]>();

  constructor(
    /** The time of the world. */
    protected readonly now: () => number,
  ) {}

  /** A record that somebody beats for was declared silent. */
  protected abstract checkVerdict(judged: Standing, verdict: Standing): void;

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
    return { history: copied(this.history), protections: copied(this.#protections) };
  }

  /** The store has gone back to what it held once: whatever was committed since has never been. */
  restored({ history, protections }: Past): void {
    this.#pasts.push(this.past());
    this.#restoredAt = this.now();
    replaceBy(this.history, history);
    replaceBy(this.#protections, protections);
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
    if (!key.startsWith('w/i/')) return;
    if (!value) this.fail('1', `${key} was deleted`);
    const states = listed(this.history, key);
    const next = readStanding(key, value, revision, this.now());
    this.#checkStep(states.at(-1), next);
    states.push(next);
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
      this.#checkRemoval(next);
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
    if (next.silent && !live.silent) this.checkVerdict(live, next);
  }

  /** E4: nothing of a protected service is removed for its silence, and of any other little at a time. */
  #checkRemoval({ key, service, at }: Standing): void {
    const protection = this.#protections.get(service)?.at(-1);
    if (protection?.active)
      this.fail('E4', `${key} expired, and its service is protected since ${protection.revision}`);
    const all = [...this.history.values()].map((states) => states.at(-1)!).filter((one) => one.service === service);
    const live = all.filter(({ removal }) => removal === undefined).length;
    const gone = all.filter(({ removal, at: since }) => removal === EXPIRED && at - since < REMOVED.withinMs).length;
    if (gone >= Math.max(1, Math.floor(((live + gone) * REMOVED.percent) / 100)))
      this.fail('E4', `${key} expired, as ${gone} others within the last minute, of ${live} that are left`);
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

  /** E4: a protection begins and ends for a reason, and what an operator has ended does not begin again by itself. */
  #protectionChanged(key: string, value: Uint8Array, revision: bigint): void {
    const { active, released } = decode('rollcall.storage.v1.ProtectionRecord', value) as {
      active: boolean;
      released: boolean;
    };
    const service = key.split('/')[3]!;
    const states = listed(this.#protections, service);
    const before = states.at(-1);
    const next = { revision, active, released };
    states.push(next);
    if (this.mayNotHaveSeen) return;
    const since = before?.revision ?? 0n;
    if (active && before?.released) this.fail('E4', `${service} is protected again after it was released`);
    if (active && !this.#everExceeded(service, since, PROTECTED_FROM))
      this.fail('E4', `${service} was protected, and at no time since ${since} were enough of it unhealthy`);
    if (before?.active && !released && !this.#everCalm(service, since, PROTECTED_UNTIL))
      this.fail('E4', `the protection of ${service} ended, and at no time since ${since} were few enough unhealthy`);
    if (before?.released && !active && !released && !this.#everCalm(service, since, PROTECTED_FROM))
      this.fail('E4', `the release of ${service} was forgotten, and it was not below the threshold since ${since}`);
  }

  #everExceeded(service: string, since: bigint, threshold: Threshold): boolean {
    return this.#momentsSince(service, since).some((revision) => this.#exceeds(service, revision, threshold));
  }

  #everCalm(service: string, since: bigint, threshold: Threshold): boolean {
    return this.#momentsSince(service, since).some((revision) => !this.#exceeds(service, revision, threshold));
  }

  /** A revision, and all later ones that changed a service. */
  #momentsSince(service: string, since: bigint): bigint[] {
    const later = [...this.history.values()]
      .flat()
      .filter((state) => state.service === service && state.revision > since)
      .map(({ revision }) => revision);
    return [since, ...later];
  }

  #exceeds(service: string, revision: bigint, { percent, count }: Threshold): boolean {
    const standing = [...this.history.values()]
      .map((states) => states.findLast((state) => state.revision <= revision))
      .filter((state) => state !== undefined && state.service === service && state.removal === undefined);
    const ailing = standing.filter((state) => isAiling(state!)).length;
    return ailing > count && ailing * 100 > standing.length * percent;
  }
}

type Threshold = typeof PROTECTED_FROM;

/** The first key of which a view shows something else than what stood at a revision. */
function differenceOf(
  { history, protections }: Past,
  services: readonly string[],
  view: ReadonlyMap<string, bigint>,
  revision: bigint,
): string | undefined {
  const isProtected = (service: string): boolean =>
    protections.get(service)?.findLast((state) => state.revision <= revision)?.active ?? false;
  for (const [key, states] of history) {
    const state = states.findLast((one) => one.revision <= revision);
    const shown =
      state &&
      services.includes(state.service) &&
      state.removal === undefined &&
      (isShown(state) || (isAiling(state) && isProtected(state.service)));
    const expected = shown ? state.visible : undefined;
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
