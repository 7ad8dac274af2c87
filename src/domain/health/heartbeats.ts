import { type Clock, delay } from '../../base/clock.js';
import type { CounterBoard } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Commits } from '../../catalog/commits.js';
import { type HeartbeatItem, RejectionReason } from '../../gen/rollcall/v1/heartbeat.js';
import type { Reported } from '../../gen/rollcall/v1/instance.js';
import { RollcallError } from '../../model/errors.js';
import {
  heard as heardRecord,
  type InstanceItem,
  instanceKey,
  readInstance,
  reportedState,
  wasDeregistered,
  touched,
} from '../../model/instance.js';
import { BEATS_PER_TTL, NOTE_INTERVAL_MS, TTL_MS } from '../../model/limits.js';
import type { LivenessEntry, LivenessTable } from './liveness-table.js';
import type { Cluster } from './peers.js';
import { COUNTERS } from './instruments.js';

/** A reply leaves after this time at the latest. Items that are not settled by then get RETRY. Clients wait 3 s. */
const SETTLE_MAX_MS = 1_000;
/** How often a beat is decided if its commits are refused. After that the item gets RETRY. */
const COMMIT_TRIES = 3;

/** The outcome of one heartbeat. `undefined` if the heartbeat counts. */
export type Outcome = RejectionReason | undefined;

/** The outcome of the heartbeats of one message. */
export interface BeatReport {
  /** A third of the smallest TTL among the items, in milliseconds. */
  readonly intervalMs: number;
  /** The items that did not count, by position. */
  readonly rejected: readonly { readonly index: number; readonly reason: RejectionReason }[];
}

/** The dependencies of Heartbeats. */
export interface HeartbeatsParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly table: LivenessTable;
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly counters: CounterBoard;
}

/** Receives heartbeats. They are settled in memory, or by a commit if a record must change. */
export class Heartbeats {
  constructor(private readonly parts: HeartbeatsParts) {}

  /** Settles all items of one message. It waits only if one of them needs the store. */
  receive(items: readonly HeartbeatItem[]): BeatReport | Promise<BeatReport> {
    const { catalog, counters, clock } = this.parts;
    catalog.assertReady();
    this.#assertNotFenced();
    counters.add(COUNTERS.heartbeats, items.length);
    const outcomes: Outcome[] = [];
    const open: Promise<void>[] = [];
    let ttlMs = Infinity;
    items.forEach((beat, index) => {
      const item = catalog.instances.get(beat.namespace, beat.service, beat.id);
      if (item && item.ttlMs < ttlMs) ttlMs = item.ttlMs;
      const outcome = this.#settle(beat, item);
      if (!(outcome instanceof Promise)) {
        outcomes[index] = outcome;
        return;
      }
      outcomes[index] = RejectionReason.REJECTION_REASON_RETRY;
      open.push(outcome.then((settled) => void (outcomes[index] = settled)));
    });
    if (open.length === 0) return this.#report(outcomes, ttlMs);
    const fromMemory = items.filter((_, index) => outcomes[index] === undefined);
    const timeUp = new AbortController();
    return Promise.race([Promise.all(open), delay(clock, SETTLE_MAX_MS, timeUp.signal)]).then(() => {
      timeUp.abort();
      this.#assertNotFenced();
      // Items that were settled in memory have waited for the others: they are checked again as the reply leaves.
      const lapsed = new Set(fromMemory.filter((beat) => !this.#stillCounts(beat)));
      items.forEach((beat, index) => {
        if (lapsed.has(beat)) outcomes[index] = RejectionReason.REJECTION_REASON_RETRY;
      });
      return this.#report(outcomes, ttlMs);
    });
  }

  #assertNotFenced(): void {
    const fenced = this.parts.cluster.fenced();
    if (fenced === undefined) return;
    throw new RollcallError('FENCED', `this server takes no heartbeats now (${fenced}): send them to another one`, {
      metadata: { cause: fenced },
    });
  }

  /** Returns true if the beat would be acknowledged from memory now. */
  #stillCounts(beat: HeartbeatItem): boolean {
    const { catalog, table } = this.parts;
    const item = catalog.instances.get(beat.namespace, beat.service, beat.id);
    if (!item || !isHolder(beat, item)) return false;
    if (this.#newReport(item, beat.reported)) return false;
    if (!item.expectsHeartbeats) return true;
    return !item.record.silent && !isPromised(table.entry(item.key), item);
  }

  #report(outcomes: readonly Outcome[], ttlMs: number): BeatReport {
    const rejected = outcomes.flatMap((reason, index) => (reason === undefined ? [] : [{ index, reason }]));
    this.parts.counters.add(COUNTERS.heartbeats_rejected, rejected.length);
    return { intervalMs: (ttlMs === Infinity ? TTL_MS.default : ttlMs) / BEATS_PER_TTL, rejected };
  }

  /** Decides in one turn, without waiting, unless the store must be read or written. */
  #settle(beat: HeartbeatItem, item: InstanceItem | undefined): Outcome | Promise<Outcome> {
    if (!item || !isHolder(beat, item)) return this.#settleByStore(beat);
    return this.#settleOn(beat, item, COMMIT_TRIES);
  }

  #settleOn(beat: HeartbeatItem, item: InstanceItem, tries: number): Outcome | Promise<Outcome> {
    const { table } = this.parts;
    const reported = this.#newReport(item, beat.reported);
    if (!item.expectsHeartbeats) return reported && this.#commit(beat, item, reported, tries);
    const { incarnation } = item.record.instance!;
    if (table.isOutdated(item.key, incarnation, item.modRevision))
      return tries > 1 ? this.#settleByStore(beat, tries - 1) : RejectionReason.REJECTION_REASON_RETRY;
    const entry = table.noteOf(item.key, incarnation, item.modRevision);
    if (item.record.silent || reported) return this.#commit(beat, item, reported, tries);
    if (isPromised(entry, item)) return this.#commit(beat, item, undefined, tries);
    return undefined;
  }

  /**
   * The report to write: one whose state differs from the record, or whose note does if the record has not changed for
   * NOTE_INTERVAL_MS. Any other change of a note is dropped. The state 0 leaves the state as it was.
   */
  #newReport(item: InstanceItem, reported: Reported | undefined): Reported | undefined {
    if (!reported) return undefined;
    const { instance } = item.record;
    const before = reportedState(instance!);
    const state = reported.state || before;
    const isNew =
      state !== before ||
      (reported.note !== (instance!.reported?.note ?? '') &&
        this.parts.table.unchangedForMs(item.key) >= NOTE_INTERVAL_MS);
    return isNew ? { state, note: reported.note } : undefined;
  }

  /** Commits a change of the record that the beat was decided on, comparing its mod revision. Then the beat counts. */
  async #commit(
    beat: HeartbeatItem,
    item: InstanceItem,
    reported: Reported | undefined,
    tries: number,
  ): Promise<Outcome> {
    const { commits, counters, table } = this.parts;
    const visible = item.record.silent || reported !== undefined;
    const stamp = commits.stamp();
    const record = visible ? heardRecord(item, reported, stamp) : touched(item, stamp);
    try {
      const result = await commits.commit(commits.instanceTxn(record, item.modRevision));
      if (!result.ok)
        return tries > 1 ? await this.#settleByStore(beat, tries - 1) : RejectionReason.REJECTION_REASON_RETRY;
      counters.add(visible ? COUNTERS.heals : COUNTERS.touches);
      await commits.visible(result.revision);
      table.noteOf(item.key, item.record.instance!.incarnation, result.revision);
      return undefined; // changes in the meantime are checked as the reply leaves
    } catch {
      return RejectionReason.REJECTION_REASON_RETRY; // the store failed, and Commits has counted that
    }
  }

  /** Decides by one linearizable read, because the catalog has no record that fits, or a commit was refused. */
  async #settleByStore(beat: HeartbeatItem, tries = COMMIT_TRIES): Promise<Outcome> {
    const { catalog, commits } = this.parts;
    const key = instanceKey(beat.namespace, beat.service, beat.id);
    try {
      const { entry } = await commits.get(key);
      const read = entry && readInstance(entry);
      const seen = catalog.instances.get(beat.namespace, beat.service, beat.id);
      const item = newer(read, seen);
      if (item && wasDeregistered(item, beat.incarnation)) return RejectionReason.REJECTION_REASON_DEREGISTERED;
      if (!item || item.removedAtMs !== undefined) return RejectionReason.REJECTION_REASON_NOT_REGISTERED;
      if (!isHolder(beat, item)) return RejectionReason.REJECTION_REASON_SUPERSEDED;
      return await this.#settleOn(beat, item, tries);
    } catch {
      return RejectionReason.REJECTION_REASON_RETRY;
    }
  }
}

/** Returns true if the beat comes from the process that holds the id. */
function isHolder(beat: HeartbeatItem, item: InstanceItem): boolean {
  if (item.removedAtMs !== undefined) return false;
  return beat.incarnation === undefined || beat.incarnation === item.record.instance!.incarnation;
}

/** Returns true if a verdict that compares this record may be in flight, so that a beat must be committed to count. */
function isPromised(entry: LivenessEntry | undefined, item: InstanceItem): boolean {
  return entry !== undefined && entry.promisedRevision >= item.modRevision;
}

function newer(a: InstanceItem | undefined, b: InstanceItem | undefined): InstanceItem | undefined {
  if (!a || !b) return a ?? b;
  return a.modRevision >= b.modRevision ? a : b;
}
