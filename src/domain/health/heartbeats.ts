import { type Clock, delay } from '../../base/clock.js';
import type { CounterBoard } from '../../base/observe.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { StoreGate } from '../../catalog/store-gate.js';
import type { Reported } from '../../gen/rollcall/v1/instance.js';
import { type HeartbeatItem, RejectionReason } from '../../gen/rollcall/v1/heartbeat.js';
import { RollcallError } from '../../model/errors.js';
import { instanceKey } from '../../model/keys.js';
import { BEATS_PER_TTL, TTL_MS } from '../../model/limits.js';
import { type InstanceItem, readInstance, reportedState } from '../../model/records.js';
import { heard as heardRecord, touched } from '../../model/transitions.js';
import type { Heard, Trace } from './heard.js';
import type { Cluster } from './peers.js';

/** A message leaves after this: what is not settled by then is told as RETRY. Well under the client's deadline of 3 s. */
const SETTLE_MAX_MS = 1_000;
/** How often a beat that had to be committed, and was refused, is decided anew before it is told as RETRY. */
const COMMIT_TRIES = 3;

/** What became of one heartbeat; undefined: it counts. */
export type Outcome = RejectionReason | undefined;

/** What became of the heartbeats of one message. */
export interface BeatReport {
  /** A third of the smallest ttl among the items, in milliseconds. */
  readonly intervalMs: number;
  /** The items that did not count, by position. */
  readonly rejected: readonly { readonly index: number; readonly reason: RejectionReason }[];
}

/** Takes heartbeats in: from memory when nothing changes, by a commit when a record must change. */
export class Heartbeats {
  constructor(
    private readonly catalog: Catalog,
    private readonly store: StoreGate,
    private readonly heard: Heard,
    private readonly cluster: Cluster,
    private readonly clock: Clock,
    private readonly counters: CounterBoard,
  ) {}

  /** Settles all items of one message; waits only if one of them needs the store. */
  receive(items: readonly HeartbeatItem[]): BeatReport | Promise<BeatReport> {
    this.catalog.assertReady();
    this.#assertNotFenced();
    this.counters.add('heartbeats', items.length);
    const outcomes: Outcome[] = [];
    const open: Promise<void>[] = [];
    let ttlMs = Infinity;
    items.forEach((beat, index) => {
      const item = this.catalog.instances.get(beat.namespace, beat.service, beat.id);
      if (item && item.ttlMs < ttlMs) ttlMs = item.ttlMs;
      const outcome = this.#settle(beat, item);
      if (!(outcome instanceof Promise)) return void (outcomes[index] = outcome);
      outcomes[index] = RejectionReason.REJECTION_REASON_RETRY;
      open.push(outcome.then((settled) => void (outcomes[index] = settled)));
    });
    if (open.length === 0) return this.#report(outcomes, ttlMs);
    const fromMemory = items.filter((_, index) => outcomes[index] === undefined);
    const timeUp = new AbortController();
    return Promise.race([Promise.all(open), delay(this.clock, SETTLE_MAX_MS, timeUp.signal)]).then(() => {
      timeUp.abort();
      this.#assertNotFenced();
      // What was settled from memory has waited for the others: it is looked at again as the reply leaves.
      const lapsed = new Set(fromMemory.filter((beat) => !this.#stillCounts(beat)));
      items.forEach((beat, index) => {
        if (lapsed.has(beat)) outcomes[index] = RejectionReason.REJECTION_REASON_RETRY;
      });
      return this.#report(outcomes, ttlMs);
    });
  }

  #assertNotFenced(): void {
    const fenced = this.cluster.fenced();
    if (fenced === undefined) return;
    throw new RollcallError('FENCED', `this server takes no heartbeats now (${fenced}): send them to another one`, {
      metadata: { cause: fenced },
    });
  }

  /** True: the beat would be acknowledged from memory now. */
  #stillCounts(beat: HeartbeatItem): boolean {
    const item = this.catalog.instances.get(beat.namespace, beat.service, beat.id);
    if (!item || !isHolder(beat, item)) return false;
    if (!item.beating) return true;
    return !item.record.silent && !changedReport(item, beat.reported) && !isPromised(this.heard.trace(item.key), item);
  }

  #report(outcomes: readonly Outcome[], ttlMs: number): BeatReport {
    const rejected = outcomes.flatMap((reason, index) => (reason === undefined ? [] : [{ index, reason }]));
    this.counters.add('heartbeats_rejected', rejected.length);
    return { intervalMs: (ttlMs === Infinity ? TTL_MS.default : ttlMs) / BEATS_PER_TTL, rejected };
  }

  /** Decides in one turn, without waiting, unless the store must be asked or written. */
  #settle(beat: HeartbeatItem, item: InstanceItem | undefined): Outcome | Promise<Outcome> {
    if (!item || !isHolder(beat, item)) return this.#settleByStore(beat);
    return this.#settleOn(beat, item, COMMIT_TRIES);
  }

  #settleOn(beat: HeartbeatItem, item: InstanceItem, tries: number): Outcome | Promise<Outcome> {
    if (!item.beating) return undefined;
    const { incarnation } = item.record.instance!;
    if (this.heard.isOutdated(item.key, incarnation, item.modRevision))
      return tries > 1 ? this.#settleByStore(beat, tries - 1) : RejectionReason.REJECTION_REASON_RETRY;
    const trace = this.heard.noteOf(item.key, incarnation, item.modRevision);
    const reported = changedReport(item, beat.reported);
    if (item.record.silent || reported) return this.#commit(beat, item, reported, tries);
    if (isPromised(trace, item)) return this.#commit(beat, item, undefined, tries);
    return undefined;
  }

  /** Changes the record, comparing it with what the beat was decided on; the beat counts once that is committed. */
  async #commit(
    beat: HeartbeatItem,
    item: InstanceItem,
    reported: Reported | undefined,
    tries: number,
  ): Promise<Outcome> {
    const visible = item.record.silent || reported !== undefined;
    const stamp = { writeId: this.store.writeId(), wallMs: this.clock.wall() };
    const record = visible ? heardRecord(item, reported, stamp) : touched(item, stamp);
    try {
      const result = await this.store.commit(this.store.instanceTxn(record, item.modRevision));
      if (!result.ok)
        return tries > 1 ? await this.#settleByStore(beat, tries - 1) : RejectionReason.REJECTION_REASON_RETRY;
      this.counters.add(visible ? 'heals' : 'touches');
      await this.store.visible(result.revision);
      const { incarnation } = item.record.instance!;
      this.heard.noteOf(item.key, incarnation, result.revision);
      return undefined; // what could have happened meanwhile is looked at as the reply leaves
    } catch {
      return RejectionReason.REJECTION_REASON_RETRY; // the store failed, and StoreGate has counted it
    }
  }

  /** The catalog cannot place the beat, or a commit was refused: one linearizable read decides. */
  async #settleByStore(beat: HeartbeatItem, tries = COMMIT_TRIES): Promise<Outcome> {
    const key = instanceKey(beat.namespace, beat.service, beat.id);
    try {
      const { entry } = await this.store.get(key);
      const read = entry && readInstance(key, entry.value, entry.modRevision);
      const seen = this.catalog.instances.get(beat.namespace, beat.service, beat.id);
      const item = newer(read, seen);
      if (!item || item.removedAtMs !== undefined) return RejectionReason.REJECTION_REASON_NOT_REGISTERED;
      if (!isHolder(beat, item)) return RejectionReason.REJECTION_REASON_SUPERSEDED;
      return await this.#settleOn(beat, item, tries);
    } catch {
      return RejectionReason.REJECTION_REASON_RETRY;
    }
  }
}

/** True: the beat comes from the process that holds the id. */
function isHolder(beat: HeartbeatItem, item: InstanceItem): boolean {
  if (item.removedAtMs !== undefined) return false;
  return beat.incarnation === undefined || beat.incarnation === item.record.instance!.incarnation;
}

/** True: a verdict may be on its way that compares this record, so that a beat must be committed to count. */
function isPromised(trace: Trace | undefined, item: InstanceItem): boolean {
  return trace !== undefined && trace.promisedRevision >= item.modRevision;
}

/** What the process reports, if that differs from the record. */
function changedReport(item: InstanceItem, reported: Reported | undefined): Reported | undefined {
  if (!reported) return undefined;
  const before = item.record.instance!;
  const same = reported.state === reportedState(before) && reported.note === (before.reported?.note ?? '');
  return same ? undefined : reported;
}

function newer(a: InstanceItem | undefined, b: InstanceItem | undefined): InstanceItem | undefined {
  if (!a || !b) return a ?? b;
  return a.modRevision >= b.modRevision ? a : b;
}
