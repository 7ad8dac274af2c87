import { type Call, Checker, type Changes, type Death, listed, type Past } from '../checker.js';
import type { Decision } from '../protection-checker.js';
import { ChecksChecker, type Evidence } from '../checks-checker.js';
import { type CheckStanding, decode, isLiveOf, type Standing } from '../records.js';
import type { Scene } from '../scene.js';

/** What everything in the world of one cluster shares. */
export type ClusterScene = Scene<ClusterChecker>;

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

/** When a commit was sent, and in which epoch its sender believed to be. */
export interface Sent {
  readonly at: number;
  readonly epoch: bigint | undefined;
  /** What its sender knew about each verdict on checks, and each removal for them, by the key of the instance. */
  readonly checks: ReadonlyMap<string, Evidence>;
}

/** From one moment to another. */
interface Span {
  readonly from: number;
  readonly to: number;
}

/** What is known of a process from outside. */
export interface ProcessFacts {
  readonly startedAt: number;
  /** True: there had never been a member in the history of the store when it started, or when it joined. */
  first: boolean;
  /** When it had read the store: whatever registers later, it sees. */
  readyAt?: number;
  /** When it died without leaving. */
  crashedAt?: number;
  /** When its member key was deleted last. Undefined: it still stands, or there never was one. */
  departedAt?: number;
  /** The member keys with epochs that took over what it had heard. */
  handedOverTo?: readonly string[];
}

/**
 * Holds what a cluster did against the ten invariants of design section 4, "Members, beats and verdicts". It sees
 * everything that the store commits, everything that clients were told and what members said to one another, and knows
 * the wire and the store only by the compiled protos.
 */
export class ClusterChecker extends Checker {
  readonly processes = new Map<string, ProcessFacts>();
  readonly members = new Map<string, MemberKey>();
  /** Whose a member key is or was. */
  readonly #everMembers = new Map<string, string>();
  readonly #acks = new Map<string, Ack[]>();
  /** Who promised what: the member keys with epochs, by instance and revision. */
  readonly #promises = new Map<string, Set<string>>();
  /** When the world was not well: from and to. */
  readonly #faults: Span[] = [];
  /** When something began a grace: a start, a departure, a relist. */
  readonly #disturbances: number[] = [];
  #anyMemberYet = false;
  /** Whose commit is being checked, and when and in which epoch it was sent. */
  #committing: Sent & { readonly by: string } = { by: '', epoch: undefined, at: 0, checks: new Map() };

  /** What becomes of the target of an instance. */
  fateOf: (key: string) => { readonly answers: boolean | undefined; readonly since: number } = () => ({
    answers: undefined,
    since: 0,
  });
  /** True: a server says of itself that it cannot probe. */
  isInTrouble: (name: string) => boolean = () => false;
  /** True: the servers of a node probe nothing. */
  isOff: (node: string) => boolean = () => false;

  readonly checks = new ChecksChecker({
    history: this.history,
    protectionOf: (service) => this.protectionOf(service),
    now: () => this.now(),
    sawAt: (by, revision) => this.sawAt(by, revision),
    seenBy: (by) => this.seenBy(by),
    isInTrouble: (by) => this.isInTrouble(by),
    isOff: (node) => this.isOff(node),
    fail: (promise, what) => this.fail(promise, what),
    tallied: (name) => this.tallied(name),
  });

  /** The world was not well for a while. */
  fault(from: number, to: number): void {
    this.#faults.push({ from, to });
  }

  /** A grace begins at somebody, or may. */
  disturbed(): void {
    this.#disturbances.push(this.now());
  }

  override past(): Past {
    return { ...super.past(), anyMember: this.#anyMemberYet };
  }

  override restored(past: Past): void {
    super.restored(past);
    this.#anyMemberYet = past.anyMember;
  }

  started(by: string): void {
    this.processes.set(by, { startedAt: this.now(), first: !this.#anyMemberYet });
    this.disturbed();
  }

  crashed(by: string): void {
    this.processes.get(by)!.crashedAt = this.now();
    this.fault(this.now(), this.now() + LEASE_OVER_MS);
  }

  /** A member answered SILENT with a promise about a record at a revision. */
  promised(member: string, epoch: bigint, key: string, revision: bigint): void {
    const name = `${key}@${revision}`;
    const promises = this.#promises.get(name) ?? new Set();
    this.#promises.set(name, promises);
    promises.add(`w/m/${member}@${epoch}`);
  }

  /** The store committed a revision at the wish of a process; '' is the store itself. */
  committed(by: string, sent: Sent, revision: bigint, changes: Changes): void {
    this.#committing = { by, ...sent };
    for (const { key, value } of changes) {
      if (key.startsWith('w/m/')) this.#memberChanged(by, key, value, revision);
      this.recordChanged(key, value, revision);
    }
  }

  /** The store has gone back: members that joined since are gone, and those that left since are back, with a lease. */
  memberKeysRestored(standing: ReadonlyMap<string, bigint>): void {
    for (const [key, { by }] of [...this.members])
      if (!standing.has(key)) {
        this.members.delete(key);
        this.processes.get(by)!.departedAt = this.now();
      }
    for (const [key, epoch] of standing) {
      const by = this.#everMembers.get(key)!;
      this.members.set(key, { epoch, by });
      delete this.processes.get(by)!.departedAt;
    }
    this.disturbed();
  }

  /** A heartbeat was acknowledged. */
  beatAcknowledged(by: string, key: string, incarnation: string, received: number): void {
    const answered = this.now();
    const states = this.history.get(key) ?? [];
    const now = states.at(-1);
    if (now && now.removal === undefined && now.incarnation === incarnation && now.silent && !this.mayNotKnow) {
      // A touch or a heal may have counted, and a verdict on what it wrote come before the answer left.
      const wrote = states.some((state) => isLiveOf(state, incarnation) && !state.silent && state.at > received);
      if (!wrote) this.fail('9', `${key} ${incarnation} was acknowledged by ${by} from memory while it was SILENT`);
    }
    this.#acksOf(key, incarnation).push({ received, answered, by, byMember: this.#wasMember(by) });
  }

  registered(by: string, call: Call, revision: bigint, received: number): void {
    this.checkRegistered(call, revision);
    this.#acksOf(call.key, call.incarnation).push({
      received,
      answered: this.now(),
      by,
      byMember: this.#wasMember(by),
    });
  }

  #acksOf(key: string, incarnation: string): Ack[] {
    return listed(this.#acks, `${key} ${incarnation}`);
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
      this.processes.get(by)!.handedOverTo = handedOverTo.map(({ id, epoch }) => `w/m/${id}@${epoch}`);
      return;
    }
    if (value) {
      this.members.set(key, { epoch: revision, by });
      this.#everMembers.set(key, by);
      if (!this.#anyMemberYet) this.processes.get(by)!.first = true;
      this.#anyMemberYet = true;
    } else if (known) {
      this.members.delete(key);
      this.processes.get(known.by)!.departedAt = this.now();
    }
    this.disturbed();
  }

  /** A process has read the store. */
  ready(by: string): void {
    this.processes.get(by)!.readyAt = this.now();
  }

  /** What must have happened by now, if nothing has been wrong for a while, and `running` serve. */
  sample(services: readonly string[], running: readonly string[]): void {
    const wellSince = Math.max(0, ...this.#faults.map(({ to }) => to), ...this.#disturbances);
    const runningSince = Math.max(...running.map((by) => this.processes.get(by)!.readyAt ?? Infinity));
    if (running.length > 0) this.sampleProtection(services, wellSince, runningSince);
    if (running.length > 0 && this.now() - Math.max(wellSince, runningSince) > GRACE_MS) this.sampleOverrides();
    const probing = [...this.members.values()].filter(({ by }) => !this.isOff(by.split('.')[0]!));
    if (running.length > 0 && probing.length > 1) this.checks.sample(Math.max(wellSince, runningSince), this.fateOf);
  }

  protected override decision(): Decision {
    const { by, at } = this.#committing;
    const startedAt = this.processes.get(by)?.readyAt ?? Infinity;
    return { startedAt, sentAt: at, seen: this.seenBy(by), sawAt: (revision) => this.sawAt(by, revision) };
  }

  protected override checkGuard(what: string): void {
    const { by, epoch } = this.#committing;
    const own = [...this.members].find(([, member]) => member.by === by);
    if (own?.[1].epoch !== epoch) this.fail('P9', `${what} was recorded by ${by}, which is no member`);
  }

  protected override checkVerdict(judged: Standing, verdict: Standing): void {
    const { by, epoch, at: sentAt } = this.#committing;
    if (this.mayBeOfThePast(sentAt)) return;
    this.#checkJury(by, epoch, judged);
    const [member] = [...this.members].find(([, one]) => one.by === by)!;
    const { key, incarnation, ttlMs, at } = verdict;
    const facts = this.processes.get(by)!;
    for (const ack of this.#acksOf(key, incarnation)) {
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

  protected override checkCheckVerdict(before: Standing | undefined, key: string, verdict: CheckStanding): void {
    const { by, checks } = this.#committing;
    const sent = checks.get(key);
    if (!sent) this.fail('K2', `a verdict on the checks of ${key} was written by ${by}, which sent none`);
    const members = [...this.members.values()].map((member) => member.by);
    this.checks.committed(by, sent, before, key, verdict, members);
  }

  protected override checkRemovalByCheck(before: Standing): void {
    const { by, checks } = this.#committing;
    this.checkGuard(`the removal of ${before.key}`);
    this.checks.removed(by, checks.get(before.key), before);
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
      if (replaced || due > this.now()) continue;
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
