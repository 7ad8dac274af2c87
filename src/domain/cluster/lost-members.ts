import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Commits } from '../../catalog/commits.js';
import { DepartureRecord, NodeRecord, NodeState } from '../../gen/rollcall/storage/v1/records.js';
import { RollcallError } from '../../model/errors.js';
import { decode, ifReadable } from '../../model/item.js';
import { departureKey, DEPARTURES, nodeKey, nodeOf, NODES } from '../../model/member.js';
import { DAY_MS, fromTimestamp, toTimestamp } from '../../model/time.js';
import { prefixRange, type Revision } from '../../store/store.js';
import { ALARMS } from './instruments.js';

/** How often the records of the nodes are compared with the members. */
const LOOK_MS = 10_000;
/** A node without a member for this long is lost: longer than a restart takes. */
const ABSENT_MAX_MS = 30_000;
/** As many members as before for this long have taken the place of a lost one: nodes named after pods never come back. */
const REPLACED_MS = 600_000;
/** A lost node is remembered for this long, unless an operator has it forgotten before. */
const LOST_KEPT_MS = DAY_MS;
/** The record of a node that left cleanly is kept for this long. */
const LEFT_KEPT_MS = 30 * DAY_MS;

/** A node whose last member left without a clean departure. */
export interface LostMember {
  readonly node: string;
  /** The time by the wall clock at which it was last a member, to half a minute. */
  readonly sinceMs: number;
}

/** A node as the store shows it. */
interface Known {
  readonly node: string;
  readonly record: NodeRecord;
  readonly modRevision: Revision;
  /** `undefined` if no member has noticed yet that the last membership ended. */
  readonly departure: DepartureRecord | undefined;
}

/** The dependencies of LostMembers. */
export interface LostMembersParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

/**
 * Finds the members that left without a clean departure, by the records of their nodes, and keeps an alarm until the node is back,
 * was replaced or is forgotten. Every member does it. Their writes are compared, so that one of them happens.
 */
export class LostMembers implements Closeable {
  /** The number of members when each node was last one of them, as this process saw it. */
  readonly #membersWith = new Map<string, number>();
  /** Since when each node with a record has had no member, by the monotonic clock. */
  readonly #absentSinceMs = new Map<string, number>();
  /** Since when there have been as many members as before a node was lost, by the monotonic clock. */
  readonly #fullSinceMs = new Map<string, number>();
  #lost: readonly LostMember[] = [];
  #absent: readonly string[] = [];
  /** The nodes that left cleanly, as of the last look. */
  #left: ReadonlySet<string> = new Set();
  #timer: Timer | undefined;
  #looking: Promise<void> = Promise.resolve();

  constructor(private readonly parts: LostMembersParts) {}

  /** The lost members by node, as of the last look. */
  get lost(): readonly LostMember[] {
    return this.#lost;
  }

  /**
   * The nodes that were members and are none now, and did not leave cleanly. One that froze or is cut off may still serve its
   * readers what it knew then; it counts until it is back, was replaced, or is forgotten.
   */
  get absent(): readonly string[] {
    const present = this.#present();
    const known = new Set([...this.#absent, ...this.#membersWith.keys()]);
    return [...known].filter((node) => !present.has(node) && !this.#left.has(node)).sort();
  }

  start(): void {
    this.#timer = this.parts.clock.every(LOOK_MS, () => void this.#lookAgain());
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#looking;
  }

  /** Forgets a node. Throws NODE_NOT_FOUND, or NODE_IS_MEMBER. */
  async forget(node: string): Promise<Revision> {
    const { catalog, commits } = this.parts;
    const revision = await commits.retrying(`the record of node ${node}`, async () => {
      catalog.assertReady();
      if (this.#present().has(node)) throw new RollcallError('NODE_IS_MEMBER', `node ${node} is a member now`);
      const { entry } = await commits.get(nodeKey(node));
      if (!entry) throw nodeNotFound(node);
      const result = await this.#delete({ node, modRevision: entry.modRevision });
      return result.ok ? { done: result.revision } : { retry: true };
    });
    this.parts.telemetry.log.info({ node }, 'an operator has the node forgotten');
    await this.#lookAgain();
    return revision;
  }

  #lookAgain(): Promise<void> {
    this.#looking = this.#looking
      .then(() => this.#look())
      .catch((err: unknown) => {
        // While the store does not answer nothing is known, and other alarms say so.
        if (!(err instanceof RollcallError)) this.parts.telemetry.log.error({ err }, 'looking for lost members failed');
      });
    return this.#looking;
  }

  async #look(): Promise<void> {
    const { catalog, telemetry } = this.parts;
    if (!catalog.ready || catalog.members.length === 0) return;
    const present = this.#present();
    const absent = (await this.#known()).filter(({ node }) => !present.has(node));
    for (const node of present) this.#membersWith.set(node, catalog.members.length);
    // For a process that never saw the node as a member: those that left unnoticed were members together.
    const unnoticed = absent.filter(
      ({ record, departure }) => !departure && record.state !== NodeState.NODE_STATE_LEFT,
    ).length;
    const lost: LostMember[] = [];
    for (const one of absent) {
      const membersBefore = this.#membersWith.get(one.node) ?? catalog.members.length + unnoticed;
      const sinceMs = await this.#lostSince(one, membersBefore);
      if (sinceMs !== undefined) lost.push({ node: one.node, sinceMs });
    }
    for (const times of [this.#absentSinceMs, this.#fullSinceMs])
      for (const node of times.keys()) if (!absent.some((one) => one.node === node)) times.delete(node);
    for (const node of this.#membersWith.keys())
      if (!present.has(node) && !absent.some((one) => one.node === node)) this.#membersWith.delete(node);
    this.#lost = lost;
    const hasLeft = ({ record }: Known): boolean => record.state === NodeState.NODE_STATE_LEFT;
    const nodesOf = (all: readonly Known[]): string[] => all.map(({ node }) => node);
    this.#left = new Set(nodesOf(absent.filter(hasLeft)));
    this.#absent = nodesOf(absent.filter((one) => !hasLeft(one)));
    if (lost.length > 0) telemetry.alarms.raise(ALARMS.MEMBER_LOST, textOf(lost));
    else telemetry.alarms.clear(ALARMS.MEMBER_LOST);
  }

  /** Every node that has been a member, by name. */
  async #known(): Promise<Known[]> {
    const { commits } = this.parts;
    const nodes = await commits.list(prefixRange(NODES));
    const departures = new Map<string, DepartureRecord>();
    for (const { key, value } of await commits.list(prefixRange(DEPARTURES)))
      ifReadable(() => departures.set(nodeOf(key), decode(key, value, DepartureRecord)));
    return nodes.flatMap(({ key, value, modRevision }): Known[] => {
      const node = nodeOf(key);
      const record = ifReadable(() => decode(key, value, NodeRecord));
      const departure = departures.get(node);
      return record
        ? [{ node, record, modRevision, departure: isOf(departure, modRevision) ? departure : undefined }]
        : [];
    });
  }

  /**
   * Since when an absent node is lost, by the wall clock; `undefined` if it is not. Notes its departure, and deletes its
   * records when their time is over.
   */
  async #lostSince(one: Known, membersBefore: number): Promise<number | undefined> {
    const { catalog, clock } = this.parts;
    const { node, record, departure } = one;
    const now = clock.now();
    const absentForMs = now - notedSince(this.#absentSinceMs, node, now);
    if (!departure?.endedAt) {
      if (absentForMs >= ABSENT_MAX_MS) await this.#noteDeparture(one, clock.wall() - absentForMs, membersBefore);
      return undefined; // the next look shows it
    }
    const endedAtMs = fromTimestamp(departure.endedAt);
    const isLost = record.state !== NodeState.NODE_STATE_LEFT;
    const keptMs = isLost ? LOST_KEPT_MS : LEFT_KEPT_MS;
    const isFull = isLost && catalog.members.length >= departure.membersBefore;
    if (!isFull) this.#fullSinceMs.delete(node);
    const isReplaced = isFull && now - notedSince(this.#fullSinceMs, node, now) >= REPLACED_MS;
    if (!isReplaced && clock.wall() - endedAtMs <= keptMs) return isLost ? endedAtMs : undefined;
    await this.#delete(one);
    return undefined;
  }

  async #noteDeparture({ node, modRevision }: Known, endedAtMs: number, membersBefore: number): Promise<void> {
    const { commits } = this.parts;
    const writeId = commits.writeId();
    const endedAt = toTimestamp(endedAtMs);
    const record = { writeId, nodeRevision: modRevision, endedAt, membersBefore };
    await commits.commit({
      writeId,
      compares: [{ key: nodeKey(node), modRevision }],
      writes: [{ kind: 'put', key: departureKey(node), value: DepartureRecord.encode(record).finish() }],
    });
  }

  #delete({ node, modRevision }: Pick<Known, 'node' | 'modRevision'>): ReturnType<Commits['commit']> {
    const { commits } = this.parts;
    return commits.commit({
      writeId: commits.writeId(),
      compares: [{ key: nodeKey(node), modRevision }],
      writes: [nodeKey(node), departureKey(node)].map((key) => ({ kind: 'delete', key })),
    });
  }

  /** The nodes of the members. */
  #present(): Set<string> {
    return new Set(this.parts.catalog.members.map(({ record }) => record.node));
  }
}

/** Returns true if a departure is that of the membership which wrote the node's record at this revision. */
const isOf = (departure: DepartureRecord | undefined, nodeRevision: Revision): boolean =>
  departure?.nodeRevision === nodeRevision;

/** The time noted for a node; `now` is noted if there is none. */
function notedSince(times: Map<string, number>, node: string, now: number): number {
  const noted = times.get(node) ?? now;
  times.set(node, noted);
  return noted;
}

function textOf(lost: readonly LostMember[]): string {
  const each = lost.map(({ node, sinceMs }) => `node ${node} at ${new Date(sinceMs).toISOString()}`);
  return `left without a clean departure: ${each.join(', ')}; start it again, or let AdminService.ForgetMember forget it`;
}

export function nodeNotFound(node: string): RollcallError {
  return new RollcallError('NODE_NOT_FOUND', `no member of a node ${node} is remembered`);
}
