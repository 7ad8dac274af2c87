import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Commits } from '../../catalog/commits.js';
import { type Testimony, TestimonyKind } from '../../gen/rollcall/v1/cause.js';
import { type InstanceItem, silenced } from '../../model/instance.js';
import { toDuration } from '../../model/time.js';
import { Deadlines, TICK_MS } from './deadlines.js';
import { Expiry } from './expiry.js';
import type { FallLimit } from './fall-limit.js';
import type { LivenessClock } from './liveness-clock.js';
import type { Answer, LivenessEntry, LivenessTable, Query } from './liveness-table.js';
import { Outcomes } from './outcomes.js';
import type { Cluster, Jury } from './peers.js';
import { type Postponement, Postponements } from './postponements.js';
import type { ProtectionTimes } from './protection-times.js';
import type { Seasoning } from './seasoning.js';
import type { Successors } from './successors.js';

/** The most instances in one round: they share one question and one transaction. */
const ROUND_MAX = 1_000;
/** The wait before a round that reached no verdict is repeated. */
const ROUND_AGAIN_MS = 200;
/**
 * The least wait if another member heard the instance. Its answer is as old as its last tick, so the TTL may be over.
 */
const HEARD_AGAIN_MS = 100;
/**
 * The wait of an instance that was held back until its service may be protected: enough for two commits, and little beside
 * the 300 ms within which a verdict is promised.
 */
const RELEASED_AGAIN_MS = 100;
/** The wait before the removal of a protected instance is tried again. */
const HELD_AGAIN_MS = 1_000;

/** The dependencies of a Judge. */
export interface JudgeParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly table: LivenessTable;
  readonly liveness: LivenessClock;
  readonly cluster: Cluster;
  readonly successors: Successors;
  readonly seasoning: Seasoning;
  readonly limit: FallLimit;
  readonly protectionTimes: ProtectionTimes;
  readonly clock: Clock;
  /** The name of the node of this server. */
  readonly node: string;
  readonly telemetry: Telemetry;
}

/** An instance under judgement, with the facts that the verdict will compare. */
interface Case {
  readonly entry: LivenessEntry;
  readonly item: InstanceItem;
  readonly query: Query;
  /** The answers of the last question, the own one first. */
  testimonies: Testimony[];
}

/**
 * The failure detector: it records silent instances as SILENT, and removes those that stay silent.
 *
 * The judge asks before it commits. Every live member must answer that it has not heard the instance, and promise to
 * acknowledge no heartbeat of it from memory while the record is unchanged. A late heartbeat and the verdict then compare
 * the same record in the store, and exactly one of them wins.
 */
export class Judge implements Closeable {
  readonly #deadlines: Deadlines;
  readonly #expiry: Expiry;
  readonly #outcomes: Outcomes;
  readonly #postponements: Postponements;
  readonly #rounds = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  #ticking: Timer | undefined;

  constructor(private readonly parts: JudgeParts) {
    const { commits, telemetry } = parts;
    this.#deadlines = new Deadlines(parts);
    this.#outcomes = new Outcomes(commits, telemetry);
    this.#expiry = new Expiry({ ...parts, outcomes: this.#outcomes });
    this.#postponements = new Postponements(parts);
  }

  start(): void {
    const { catalog, cluster, table, clock } = this.parts;
    const { signal } = this.#stop;
    catalog.subscribe('judge', (change) => this.#deadlines.take(change), signal);
    cluster.onMembers(() => this.#deadlines.armAll(), signal);
    cluster.onDisturbance(() => table.disturb(), signal);
    table.onSooner((entry) => this.#deadlines.arm(entry), signal);
    this.#ticking ??= clock.every(TICK_MS, () => this.#tick());
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#ticking?.cancel();
    await Promise.all(this.#rounds);
  }

  /** The causes for which silent instances are not judged now. Empty if they are judged. */
  postponements(): readonly Postponement[] {
    return this.#postponements.list();
  }

  #tick(): void {
    const { liveness } = this.parts;
    liveness.tick();
    this.#postponements.check();
    if (liveness.pauses.size > 0) return;
    const silent: LivenessEntry[] = [];
    const expired: LivenessEntry[] = [];
    for (const entry of this.#deadlines.takeDue()) {
      if (!entry.item.record.silent) silent.push(entry);
      else if (this.#expiry.allows(entry)) expired.push(entry);
      else this.#deadlines.arm(entry, liveness.nowMs + HELD_AGAIN_MS);
    }
    for (let i = 0; i < silent.length; i += ROUND_MAX) this.#begin(this.#round(silent.slice(i, i + ROUND_MAX)));
    for (let i = 0; i < expired.length; i += ROUND_MAX) this.#begin(this.#expire(expired.slice(i, i + ROUND_MAX)));
  }

  #begin(round: Promise<void>): void {
    this.#rounds.add(round);
    void round.finally(() => this.#rounds.delete(round));
  }

  async #round(entries: readonly LivenessEntry[]): Promise<void> {
    const { cluster, commits, seasoning } = this.parts;
    const jury = cluster.jury();
    const cases = entries.map((entry): Case => {
      const { item } = entry;
      const { incarnation } = item.record.instance!;
      const query = { key: item.key, incarnation, ttlMs: item.ttlMs, revision: item.modRevision };
      return { entry, item, query, testimonies: [] };
    });
    let chosen: readonly Case[] = [];
    let silent: readonly Case[] = [];
    try {
      if (!jury) this.#postponements.unanswered();
      else {
        silent = await this.#allSilent(cases, jury, false);
        chosen = this.parts.limit.choose(silent);
        const promised = await this.#allSilent(chosen, jury, true);
        await this.#outcomes.commit(promised, jury.guard, 'verdicts', ({ entry, item, testimonies }) => {
          const cause = { decidedBy: this.parts.node, testimonies };
          const record = silenced(item, seasoning.isSeasoned(entry), cause, commits.stamp());
          return commits.instanceTxn(record, item.modRevision);
        });
      }
    } catch (error) {
      this.#outcomes.failed(error, 'a verdict could not be committed; retrying');
    } finally {
      this.parts.limit.done(chosen);
    }
    this.#armAgain(entries, chosen.length < silent.length ? heldBack(silent, chosen) : NONE);
  }

  async #expire(entries: readonly LivenessEntry[]): Promise<void> {
    await this.#expiry.remove(entries);
    this.#armAgain(entries);
  }

  /** The cases for which every member, this one included, answers SILENT about the same record. */
  async #allSilent(cases: readonly Case[], jury: Jury, promise: boolean): Promise<readonly Case[]> {
    const { table, node } = this.parts;
    if (cases.length === 0) return cases;
    const queries = cases.map(({ query }) => query);
    const asked = jury.others.map((peer) => peer.lastHeard(queries, promise).catch(() => undefined));
    const own = queries.map((query) => table.answer(query, promise));
    const others = asked.length > 0 ? await Promise.all(asked) : [];
    if (others.includes(undefined)) this.#postponements.unanswered();
    else this.#postponements.answered();
    const nodes = [node, ...jury.others.map((peer) => peer.node)];
    return cases.filter((one, i) => {
      const { entry, query } = one;
      one.testimonies = testimoniesOf(nodes, [own, ...others], i);
      return [own, ...others].every((ofOne) => {
        const answer = ofOne?.[i];
        if (answer?.kind === 'HEARD') table.heardElsewhere(entry, query.incarnation, answer.ageMs);
        return answer?.kind === 'SILENT' && (!promise || answer.promisedRevision >= query.revision);
      });
    });
  }

  /** After a round, an instance that is still registered keeps a deadline. A round never moves a deadline earlier. */
  #armAgain(entries: readonly LivenessEntry[], held: ReadonlySet<LivenessEntry> = NONE): void {
    const { table, liveness } = this.parts;
    for (const entry of entries) {
      if (table.entry(entry.item.key) !== entry) continue;
      const wasHeard = entry.heardElsewhereMs + entry.item.ttlMs > liveness.nowMs;
      const waitMs = wasHeard ? HEARD_AGAIN_MS : held.has(entry) ? RELEASED_AGAIN_MS : ROUND_AGAIN_MS;
      this.#deadlines.arm(entry, liveness.nowMs + waitMs);
    }
  }
}

const NONE: ReadonlySet<LivenessEntry> = new Set();

/** The most answers that a record keeps. */
const TESTIMONIES_MAX = 8;

/** The answers about the instance at a position, as a record keeps them. */
function testimoniesOf(
  nodes: readonly string[],
  answers: readonly (readonly Answer[] | undefined)[],
  position: number,
): Testimony[] {
  return answers.slice(0, TESTIMONIES_MAX).flatMap((ofOne, i): Testimony[] => {
    const answer = ofOne?.[position];
    if (answer?.kind !== 'SILENT' && answer?.kind !== 'HEARD') return [];
    const kind = answer.kind === 'HEARD' ? TestimonyKind.TESTIMONY_KIND_HEARD : TestimonyKind.TESTIMONY_KIND_SILENT;
    const age = answer.ageMs === undefined ? undefined : toDuration(answer.ageMs);
    return [{ node: nodes[i]!, kind, age, latency: undefined, error: '' }];
  });
}

/** The instances whose verdicts wait. */
function heldBack(silent: readonly Case[], chosen: readonly Case[]): Set<LivenessEntry> {
  const held = new Set(silent.map(({ entry }) => entry));
  for (const { entry } of chosen) held.delete(entry);
  return held;
}
