import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import { nameSome } from '../../base/name-some.js';
import type { AlarmBoard } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { CatalogChange } from '../../catalog/changes.js';
import { INSTANCE } from '../../catalog/kinds.js';
import type { InstanceItem } from '../../model/instance.js';
import { ALARMS } from './instruments.js';

/** An id that changes its owner this often is contested: a restart, and a repeat of it, stay below. */
const CHANGES = 3;
/** The time within which the changes count. */
const WINDOW_MS = 60_000;
/** An id is contested until its owner has not changed for this time. */
const QUIET_MS = 5 * 60_000;
/** How often ids that have become quiet are forgotten. */
const FORGET_EVERY_MS = 10_000;
/** The most ids that the alarm names. */
const NAMED_MAX = 5;
/** The most ids that are followed. Each costs about 300 bytes; beyond, changes of further ids are not counted. */
const IDS_MAX = 10_000;

/** The dependencies of Takeovers. */
export interface TakeoversParts {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly alarms: AlarmBoard;
}

/**
 * Raises an alarm while ids change their owner again and again although the owner before was not silent: two processes
 * use one id, or a process restarts in a loop. Every server sees the same changes, so each raises it.
 */
export class Takeovers implements Closeable {
  /** The last CHANGES changes of each id, oldest first. */
  readonly #changes = new Map<string, readonly number[]>();
  readonly #contested = new Set<string>();
  readonly #stop = new AbortController();
  #forgetting: Timer | undefined;

  constructor(private readonly parts: TakeoversParts) {}

  start(): void {
    const { catalog, clock } = this.parts;
    catalog.subscribe('takeovers', (change) => this.#take(change), this.#stop.signal);
    this.#forgetting ??= clock.every(FORGET_EVERY_MS, () => this.#forget());
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#forgetting?.cancel();
    return Promise.resolve();
  }

  #take(change: CatalogChange): void {
    if (change.cause !== 'WATCHED') return;
    const before = this.#contested.size;
    for (const { before: was, after: is } of change.of(INSTANCE)) if (was && is && isTakeover(was, is)) this.#note(is);
    if (this.#contested.size !== before) this.#alarm();
  }

  #note({ namespace, scope, name }: InstanceItem): void {
    const id = `${namespace}/${scope}/${name}`;
    const now = this.parts.clock.now();
    const known = this.#changes.get(id);
    if (!known && this.#changes.size >= IDS_MAX) return;
    const changes = [...(known ?? []), now].slice(-CHANGES);
    this.#changes.set(id, changes);
    if (changes.length === CHANGES && now - changes[0]! < WINDOW_MS) this.#contested.add(id);
  }

  #forget(): void {
    const before = this.#contested.size;
    const now = this.parts.clock.now();
    for (const [id, changes] of this.#changes) {
      if (now - changes.at(-1)! < (this.#contested.has(id) ? QUIET_MS : WINDOW_MS)) continue;
      this.#changes.delete(id);
      this.#contested.delete(id);
    }
    if (this.#contested.size !== before) this.#alarm();
  }

  #alarm(): void {
    const { alarms } = this.parts;
    if (this.#contested.size === 0) return alarms.clear(ALARMS.ID_CONTESTED);
    const ids = nameSome([...this.#contested], NAMED_MAX);
    alarms.raise(
      ALARMS.ID_CONTESTED,
      `instances change their owner again and again: ${ids}; look for two processes with one id`,
    );
  }
}

/** Returns true if another process took the id of one that was not silent. */
function isTakeover(was: InstanceItem, is: InstanceItem): boolean {
  if (was.removedAtMs !== undefined || is.removedAtMs !== undefined || was.record.silent) return false;
  return ownerOf(was) !== ownerOf(is);
}

/** The owner of an id: the incarnation that a client gave, or else the process at its address. */
function ownerOf({ record: { incarnationGiven, instance } }: InstanceItem): string {
  const { incarnation, address, port } = instance!;
  return incarnationGiven ? incarnation : `${incarnation} at ${address}:${port}`;
}
