import { assert } from '../base/assert.js';
import type { Clock } from '../base/clock.js';
import type { Telemetry } from '../base/observe.js';
import { EpochRecord, HorizonRecord, MemberRecord } from '../gen/rollcall/storage/v1/records.js';
import { RollcallError } from '../model/errors.js';
import {
  CONFIGS,
  EPOCH_KEY,
  HORIZON_KEY,
  INSTANCES,
  memberKey,
  MEMBERGEN_KEY,
  MEMBERS,
  parseKey,
  protectionKey,
  PROTECTIONS,
} from '../model/keys.js';
import {
  BadRecord,
  type ConfigItem,
  decode,
  type InstanceItem,
  type MemberItem,
  readConfig,
  readInstance,
  readMember,
  readProtection,
  type ServiceProtection,
  underProtection,
} from '../model/records.js';
import type { Change, Entry, Revision, RevisionBatch } from '../store/store.js';
import { Collection, type ItemChange } from './collection.js';
import { RevisionGate } from './revision-gate.js';

/** The keys of what is recorded of the store as a whole. */
const FACTS: readonly string[] = [EPOCH_KEY, HORIZON_KEY, MEMBERGEN_KEY];

/** Told of every change of a member key, in the turn in which the catalog takes it in. */
export type MemberListener = (before: MemberItem | undefined, after: MemberItem | undefined) => void;

/** Told of every change of an instance record, visible or not, in the turn in which the catalog takes it in. */
export type InstanceListener = (change: ItemChange<InstanceItem>, fromListing: boolean) => void;

/** Told of every change of the protection of a service, visible or not, in the turn in which it is taken in. */
export type ProtectionListener = (protection: ServiceProtection) => void;

/**
 * The current state of the store in memory, at one revision.
 *
 * It takes in whole revisions in order, so that whoever reads it between two turns sees one revision. It
 * answers nothing before it has taken in a first listing.
 */
export class Catalog {
  readonly instances = new Collection<InstanceItem>();
  readonly configs = new Collection<ConfigItem>();
  readonly #members = new Map<string, MemberItem>();
  /** What is recorded of the store as a whole, by key. */
  readonly #facts = new Map<string, Entry>();
  readonly #gate: RevisionGate;
  readonly #protections = new Map<string, ServiceProtection>();
  readonly #instanceListeners = new Set<InstanceListener>();
  readonly #protectionListeners = new Set<ProtectionListener>();
  readonly #revisionListeners = new Set<() => void>();
  readonly #resetListeners = new Set<(isSameHistory: boolean) => void>();
  readonly #relistListeners = new Set<() => void>();
  readonly #memberListeners = new Set<MemberListener>();
  #revision: Revision = 0n;
  #epoch = '';
  #horizon: Revision = 0n;
  #membergen: Revision = 0n;
  #missedUpTo: Revision = 0n;
  #ready = false;
  #whenReady: (() => void)[] = [];
  #configBytes = 0;
  /** The revisions of records that cannot be read, by their key: an alarm. */
  readonly #unreadable = new Map<string, Revision>();
  /** Keys that somebody else deleted: an alarm. */
  readonly #deletedByOthers = new Set<string>();

  constructor(
    clock: Clock,
    private readonly telemetry: Telemetry,
  ) {
    this.#gate = new RevisionGate(clock);
  }

  /** True: the first listing has been taken in. */
  get ready(): boolean {
    return this.#ready;
  }

  /** The newest revision taken in. */
  get revision(): Revision {
    return this.#revision;
  }

  /** The name of the store's history. */
  get epoch(): string {
    return this.#epoch;
  }

  /** Removals up to this revision have been forgotten by the store. */
  get horizon(): Revision {
    return this.#horizon;
  }

  /** Older cursors cannot be continued: removals may have been forgotten, or events missed. */
  get oldestCursor(): Revision {
    return this.#horizon > this.#missedUpTo ? this.#horizon : this.#missedUpTo;
  }

  /** Events up to here were missed: whoever has followed this catalog needs a snapshot. */
  missedEventsUpTo(revision: Revision): void {
    this.#missedUpTo = revision;
  }

  /** The live members, by id. */
  get members(): ReadonlyMap<string, MemberItem> {
    return this.#members;
  }

  /** The revision of the last join: names the set of members. 0n: nobody has ever joined. */
  get membergen(): Revision {
    return this.#membergen;
  }

  /** The records of all current configs, in bytes. */
  get configBytes(): number {
    return this.#configBytes;
  }

  /** The last that was recorded of the protection of each service: also of those that are not protected any more. */
  get protections(): Iterable<ServiceProtection> {
    return this.#protections.values();
  }

  /** The revision of the protection record of a service, readable or not. 0n: there is none. */
  protectionRevision(namespace: string, service: string): Revision {
    const key = protectionKey(namespace, service);
    return this.#unreadable.get(key) ?? this.#protections.get(key)?.modRevision ?? 0n;
  }

  /** Resolves once the first listing has been taken in. */
  whenReady(): Promise<void> {
    return this.#ready ? Promise.resolve() : new Promise((resolve) => this.#whenReady.push(resolve));
  }

  /** Throws NOT_READY before the first listing. */
  assertReady(): void {
    if (!this.#ready) throw new RollcallError('NOT_READY', 'this server has not yet read its store');
  }

  /** Resolves true once `revision` has been taken in, false after `waitMs`. */
  reached(revision: Revision, waitMs: number): Promise<boolean> {
    return this.#gate.reached(revision, waitMs);
  }

  /** True: `revision` has been taken in. */
  has(revision: Revision): boolean {
    return revision <= this.#revision;
  }

  /** Tells `listener` of every change of an instance record. */
  onInstance(listener: InstanceListener): void {
    this.#instanceListeners.add(listener);
  }

  /** Tells `listener` of every change of the protection of a service. */
  onProtection(listener: ProtectionListener): void {
    this.#protectionListeners.add(listener);
  }

  /** Tells `listener` whenever a revision has been taken in. */
  onRevision(listener: () => void): void {
    this.#revisionListeners.add(listener);
  }

  /**
   * The keys whose item here is not what a listing at a revision shows, given by the revision of each key's last write.
   * What was written since, cannot be read, or was deleted by somebody else is no difference.
   */
  differences(revision: Revision, listed: ReadonlyMap<string, Revision>): string[] {
    const different: string[] = [];
    for (const [key, modRevision] of listed) {
      if (!isHeld(key) || this.#unreadable.has(key)) continue;
      const item = this.#find(key);
      if (!item || item.modRevision < modRevision) different.push(key);
    }
    const held = [...this.instances.all(), ...this.configs.all(), ...this.#protections.values()];
    for (const { key, modRevision } of held) {
      const isOurs = modRevision <= revision && !this.#deletedByOthers.has(key);
      if (isOurs && listed.get(key) !== modRevision) different.push(key);
    }
    return [...new Set(different)];
  }

  /** Tells `listener` of every change of a member key: what stood there, and what stands there now. */
  onMember(listener: MemberListener): void {
    this.#memberListeners.add(listener);
  }

  /** Tells `listener` whenever everything was listed again: what happened in between was seen as one change. */
  onRelist(listener: () => void): void {
    this.#relistListeners.add(listener);
  }

  /** What stands here although somebody else deleted it from the store. */
  deletedByOthers(): (InstanceItem | ConfigItem | ServiceProtection | Entry)[] {
    return [...this.#deletedByOthers].flatMap((key) => this.#facts.get(key) ?? this.#find(key) ?? []);
  }

  /** Tells `listener` whenever everything has been forgotten, to be read again; in the same history or in another. */
  onReset(listener: (isSameHistory: boolean) => void): void {
    this.#resetListeners.add(listener);
  }

  /** Forgets everything, as before the first listing. */
  reset(isSameHistory: boolean): void {
    this.#ready = false;
    this.#revision = 0n;
    this.#horizon = 0n;
    this.#epoch = '';
    this.#membergen = 0n;
    this.#missedUpTo = 0n;
    this.#configBytes = 0;
    this.#facts.clear();
    this.#gate.advance(0n);
    for (const key of [...this.#unreadable.keys(), ...this.#deletedByOthers]) this.#settled(key);
    for (const item of [...this.instances.all()]) this.#forgetInstance(item);
    for (const item of [...this.configs.all()]) this.configs.forget(item);
    for (const protection of [...this.#protections.values()]) this.#forgetProtection(protection);
    for (const id of [...this.#members.keys()]) this.#memberGone(id);
    for (const listener of this.#resetListeners) listener(isSameHistory);
  }

  /** Takes in a whole listing: what differs from what is held becomes a change. */
  replace(revision: Revision, entries: readonly Entry[]): void {
    assert(revision >= this.#revision, `listing at ${revision} is older than the catalog at ${this.#revision}`);
    // Removals that this catalog never saw have been forgotten meanwhile: what is missing may be missing by right.
    if (this.#ready && horizonOf(entries) > this.#revision) this.reset(true);
    const keys = new Set<string>();
    const changed: Entry[] = [];
    for (const entry of entries) {
      keys.add(entry.key);
      if (entry.modRevision > this.#revision || !this.#ready) changed.push(entry);
    }
    changed.sort((a, b) => (a.modRevision < b.modRevision ? -1 : a.modRevision > b.modRevision ? 1 : 0));
    this.#putAll(changed, true);
    for (const item of [...this.instances.all(), ...this.configs.all(), ...this.#protections.values()])
      if (!keys.has(item.key)) this.#delete(item.key, item);
    for (const { id } of [...this.#members.values()]) if (!keys.has(memberKey(id))) this.#memberGone(id);
    for (const key of this.#facts.keys()) if (!keys.has(key)) this.#factGone(key);
    for (const key of [...this.#unreadable.keys()]) if (!keys.has(key)) this.#settled(key);
    const again = this.#ready;
    this.#ready = true;
    this.#advance(revision);
    if (again) for (const listener of this.#relistListeners) listener();
    for (const resolve of this.#whenReady.splice(0)) resolve();
  }

  /** Takes in the changes of one revision. */
  apply(batch: RevisionBatch): void {
    assert(batch.revision > this.#revision, `revision ${batch.revision} after ${this.#revision}`);
    // The horizon first: it says which deletions of the same revision are ours.
    this.#putAll(
      batch.changes.flatMap((change) => (change.kind === 'put' ? [change.entry] : [])),
      false,
    );
    for (const change of batch.changes) if (change.kind === 'delete') this.#deleted(change);
    this.#advance(batch.revision);
  }

  #advance(revision: Revision): void {
    this.#revision = revision;
    this.instances.notify();
    this.configs.notify();
    this.#gate.advance(revision);
    for (const listener of this.#revisionListeners) listener();
  }

  /** Puts entries in by the revision of their visible change, which is the order that cursors walk. */
  #putAll(entries: readonly Entry[], fromListing: boolean): void {
    const instances: InstanceItem[] = [];
    const configs: ConfigItem[] = [];
    const protections: ServiceProtection[] = [];
    for (const entry of entries) {
      this.#settled(entry.key);
      try {
        if (entry.key.startsWith(INSTANCES)) instances.push(readInstance(entry.key, entry.value, entry.modRevision));
        else if (entry.key.startsWith(CONFIGS)) configs.push(readConfig(entry.key, entry.value, entry.modRevision));
        else if (entry.key.startsWith(PROTECTIONS))
          protections.push(readProtection(entry.key, entry.value, entry.modRevision));
        else this.#putOther(entry);
      } catch (error) {
        if (!(error instanceof BadRecord)) throw error;
        this.telemetry.counters.add('bad_records');
        this.#unreadable.set(entry.key, entry.modRevision);
        this.telemetry.alarms.raise('BAD_RECORD', error.message);
      }
    }
    this.#putInstances(instances, protections, fromListing);
    for (const item of sortByRevision(configs)) this.#putConfig(item);
  }

  /** An instance lies where its own last change, or that of its service's protection, has put it: whichever is newer. */
  #putInstances(
    written: readonly InstanceItem[],
    protections: readonly ServiceProtection[],
    fromListing: boolean,
  ): void {
    const changed = protections.filter((protection) => this.#putProtection(protection));
    const touched = new Set(written.map(({ key }) => key));
    const moved = changed.flatMap(({ namespace, service }) =>
      [...this.instances.scope(namespace, service)!.live()].filter(({ key, ailing }) => ailing && !touched.has(key)),
    );
    const items = [...written, ...moved].map((item) =>
      underProtection(item, this.instances.scope(item.namespace, item.scope)?.protection),
    );
    for (const one of sortByRevision<InstanceItem | ServiceProtection>([...items, ...changed])) {
      if ('service' in one) this.instances.touch(one.namespace, one.service, one.revision);
      else this.#putInstance(one, touched.has(one.key), fromListing);
    }
  }

  /** An instance that its service's protection has moved is no other record: nobody is told. */
  #putInstance(item: InstanceItem, written: boolean, fromListing: boolean): void {
    const change = this.instances.put(item);
    if (written) for (const listener of this.#instanceListeners) listener(change, fromListing);
  }

  /** True: the protection has begun or ended. */
  #putProtection(protection: ServiceProtection): boolean {
    const { key, namespace, service, revision } = protection;
    const before = this.#protections.get(key);
    this.#protections.set(key, protection);
    this.instances.protect(namespace, service, protection);
    for (const listener of this.#protectionListeners) listener(protection);
    return revision > (before?.revision ?? 0n);
  }

  #putConfig(item: ConfigItem): void {
    const { before, after } = this.configs.put(item);
    this.#configBytes += (after?.bytes ?? 0) - (before?.bytes ?? 0);
  }

  #putOther(entry: Entry): void {
    if (FACTS.includes(entry.key)) this.#facts.set(entry.key, entry);
    if (entry.key === EPOCH_KEY) this.#epoch = decode(entry.key, entry.value, EpochRecord).epoch;
    if (entry.key === MEMBERGEN_KEY) this.#membergen = entry.modRevision;
    if (entry.key.startsWith(MEMBERS)) this.#putMember(entry);
    if (entry.key === HORIZON_KEY) this.#horizon = decode(entry.key, entry.value, HorizonRecord).revision;
  }

  /** A key was written anew: whatever was wrong with it is over. */
  #settled(key: string): void {
    if (this.#unreadable.delete(key) && this.#unreadable.size === 0) this.telemetry.alarms.clear('BAD_RECORD');
    if (this.#deletedByOthers.delete(key) && this.#deletedByOthers.size === 0)
      this.telemetry.alarms.clear('FOREIGN_DELETE');
  }

  #deleted({ key }: Extract<Change, { kind: 'delete' }>): void {
    if (this.#unreadable.has(key)) this.#settled(key);
    if (key.startsWith(MEMBERS)) return this.#memberGone(key.slice(MEMBERS.length));
    if (this.#facts.has(key)) return this.#factGone(key);
    const item = this.#find(key);
    if (item) this.#delete(key, item);
  }

  #find(key: string): InstanceItem | ConfigItem | ServiceProtection | undefined {
    if (key.startsWith(PROTECTIONS)) return this.#protections.get(key);
    const { namespace, scope, name } = parseKey(key) ?? { namespace: '', scope: '', name: '' };
    const kept: Pick<Collection<InstanceItem | ConfigItem>, 'get'> = key.startsWith(INSTANCES)
      ? this.instances
      : this.configs;
    return kept.get(namespace, scope, name);
  }

  #putMember(entry: Entry): void {
    const { id } = decode(entry.key, entry.value, MemberRecord);
    const before = this.#members.get(id);
    const after = readMember(entry);
    this.#members.set(id, after);
    for (const listener of this.#memberListeners) listener(before, after);
  }

  #memberGone(id: string): void {
    const before = this.#members.get(id);
    if (!before) return;
    this.#members.delete(id);
    for (const listener of this.#memberListeners) listener(before, undefined);
  }

  /** Nothing of ours deletes these. Until it is written back, verdicts compare that there is no such key. */
  #factGone(key: string): void {
    if (key === MEMBERGEN_KEY) this.#membergen = 0n;
    this.#deletedByOther(key);
  }

  #deletedByOther(key: string): void {
    this.telemetry.counters.add('foreign_deletes');
    this.#deletedByOthers.add(key);
    this.telemetry.alarms.raise('FOREIGN_DELETE', `${key} was deleted from the store by somebody else`);
  }

  /**
   * Only removals up to the horizon are forgotten, and what was recorded of a service that is gone; any other deletion
   * was not ours, and is not believed.
   */
  #delete(key: string, item: InstanceItem | ConfigItem | ServiceProtection): void {
    const standing = 'service' in item ? item.record.active : item.removedAtMs === undefined;
    if (standing || item.modRevision > this.#horizon) {
      this.#deletedByOther(key);
      return;
    }
    if ('service' in item) this.#forgetProtection(item);
    else if ('instance' in item) this.#forgetInstance(item);
    else this.configs.forget(item);
  }

  #forgetProtection({ key, namespace, service }: ServiceProtection): void {
    this.#protections.delete(key);
    this.instances.protect(namespace, service, undefined);
  }

  #forgetInstance(item: InstanceItem): void {
    const change = this.instances.forget(item);
    for (const listener of this.#instanceListeners) listener(change, false);
  }
}

/** True: a key of which the catalog holds the item. */
function isHeld(key: string): boolean {
  return [INSTANCES, CONFIGS, PROTECTIONS].some((prefix) => key.startsWith(prefix));
}

function horizonOf(entries: readonly Entry[]): Revision {
  const entry = entries.find(({ key }) => key === HORIZON_KEY);
  return entry ? decode(entry.key, entry.value, HorizonRecord).revision : 0n;
}

function sortByRevision<T extends { readonly revision: Revision }>(items: T[]): T[] {
  return items.sort((a, b) => (a.revision < b.revision ? -1 : a.revision > b.revision ? 1 : 0));
}
