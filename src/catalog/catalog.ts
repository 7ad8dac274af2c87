import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import { maxOf } from '../base/max.js';
import type { Telemetry } from '../base/telemetry.js';
import type { ConfigItem } from '../model/config.js';
import { RollcallError } from '../model/errors.js';
import type { InstanceItem } from '../model/instance.js';
import { BadRecord, type Item } from '../model/item.js';
import { WATCHED_ROOT } from '../model/keys.js';
import type { MemberItem } from '../model/member.js';
import type { ProtectionItem } from '../model/protection.js';
import { HORIZON_KEY, MEMBERGEN_KEY, readHorizon } from '../model/store-facts.js';
import type { Compare, Entry, Revision, RevisionBatch } from '../store/store.js';
import { type CatalogListener, ChangeSet, type SubscriberName, Subscribers } from './changes.js';
import { Collection } from './collection.js';
import { Faults } from './faults.js';
import type { Kind, Tables } from './kind.js';
import { CONFIG, EPOCH, HORIZON, INSTANCE, KINDS, MEMBER, MEMBERGEN, PROTECTION } from './kinds.js';
import { RevisionGate } from './revision-gate.js';

/** An item that was read, with its kind. */
interface Placed {
  readonly kind: Kind;
  readonly item: Item;
  /** False if the item was not written and only moves, because an item of another kind affects it. */
  readonly written: boolean;
}

/** The dependencies of a Catalog. */
export interface CatalogParts {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Kinds beside those of the product. */
  readonly moreKinds?: readonly Kind[];
}

/**
 * The current state of the store in memory, at one revision.
 *
 * The catalog takes in whole revisions, in order and each in one turn of the event loop. So a reader always sees
 * exactly one revision. The catalog answers nothing before it has taken in a first listing.
 */
export class Catalog implements Tables {
  readonly instances: Collection<InstanceItem>;
  readonly configs: Collection<ConfigItem>;
  readonly protections: Collection<ProtectionItem>;
  readonly #kinds: ReadonlyMap<string, Kind>;
  readonly #tables = new Map<string, Collection<Item>>();
  /** The kinds whose items affect the items of a target kind, by the name of the target kind. */
  readonly #sources = new Map<string, Kind[]>();
  readonly #faults: Faults;
  readonly #gate: RevisionGate;
  readonly #subscribers = new Subscribers();
  #revision: Revision = 0n;
  #missedUpTo: Revision = 0n;
  #ready = false;
  #whenReady: (() => void)[] = [];

  constructor({ clock, telemetry, moreKinds = [] }: CatalogParts) {
    const kinds = [...KINDS, ...moreKinds];
    this.#kinds = new Map(kinds.map((kind) => [kind.prefix, kind]));
    for (const kind of kinds) {
      this.#tables.set(kind.name, new Collection<Item>());
      if (kind.join) this.#sources.set(kind.join.target.name, [...this.#sourcesOf(kind.join.target), kind]);
    }
    this.instances = this.of(INSTANCE);
    this.configs = this.of(CONFIG);
    this.protections = this.of(PROTECTION);
    this.#faults = new Faults(telemetry);
    this.#gate = new RevisionGate(clock);
  }

  /** The items of a kind. */
  of<T extends Item>(kind: Kind<T>): Collection<T> {
    return this.#tables.get(kind.name) as unknown as Collection<T>;
  }

  /** Every kind of the catalog. */
  get kinds(): Iterable<Kind> {
    return this.#kinds.values();
  }

  /** Returns true once the first listing has been taken in. */
  get ready(): boolean {
    return this.#ready;
  }

  /** The newest revision taken in. */
  get revision(): Revision {
    return this.#revision;
  }

  /** The name of the store's history. Empty before the first listing. */
  get storeEpoch(): string {
    return this.of(EPOCH).get('', '', '')?.fact ?? '';
  }

  /** Tombstones up to this revision have been deleted from the store. */
  get horizon(): Revision {
    return this.of(HORIZON).get('', '', '')?.fact ?? 0n;
  }

  /** The oldest cursor that can be continued. Before it, tombstones may have been deleted, or events missed. */
  get oldestCursor(): Revision {
    return maxOf(this.horizon, this.#missedUpTo);
  }

  /** Notes that events up to this revision were missed: a watch that followed this catalog needs a snapshot. */
  missedEventsUpTo(revision: Revision): void {
    this.#missedUpTo = revision;
  }

  /** The live members. */
  get members(): readonly MemberItem[] {
    return [...this.of(MEMBER).all()];
  }

  /** A live member. `undefined` if there is none of that id. */
  member(id: string): MemberItem | undefined {
    return this.of(MEMBER).get('', '', id);
  }

  /**
   * The revision of the last join, which names the set of members. 0n if the store has no such record, because no
   * process ever joined or because of a foreign delete. A verdict then compares that the record does not exist.
   */
  get membergen(): Revision {
    if (this.#faults.foreignDeletes.has(MEMBERGEN_KEY)) return 0n;
    return this.of(MEMBERGEN).get('', '', '')?.modRevision ?? 0n;
  }

  /** The mod revision of the record at a key, readable or not. 0n if there is none. */
  modRevisionOf(key: string): Revision {
    return this.#faults.unreadableAt(key) ?? this.#find(key)?.item.modRevision ?? 0n;
  }

  /** An item under every record of another kind that affects it, as the catalog holds them. */
  shown<T extends Item>(kind: Kind<T>, item: T): T {
    let shown: Item = item;
    for (const source of this.#sourcesOf(kind)) {
      const { namespace, scope, name } = source.join!.sourceOf(shown);
      shown = source.join!.apply(shown, this.of(source).get(namespace, scope, name));
    }
    return shown as T;
  }

  /** The compares that hold as long as the records at these keys are those that the catalog holds. */
  unchanged(...keys: readonly string[]): Compare[] {
    return keys.map((key) => ({ key, modRevision: this.modRevisionOf(key) }));
  }

  /** Resolves once the first listing has been taken in. */
  whenReady(): Promise<void> {
    return this.#ready ? Promise.resolve() : new Promise((resolve) => this.#whenReady.push(resolve));
  }

  /** Throws NOT_READY before the first listing. */
  assertReady(): void {
    if (!this.#ready) throw new RollcallError('NOT_READY', 'this server has not read its store yet');
  }

  /** Resolves true once `revision` has been taken in, false after `waitMs`. */
  reached(revision: Revision, waitMs: number): Promise<boolean> {
    return this.#gate.reached(revision, waitMs);
  }

  /** Returns true if `revision` has been taken in. */
  has(revision: Revision): boolean {
    return revision <= this.#revision;
  }

  /**
   * Calls `listener` for every change from now on, until `signal` is aborted. The call comes in the same turn of the
   * event loop, after the catalog holds the whole change. The subscribers are called in DELIVERY_ORDER.
   */
  subscribe(name: SubscriberName, listener: CatalogListener, signal: AbortSignal): void {
    this.#subscribers.subscribe(name, listener, signal);
  }

  /**
   * The keys whose record here differs from a listing at `revision`. `listed` holds the mod revision of each listed
   * key. Records that were written since, unreadable records and foreign deletes do not count.
   */
  differences(revision: Revision, listed: ReadonlyMap<string, Revision>): string[] {
    const different = new Set<string>();
    for (const [key, modRevision] of listed) {
      if (this.#kindOf(key)?.deletion !== 'COLLECTED' || this.#faults.unreadableAt(key) !== undefined) continue;
      const item = this.#find(key)?.item;
      if (!item || item.modRevision < modRevision) different.add(key);
    }
    for (const kind of this.#kinds.values()) {
      if (kind.deletion !== 'COLLECTED') continue;
      for (const { key, modRevision } of this.of(kind).all()) {
        const isListed = modRevision <= revision && !this.#faults.foreignDeletes.has(key);
        if (isListed && listed.get(key) !== modRevision) different.add(key);
      }
    }
    return [...different];
  }

  /** The items that a foreign delete removed from the store, each with its kind. The catalog still holds them. */
  foreignDeletes(): { readonly kind: Kind; readonly item: Item }[] {
    return [...this.#faults.foreignDeletes].flatMap((key) => this.#find(key) ?? []);
  }

  /** Empties the catalog. `isSameHistory` is true if the next listing belongs to the same history of the store. */
  reset(isSameHistory: boolean): void {
    const changes = new ChangeSet('RESET', 0n, isSameHistory);
    this.#ready = false;
    this.#revision = 0n;
    this.#missedUpTo = 0n;
    this.#gate.advance(0n);
    this.#faults.clear();
    for (const kind of this.#kinds.values())
      for (const item of [...this.of(kind).all()]) this.#evict(kind, item, changes);
    this.#subscribers.deliver(changes);
  }

  /** Takes in a whole listing: every difference from the held state becomes a change. */
  replace(revision: Revision, entries: readonly Entry[]): void {
    assert(revision >= this.#revision, `listing at ${revision} is older than the catalog at ${this.#revision}`);
    // Tombstones that this catalog never saw may have been deleted, so a missing key can be a legitimate removal.
    if (this.#ready && horizonOf(entries) > this.#revision) this.reset(true);
    const changes = new ChangeSet(this.#ready ? 'LISTING' : 'FIRST_LISTING', revision);
    const keys = new Set<string>();
    const changed: Entry[] = [];
    for (const entry of entries) {
      keys.add(entry.key);
      if (entry.modRevision > this.#revision || !this.#ready) changed.push(entry);
    }
    this.#putAll(changed, changes);
    for (const kind of this.#kinds.values())
      for (const item of [...this.of(kind).all()]) if (!keys.has(item.key)) this.#deleted(kind, item, changes);
    for (const key of [...this.#faults.unreadableKeys]) if (!keys.has(key)) this.#faults.settled(key);
    this.#ready = true;
    this.#advance(changes);
    for (const resolve of this.#whenReady.splice(0)) resolve();
  }

  /** Takes in the changes of one revision. */
  apply({ revision, changes: given }: RevisionBatch): void {
    assert(revision > this.#revision, `revision ${revision} after ${this.#revision}`);
    const changes = new ChangeSet('WATCHED', revision);
    // Puts come first: the horizon may be one of them, and decides which deletions of this revision are legitimate.
    this.#putAll(
      given.flatMap((change) => (change.kind === 'put' ? [change.entry] : [])),
      changes,
    );
    for (const change of given) {
      if (change.kind !== 'delete') continue;
      if (this.#faults.unreadableAt(change.key) !== undefined) this.#faults.settled(change.key);
      const found = this.#find(change.key);
      if (found) this.#deleted(found.kind, found.item, changes);
    }
    this.#advance(changes);
  }

  #advance(changes: ChangeSet): void {
    this.#revision = changes.revision;
    this.#subscribers.deliver(changes);
    for (const table of this.#tables.values()) table.notify();
    this.#gate.advance(changes.revision);
  }

  /** Puts entries into the catalog in the order of their visible changes, which is the order that cursors follow. */
  #putAll(entries: readonly Entry[], changes: ChangeSet): void {
    const written = this.#readAll(entries);
    const placed = ({ kind, item, written: isWritten }: Placed): Placed => this.#placed(kind, item, isWritten);
    const keys = new Set(written.map(({ item }) => item.key));
    const sources = sortByRevision(written.filter(({ kind }) => kind.join).map(placed));
    const moved = new Map<string, Placed>();
    const scopes = sources.flatMap((source) => this.#putSource(source, moved, changes));
    const others = [...moved.values()].filter(({ item }) => !keys.has(item.key));
    // Placed once all sources are in: what one of them moves, another one may affect too.
    const targets = [...written.filter(({ kind }) => !kind.join), ...others].map(placed);
    for (const { kind, item, written: isWritten } of sortByRevision([...targets, ...scopes])) {
      if (kind.join) {
        // If the effect of a source on a scope begins or ends, the scope as a whole has changed.
        this.of(kind.join.target).markChanged(item.namespace, item.scope, item.revision);
        continue;
      }
      changes.add(kind, this.of(kind).put(item), isWritten);
    }
  }

  #readAll(entries: readonly Entry[]): Placed[] {
    const placed: Placed[] = [];
    for (const entry of entries) {
      this.#faults.settled(entry.key);
      const kind = this.#kindOf(entry.key);
      if (!kind) {
        this.#faults.unknown(entry.key);
        continue;
      }
      try {
        placed.push({ kind, item: kind.read(entry), written: true });
      } catch (error) {
        if (!(error instanceof BadRecord)) throw error;
        this.#faults.unreadable(entry.key, entry.modRevision, error);
      }
    }
    return placed;
  }

  /** Puts in a source, and adds the items that it moves. At level SCOPE it returns the source itself, which marks its scope. */
  #putSource({ kind, item }: Placed, moved: Map<string, Placed>, changes: ChangeSet): Placed[] {
    const { join } = kind;
    const { target } = join!;
    const change = this.of(kind).put(item);
    changes.add(kind, change);
    const targets = this.of(target);
    if (join!.level === 'SCOPE') targets.attach(item.namespace, item.scope, kind.name, item);
    if (item.revision <= (change.before?.revision ?? 0n)) return [];
    for (const one of join!.targetsOf(item, targets)) moved.set(one.key, { kind: target, item: one, written: false });
    return join!.level === 'SCOPE' ? [{ kind, item, written: false }] : [];
  }

  /** Applies to an item every source that affects it. That may change the item's revision, and so its place. */
  #placed(kind: Kind, item: Item, written: boolean): Placed {
    return this.#notBack({ kind, item: this.shown(kind, item), written });
  }

  /**
   * Makes an item that is older than the one it replaces a visible change of its own. That happens if someone else writes
   * an old copy of a record back, and the revisions of an item must not go back.
   */
  #notBack({ kind, item, written }: Placed): Placed {
    const before = this.of(kind).get(item.namespace, item.scope, item.name);
    if (!before || item.revision >= before.revision) return { kind, item, written };
    return { kind, item: { ...item, revision: maxOf(item.modRevision, before.revision) }, written };
  }

  #sourcesOf(kind: Kind): readonly Kind[] {
    return this.#sources.get(kind.name) ?? [];
  }

  /**
   * Handles a record that is missing from the store. This product deletes only tombstones up to the horizon, and the
   * store deletes only leased records. Any other deletion is foreign, and the item stays in the catalog.
   */
  #deleted(kind: Kind, item: Item, changes: ChangeSet): void {
    const isLegitimate =
      kind.deletion === 'LEASED' || (item.removedAtMs !== undefined && item.modRevision <= this.horizon);
    if (isLegitimate) this.#evict(kind, item, changes);
    else this.#faults.foreignDelete(item.key);
  }

  #evict(kind: Kind, item: Item, changes: ChangeSet): void {
    changes.add(kind, this.of(kind).evict(item));
    if (kind.join?.level === 'SCOPE')
      this.of(kind.join.target).attach(item.namespace, item.scope, kind.name, undefined);
  }

  /** The kind of a key: "w/i/..." belongs to the kind with prefix "w/i/", and "w/epoch" is a kind by itself. */
  #kindOf(key: string): Kind | undefined {
    const slash = key.indexOf('/', ROOT_LENGTH);
    return this.#kinds.get(slash === -1 ? key : key.slice(0, slash + 1));
  }

  #find(key: string): { readonly kind: Kind; readonly item: Item } | undefined {
    const kind = this.#kindOf(key);
    if (!kind) return undefined;
    const { namespace, scope, name } = kind.names(key) ?? NO_NAMES;
    const item = this.of(kind).get(namespace, scope, name);
    return item && { kind, item };
  }
}

const ROOT_LENGTH = WATCHED_ROOT.length;
const NO_NAMES = { namespace: '', scope: '', name: '' };

function horizonOf(entries: readonly Entry[]): Revision {
  const entry = entries.find(({ key }) => key === HORIZON_KEY);
  return entry ? readHorizon(entry).fact : 0n;
}

function sortByRevision(placed: Placed[]): Placed[] {
  return placed.sort(({ item: a }, { item: b }) => (a.revision < b.revision ? -1 : a.revision > b.revision ? 1 : 0));
}
