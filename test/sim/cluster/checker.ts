import { Broken, decode, isAiling, isShown, readStanding, type Standing } from '../checker.js';

const EXPIRED = 2;
/** What design section 4 promises; the simulation measures against these, whatever src/ says. */
const GRACE_MS = 30_000;
const LEASE_MS = 10_000;
const E5_MS = 300;
/** A lease ends up to a tenth of its time late. */
const LEASE_OVER_MS = 1.1 * LEASE_MS;
/** E6: after a grace and a ttl, this is enough. */
const SETTLED_MS = 1_000;
/** Time is in fractions of milliseconds: less than this is rounding. */
const ROUNDING_MS = 0.001;

/** A call that a client made and whose outcome it may not know. */
export interface ClusterCall {
  readonly kind: 'register' | 'deregister';
  readonly key: string;
  readonly incarnation: string;
  readonly ttlMs: number;
  readonly replaces: bigint | undefined;
  readonly from: number;
  /** Infinity while nobody knows the outcome. */
  to: number;
}

/** A beat or a Register that was acknowledged. */
interface Ack {
  readonly received: number;
  readonly answered: number;
  readonly by: string;
  /** True: whoever acknowledged it had been a member, so that the others had to ask it. */
  readonly byMember: boolean;
}

/** A member key as it stands in the store. */
interface MemberKey {
  readonly epoch: bigint;
  readonly by: string;
}

/** From one moment to another. */
interface Span {
  readonly from: number;
  readonly to: number;
}

/** What is known of a process from outside. */
export interface ProcessFacts {
  readonly startedAt: number;
  /** True: there had never been a member when it started. */
  readonly first: boolean;
  /** When it died without leaving. */
  crashedAt?: number;
  /** When its member key was deleted last. Undefined: it still stands, or there never was one. */
  departedAt?: number;
  /** The member keys with epochs that took over what it had heard. */
  handedOverTo?: readonly string[];
}

/** The death of a client process, or its end without a word. */
export interface Death {
  readonly key: string;
  readonly incarnation: string;
  readonly lastReceived: number;
}

/**
 * Holds what a cluster did against the ten invariants of design section 4, "Members, beats and verdicts". It sees
 * everything that the store commits, everything that clients were told and what members said to one another, and knows
 * the wire and the store only by the compiled protos.
 */
export class ClusterChecker {
  /** Every state of every instance record, in order. */
  readonly history = new Map<string, Standing[]>();
  readonly processes = new Map<string, ProcessFacts>();
  readonly members = new Map<string, MemberKey>();
  /** By service: from which revisions on it was protected, and was not. */
  readonly #protections = new Map<string, { revision: bigint; active: boolean }[]>();
  readonly #calls = new Map<string, ClusterCall[]>();
  readonly #acks = new Map<string, Ack[]>();
  /** Who promised what: the member keys with epochs, by instance and revision. */
  readonly #promises = new Map<string, Set<string>>();
  /** When the world was not well: from and to. */
  readonly #faults: Span[] = [];
  /** When something began a grace: a start, a departure, a relist. */
  readonly #disturbances: number[] = [];
  readonly #now: () => number;
  #anyMemberYet = false;

  constructor(now: () => number) {
    this.#now = now;
  }

  fail(invariant: string, what: string): never {
    throw new Broken(`${invariant}: ${what} (at ${this.#now().toFixed(2)} ms)`);
  }

  /** The world was not well for a while. */
  fault(from: number, to: number): void {
    this.#faults.push({ from, to });
  }

  /** A grace begins at somebody, or may. */
  disturbed(): void {
    this.#disturbances.push(this.#now());
  }

  started(by: string): void {
    this.processes.set(by, { startedAt: this.#now(), first: !this.#anyMemberYet });
    this.disturbed();
  }

  crashed(by: string): void {
    this.processes.get(by)!.crashedAt = this.#now();
    this.fault(this.#now(), this.#now() + LEASE_OVER_MS);
  }

  began(
    kind: ClusterCall['kind'],
    key: string,
    incarnation: string,
    ttlMs = 0,
    replaces: bigint | undefined = undefined,
  ): ClusterCall {
    const call: ClusterCall = { kind, key, incarnation, ttlMs, replaces, from: this.#now(), to: Infinity };
    listed(this.#calls, key).push(call);
    return call;
  }

  /** A member answered SILENT with a promise about a record at a revision. */
  promised(member: string, epoch: bigint, key: string, revision: bigint): void {
    const name = `${key}@${revision}`;
    const promises = this.#promises.get(name) ?? new Set();
    this.#promises.set(name, promises);
    promises.add(`m/${member}@${epoch}`);
  }

  /** The store committed a revision at the wish of a process; '' is the store itself. */
  committed(
    by: string,
    epoch: bigint | undefined,
    revision: bigint,
    changes: readonly { key: string; value: Uint8Array | undefined }[],
  ): void {
    for (const { key, value } of changes) {
      if (key.startsWith('m/')) this.#memberChanged(by, key, value, revision);
      if (key.startsWith('p/') && value) this.#protection(key, value, revision);
      if (!key.startsWith('i/')) continue;
      if (!value) this.fail('1', `${key} was deleted`);
      const states = listed(this.history, key);
      const next = readStanding(key, value, revision, this.#now());
      this.#checkStep(by, epoch, states.at(-1), next);
      states.push(next);
    }
  }

  /** A heartbeat was acknowledged. */
  beatAcknowledged(by: string, key: string, incarnation: string, received: number): void {
    const answered = this.#now();
    const states = this.history.get(key) ?? [];
    const now = states.at(-1);
    if (now && now.removal === undefined && now.incarnation === incarnation && now.silent) {
      // A touch or a heal may have counted, and a verdict on what it wrote come before the answer left.
      const wrote = states.some((state) => isLiveOf(state, incarnation) && !state.silent && state.at > received);
      if (!wrote) this.fail('9', `${key} ${incarnation} was acknowledged by ${by} from memory while it was SILENT`);
    }
    listed(this.#acks, `${key} ${incarnation}`).push({ received, answered, by, byMember: this.#wasMember(by) });
  }

  registered(by: string, call: ClusterCall, revision: bigint, received: number): void {
    call.to = this.#now();
    const wrote = this.history
      .get(call.key)
      ?.some((state) => state.visible === revision && isLiveOf(state, call.incarnation));
    if (!wrote)
      this.fail('6', `Register of ${call.key} was acknowledged at ${revision}, which the store does not have`);
    listed(this.#acks, `${call.key} ${call.incarnation}`).push({
      received,
      answered: this.#now(),
      by,
      byMember: this.#wasMember(by),
    });
  }

  deregistered(call: ClusterCall, revision: bigint): void {
    call.to = this.#now();
    const wrote = this.history
      .get(call.key)
      ?.some((state) => state.revision === revision && state.removal !== undefined);
    if (!wrote)
      this.fail('6', `Deregister of ${call.key} was acknowledged at ${revision}, which the store does not have`);
  }

  /** A beat was rejected as NOT_REGISTERED or SUPERSEDED between two moments. */
  rejected(reason: 'NOT_REGISTERED' | 'SUPERSEDED', key: string, incarnation: string, received: number): void {
    const deserved = this.#during(key, received).some((state) =>
      reason === 'NOT_REGISTERED'
        ? !state || state.removal !== undefined
        : state && state.removal === undefined && state.incarnation !== incarnation,
    );
    if (!deserved) this.fail('10', `${reason} was said to ${key} ${incarnation}, which held the id all along`);
  }

  standing(key: string): Standing | undefined {
    return this.history.get(key)?.at(-1);
  }

  /** W1: a view equals the store at its revision. */
  viewIs(services: readonly string[], view: ReadonlyMap<string, bigint>, revision: bigint): void {
    for (const [key, states] of this.history) {
      const state = states.findLast((one) => one.revision <= revision);
      const shown =
        state &&
        services.includes(state.service) &&
        state.removal === undefined &&
        (isShown(state) || (isAiling(state) && this.#isProtected(state.service, revision)));
      const expected = shown ? state.visible : undefined;
      if (view.get(key) !== expected)
        this.fail('W1', `a view at ${revision} shows ${key} at ${view.get(key)}, and the store has ${expected}`);
    }
  }

  #protection(key: string, value: Uint8Array, revision: bigint): void {
    const { active } = decode('rollcall.storage.v1.ProtectionRecord', value) as { active: boolean };
    listed(this.#protections, key.split('/')[2]!).push({ revision, active });
  }

  #isProtected(service: string, revision: bigint): boolean {
    return this.#protections.get(service)?.findLast((state) => state.revision <= revision)?.active ?? false;
  }

  #wasMember(by: string): boolean {
    if (this.processes.get(by)!.departedAt !== undefined) return true;
    for (const member of this.members.values()) if (member.by === by) return true;
    return false;
  }

  #memberChanged(by: string, key: string, value: Uint8Array | undefined, revision: bigint): void {
    const known = this.members.get(key);
    if (value && known) {
      const { handedOverTo } = decode('rollcall.storage.v1.MemberRecord', value) as {
        handedOverTo: { id: string; epoch: bigint }[];
      };
      this.processes.get(by)!.handedOverTo = handedOverTo.map(({ id, epoch }) => `m/${id}@${epoch}`);
      return;
    }
    if (value) {
      this.members.set(key, { epoch: revision, by });
      this.#anyMemberYet = true;
    } else if (known) {
      this.members.delete(key);
      this.processes.get(known.by)!.departedAt = this.#now();
    }
    this.disturbed();
  }

  /** The states of a key between a moment and now; undefined: nothing stood there. */
  #during(key: string, from: number): (Standing | undefined)[] {
    const states = this.history.get(key) ?? [];
    const before = states.findLast((state) => state.at <= from);
    return [before, ...states.filter((state) => state.at > from)];
  }

  /** Every change of a record must have somebody who may have made it. */
  #checkStep(by: string, epoch: bigint | undefined, before: Standing | undefined, next: Standing): void {
    const live = before && before.removal === undefined ? before : undefined;
    const open = (kind: ClusterCall['kind']): ClusterCall[] =>
      listed(this.#calls, next.key).filter(
        (call) =>
          call.kind === kind &&
          call.from <= next.at &&
          call.to >= next.at &&
          (kind === 'deregister' || call.incarnation === next.incarnation),
      );
    if (next.removal === EXPIRED) {
      if (!live?.silent) this.fail('6', `${next.key} expired without having been SILENT`);
      return;
    }
    if (next.removal !== undefined) {
      if (open('deregister').length === 0) this.fail('6', `${next.key} was removed, and nobody asked for it`);
      return;
    }
    if (live?.incarnation !== next.incarnation) {
      const calls = open('register');
      if (calls.length === 0) this.fail('8', `${next.key} came back or changed hands, and nobody registered it`);
      const may = calls.some(({ replaces }) => replaces === undefined || !before || replaces === before.visible);
      if (!may) this.fail('10', `${next.key} was taken over, which replaces_revision did not allow`);
      return;
    }
    if (next.ttlMs !== live.ttlMs && !open('register').some(({ ttlMs }) => ttlMs === next.ttlMs)) {
      this.fail('6', `the ttl of ${next.key} went from ${live.ttlMs} to ${next.ttlMs}, and nobody registered that`);
    }
    if (next.silent && !live.silent) this.#checkVerdict(by, epoch, live, next);
  }

  #checkVerdict(by: string, epoch: bigint | undefined, judged: Standing, verdict: Standing): void {
    this.#checkJury(by, epoch, judged);
    const [member] = [...this.members].find(([, one]) => one.by === by)!;
    const { key, incarnation, ttlMs, at } = verdict;
    const facts = this.processes.get(by)!;
    const acks = listed(this.#acks, `${key} ${incarnation}`);
    for (const ack of acks) {
      const { received, answered } = ack;
      if (answered <= at && at < received + ttlMs - ROUNDING_MS) {
        this.fail(
          'E3',
          `${key} ${incarnation} was declared silent by ${by} ${(at - received).toFixed(2)} ms after a beat that ${ack.by} acknowledged, with a ttl of ${ttlMs} ms`,
        );
      }
      this.#checkGraceAfterDeath(verdict, `${member}@${epoch}`, ack);
    }
    const from = facts.startedAt + GRACE_MS + ttlMs;
    if (!facts.first && at < from - ROUNDING_MS)
      this.fail(
        'E3',
        `${by} declared ${key} silent before ${from}, ${(at - facts.startedAt).toFixed(0)} after its start`,
      );
  }

  /**
   * E3, when the replica that heard a beat has died: nobody could ask it, so its clients have a grace to come back, unless
   * the judge had taken over what it heard. From then on it acknowledges no beat, and a Register is seen by all.
   */
  #checkGraceAfterDeath(
    { key, incarnation, ttlMs, at }: Standing,
    judge: string,
    { received, answered, by, byMember }: Ack,
  ): void {
    const { crashedAt, departedAt, handedOverTo } = this.processes.get(by)!;
    if (!byMember || handedOverTo?.includes(judge)) return;
    if (crashedAt === undefined || answered > at || received + ttlMs <= crashedAt || at < crashedAt) return;
    const from = (departedAt ?? Infinity) + GRACE_MS + ttlMs;
    if (at < from - ROUNDING_MS) {
      this.fail(
        'E3',
        `${key} ${incarnation} was declared silent; ${by}, which acknowledged a beat received at ${received.toFixed(1)}, crashed at ${crashedAt.toFixed(1)} and departed at ${departedAt?.toFixed(1)}, so not before ${from.toFixed(1)}`,
      );
    }
  }

  /** 2: by a living epoch, over the membership it asked. */
  #checkJury(by: string, epoch: bigint | undefined, judged: Standing): void {
    const what = `the verdict of ${by} on ${judged.key} at ${judged.revision}`;
    const own = [...this.members].find(([, member]) => member.by === by);
    if (!own) this.fail('2', `${what}: its member key is gone`);
    else if (own[1].epoch !== epoch) this.fail('2', `${what}: made in epoch ${epoch}, committed in ${own[1].epoch}`);
    const promises = this.#promises.get(`${judged.key}@${judged.revision}`);
    for (const [key, member] of this.members) {
      if (member.by === by || promises?.has(`${key}@${member.epoch}`)) continue;
      this.fail('2', `${what}: ${member.by} is a member and has not promised`);
    }
  }

  /**
   * E5 and E6, looked at when the run is over. A death in calm is noticed after its ttl; one after faults when everything
   * that they can have postponed is over.
   */
  checkDetection(deaths: readonly Death[]): { prompt: number; late: number } {
    const measured = { prompt: 0, late: 0 };
    this.#faults.sort((a, b) => a.from - b.from);
    const graces = this.#disturbances.map((from) => ({ from, to: this.#graceAfter(from) }));
    for (const death of deaths) {
      const { key, incarnation, lastReceived } = death;
      const states = this.history.get(key) ?? [];
      const verdict = states.find(
        (state) => state.silent && state.incarnation === incarnation && state.at > lastReceived,
      );
      const until = verdict?.at ?? Infinity;
      const last = states.findLast((state) => state.at <= until && isLiveOf(state, incarnation) && !state.silent);
      if (!last) continue;
      const begins = Math.max(lastReceived, last.at);
      const stood = states.findLast((state) => state.at <= begins);
      if (!stood || !isLiveOf(stood, incarnation) || stood.silent) continue;
      const prompt = begins + last.ttlMs + E5_MS;
      const calm =
        !this.#faults.some((fault) => fault.to > begins - 1_000 && fault.from < prompt) &&
        !graces.some(({ from, to }) => to > begins && from < prompt);
      const due = calm ? prompt : this.#dueAfterFaults(prompt, begins, last.ttlMs, graces);
      const replaced = states.some(
        (state) => state.at > lastReceived && state.at <= due && !isLiveOf(state, incarnation),
      );
      if (replaced || due > this.#now()) continue;
      if (until > due) {
        this.fail(
          calm ? 'E5' : 'E6',
          `${key} ${incarnation} fell silent at ${begins.toFixed(0)}, and was declared so at ${verdict?.at.toFixed(0)}, later than ${due.toFixed(0)}`,
        );
      }
      measured[calm ? 'prompt' : 'late']++;
    }
    return measured;
  }

  /** Until when a grace may last: nobody's time passes while he could not have heard. */
  #graceAfter(disturbance: number): number {
    let until = disturbance + GRACE_MS + 1_000;
    for (const { from, to } of this.#faults)
      if (to > disturbance && from < until) until += to - Math.max(from, disturbance);
    return until;
  }

  /** Whatever goes on before the verdict is due moves it: a fault to its end, a disturbance to the end of its grace. */
  #dueAfterFaults(prompt: number, begins: number, ttlMs: number, graces: readonly Span[]): number {
    let due = prompt;
    for (let moved = true; moved;) {
      moved = false;
      for (const { from, to } of [...this.#faults, ...graces]) {
        const moves = to + ttlMs + SETTLED_MS;
        if (from >= due || to <= begins - 1_000 || moves <= due) continue;
        due = moves;
        moved = true;
      }
    }
    return due;
  }
}

function isLiveOf(state: Standing, incarnation: string): boolean {
  return state.incarnation === incarnation && state.removal === undefined;
}

function listed<T>(map: Map<string, T[]>, key: string): T[] {
  const known = map.get(key);
  if (known) return known;
  const list: T[] = [];
  map.set(key, list);
  return list;
}
