import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/observe.js';
import { TimerWheel } from '../../base/timer-wheel.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { ItemChange } from '../../catalog/collection.js';
import type { StoreGate } from '../../catalog/store-gate.js';
import { RemovalReason } from '../../gen/rollcall/v1/instance.js';
import { RollcallError } from '../../model/errors.js';
import { protectionKey } from '../../model/keys.js';
import { EXPIRY_TTLS } from '../../model/limits.js';
import type { InstanceItem } from '../../model/records.js';
import { removed, silenced, type Stamped } from '../../model/transitions.js';
import type { Compare, Revision, Txn } from '../../store/store.js';
import { GRACE_MS, type Heard, type Query, type Trace } from './heard.js';
import type { LivenessClock } from './liveness-clock.js';
import type { Cluster, Jury } from './peers.js';
import type { Removals } from './removals.js';

/** How often time advances and deadlines are looked at: a small part of the 300 ms that a verdict may take. */
export const TICK_MS = 50;
/** Slots of the wheel: 4,096 ticks are 205 s, so most deadlines are met in their first turn. */
const WHEEL_SLOTS = 4_096;
/** The most instances in one round: they share one question and one transaction. */
const ROUND_MAX = 1_000;
/** The wait before a round that could not end is begun again. */
const ROUND_AGAIN_MS = 200;
/** The least wait where another member has heard it: by the time as of its last tick, so that it may be due already. */
const HEARD_AGAIN_MS = 100;
/** The wait before a removal that was held is asked for again. */
const HELD_AGAIN_MS = 1_000;
/** A round that could not end is begun again within this. One that was not begun again has nobody left to ask about. */
const UNANSWERED_OVER_MS = 3_000;
/** Verdicts that wait this long are an alarm. */
const POSTPONED_ALARM_MS = 120_000;

/** A cause for which silent instances are not judged now. Times are by the wall clock. */
export interface Postponement {
  readonly reason: string;
  readonly sinceMs: number;
  /** Undefined: until the cause is gone. */
  readonly untilMs?: number;
}

/** An instance under judgement, with what the verdict will compare. */
interface Case {
  readonly trace: Trace;
  readonly item: InstanceItem;
  readonly query: Query;
}

/**
 * Declares silent instances SILENT, and removes those that stay so.
 *
 * It asks before it judges: every live member must say that it has not heard the instance, and promise to
 * acknowledge no heartbeat of it from memory while the record is as it is. Then a late heartbeat and the
 * verdict compare the same record at the store, and exactly one of them wins.
 */
export class Judge implements Closeable {
  readonly #wheel = new TimerWheel<Trace>(TICK_MS, WHEEL_SLOTS);
  readonly #silentSinceMs = new WeakMap<Trace, number>();
  readonly #rounds = new Set<Promise<void>>();
  #ticking: Timer | undefined;
  /** Since when no round has had all its answers. Undefined: the last one had, or none was needed. */
  #couldNotAskSinceMs: number | undefined;
  #couldNotAskLastMs = -Infinity;

  constructor(
    private readonly catalog: Catalog,
    private readonly store: StoreGate,
    private readonly heard: Heard,
    private readonly liveness: LivenessClock,
    private readonly cluster: Cluster,
    private readonly removals: Pick<Removals, 'allow'>,
    private readonly clock: Clock,
    private readonly telemetry: Telemetry,
  ) {
    catalog.onInstance((change, fromListing) => this.#seen(change, fromListing));
    catalog.onRelist(() => this.#relisted());
    catalog.onReset((isSameHistory) => {
      if (!isSameHistory) heard.forgetEverything();
      heard.disturb();
    });
    cluster.onMembers(() => this.#armAll());
    cluster.onDisturbance(() => heard.disturb());
    heard.onSooner((trace) => this.#arm(trace));
  }

  start(): void {
    this.#ticking ??= this.clock.every(TICK_MS, () => this.#tick());
  }

  async close(): Promise<void> {
    this.#ticking?.cancel();
    await Promise.all(this.#rounds);
  }

  #tick(): void {
    this.liveness.tick();
    this.#watchPostponement();
    if (this.liveness.still.size > 0) return;
    const silent: Trace[] = [];
    const expired: Trace[] = [];
    for (const trace of this.#wheel.advance(this.liveness.nowMs)) {
      const deadline = this.#deadlineMs(trace);
      if (deadline > this.liveness.nowMs) this.#wheel.arm(trace, deadline);
      else if (!trace.item.record.silent) silent.push(trace);
      else if (this.#mayRemove(trace)) expired.push(trace);
      else this.#wheel.arm(trace, this.liveness.nowMs + HELD_AGAIN_MS);
    }
    for (let i = 0; i < silent.length; i += ROUND_MAX) this.#begin(this.#round(silent.slice(i, i + ROUND_MAX)));
    for (let i = 0; i < expired.length; i += ROUND_MAX) this.#begin(this.#expire(expired.slice(i, i + ROUND_MAX)));
  }

  /** Keeps the deadline of every instance that can fall silent or expire. */
  #seen({ before, after }: ItemChange<InstanceItem>, fromListing: boolean): void {
    if (!after || after.removedAtMs !== undefined) {
      const trace = after ? this.heard.gone(after.key, after.modRevision) : this.heard.forgotten(before!.key);
      if (trace) this.#wheel.disarm(trace);
      return;
    }
    const trace = this.heard.stands(after, fromListing && !this.catalog.ready);
    if (!after.record.silent) this.#silentSinceMs.delete(trace);
    else if (!this.#silentSinceMs.has(trace)) this.#silentSinceMs.set(trace, this.liveness.stamp());
    this.#arm(trace);
  }

  /** What happened before the listing was not seen as it happened: every deadline begins anew. */
  #relisted(): void {
    this.heard.disturb();
    for (const trace of this.heard.all()) {
      if (this.#silentSinceMs.has(trace)) this.#silentSinceMs.set(trace, this.liveness.stamp());
    }
  }

  /** Others judge from now on: the deadlines of what is judged here, and no others. */
  #armAll(): void {
    for (const trace of this.heard.all()) this.#arm(trace);
  }

  #arm(trace: Trace, notBeforeMs = -Infinity): void {
    const { namespace, scope, beating } = trace.item;
    if (beating && this.cluster.judges(namespace, scope))
      this.#wheel.arm(trace, Math.max(this.#deadlineMs(trace), notBeforeMs));
    else this.#wheel.disarm(trace);
  }

  #deadlineMs(trace: Trace): number {
    const silentSince = this.#silentSinceMs.get(trace);
    return silentSince === undefined ? this.heard.deadlineMs(trace) : silentSince + EXPIRY_TTLS * trace.item.ttlMs;
  }

  #mayRemove(trace: Trace): boolean {
    return this.removals.allow(trace.item, this.liveness.nowMs - this.#silentSinceMs.get(trace)!);
  }

  #begin(round: Promise<void>): void {
    this.#rounds.add(round);
    void round.finally(() => this.#rounds.delete(round));
  }

  async #round(traces: readonly Trace[]): Promise<void> {
    const jury = this.cluster.jury();
    const cases = traces.map((trace): Case => {
      const { item } = trace;
      const { incarnation } = item.record.instance!;
      return { trace, item, query: { key: item.key, incarnation, ttlMs: item.ttlMs, revision: item.modRevision } };
    });
    try {
      if (!jury) this.#couldNotAsk();
      else {
        const silent = await this.#allSilent(cases, jury, false);
        const promised = await this.#allSilent(silent, jury, true);
        await this.#commit(promised, jury.guard, 'verdicts', ({ item }) =>
          this.store.instanceTxn(silenced(item, this.#stamp()), item.modRevision),
        );
      }
    } catch (error) {
      this.#failed(error, 'no verdict');
    }
    this.#armAgain(traces);
  }

  async #expire(traces: readonly Trace[]): Promise<void> {
    const cases = traces.map(({ item }) => ({ item, protection: this.#protectionNow(item) }));
    try {
      await this.#commit(cases, [], 'expiries', ({ item, protection }) => {
        const record = removed(item, RemovalReason.REMOVAL_REASON_EXPIRED, this.#stamp());
        const txn = this.store.instanceTxn(record, item.modRevision);
        return { ...txn, compares: [...txn.compares, protection] };
      });
    } catch (error) {
      this.#failed(error, 'no removal');
    }
    this.#armAgain(traces);
  }

  /** The cases of which every member, this one included, says SILENT about the same record. */
  async #allSilent(cases: readonly Case[], jury: Jury, promise: boolean): Promise<readonly Case[]> {
    if (cases.length === 0) return cases;
    const queries = cases.map(({ query }) => query);
    const asked = jury.others.map((peer) => peer.lastHeard(queries, promise).catch(() => undefined));
    const own = queries.map((query) => this.heard.answer(query, promise));
    const others = asked.length > 0 ? await Promise.all(asked) : [];
    if (others.includes(undefined)) this.#couldNotAsk();
    else this.#couldNotAskSinceMs = undefined;
    return cases.filter(({ trace, query }, i) =>
      [own, ...others].every((ofOne) => {
        const answer = ofOne?.[i];
        if (answer?.kind === 'HEARD') this.heard.heardElsewhere(trace, query.incarnation, answer.ageMs);
        return answer?.kind === 'SILENT' && (!promise || answer.promisedRevision >= query.revision);
      }),
    );
  }

  /** Nobody is left out because he seems gone: then there is no verdict. */
  #couldNotAsk(): void {
    this.#couldNotAskLastMs = this.clock.now();
    this.#couldNotAskSinceMs ??= this.#couldNotAskLastMs;
    this.telemetry.counters.add('rounds_unanswered');
  }

  /** The protection by which a removal was allowed. One that began since, and that this process does not see yet, forbids it. */
  #protectionNow({ namespace, scope }: InstanceItem): Compare {
    return {
      key: protectionKey(namespace, scope),
      modRevision: this.catalog.protectionRevision(namespace, scope),
    };
  }

  #stamp(): Stamped {
    return { writeId: this.store.writeId(), wallMs: this.clock.wall() };
  }

  /** Commits what became of each case, apart from all other commits. */
  async #commit<C extends { readonly item: InstanceItem }>(
    cases: readonly C[],
    guard: readonly Compare[],
    counter: 'verdicts' | 'expiries',
    become: (judged: C) => Txn,
  ): Promise<void> {
    if (cases.length === 0) return;
    const results = await this.store.commitEach(guard, cases.map(become));
    const done = results.filter(({ ok }) => ok).length;
    const revision: Revision = results.reduce(
      (newest, result) => (result.revision > newest ? result.revision : newest),
      0n,
    );
    this.telemetry.counters.add(counter, done);
    this.telemetry.counters.add('verdicts_refused', results.length - done);
    if (done > 0) {
      const first = cases[results.findIndex(({ ok }) => ok)]!.item;
      const fields = {
        count: done,
        first: `${first.namespace}/${first.scope}/${first.name}`,
        revision: Number(revision),
      };
      this.telemetry.log.info(fields, counter === 'verdicts' ? 'instances are silent' : 'instances expired');
    }
    await this.store.visible(revision);
  }

  #failed(error: unknown, message: string): void {
    if (!(error instanceof RollcallError)) this.telemetry.log.error({ err: error }, message);
    else this.telemetry.log.warn({ reason: error.reason }, message);
  }

  /** Whatever came of it: an instance that is still registered keeps a deadline. A round never moves one earlier. */
  #armAgain(traces: readonly Trace[]): void {
    const { nowMs } = this.liveness;
    for (const trace of traces) {
      if (this.heard.trace(trace.item.key) !== trace) continue;
      const wasHeard = trace.heardElsewhereMs + trace.item.ttlMs > nowMs;
      this.#arm(trace, nowMs + (wasHeard ? HEARD_AGAIN_MS : ROUND_AGAIN_MS));
    }
  }

  /** Why silent instances are not judged now. Empty: they are. */
  get postponements(): readonly Postponement[] {
    const wallOf = (ms: number): number => this.clock.wall() - this.clock.now() + ms;
    const causes = new Map(this.liveness.still);
    if (this.#couldNotAskSinceMs !== undefined) causes.set('PEER_UNREACHABLE', this.#couldNotAskSinceMs);
    const postponements: Postponement[] = [...causes].map(([reason, sinceMs]) => ({
      reason,
      sinceMs: wallOf(sinceMs),
    }));
    const graceLeftMs = this.heard.graceUntilMs - this.liveness.nowMs;
    // While the liveness clock stands still nobody can say until when.
    if (graceLeftMs > 0 && this.liveness.still.size === 0) {
      const untilMs = this.clock.wall() + graceLeftMs;
      postponements.push({ reason: 'GRACE', sinceMs: untilMs - GRACE_MS, untilMs });
    }
    return postponements;
  }

  #watchPostponement(): void {
    if (this.clock.now() - this.#couldNotAskLastMs > UNANSWERED_OVER_MS) this.#couldNotAskSinceMs = undefined;
    const { alarms } = this.telemetry;
    const unanswered = this.#couldNotAskSinceMs === undefined ? 0 : this.clock.now() - this.#couldNotAskSinceMs;
    if (Math.max(this.liveness.stillForMs, unanswered) < POSTPONED_ALARM_MS) return alarms.clear('VERDICTS_POSTPONED');
    alarms.raise(
      'VERDICTS_POSTPONED',
      `silent instances are not judged: ${this.postponements.map(({ reason }) => reason).join(', ')}`,
    );
  }
}
