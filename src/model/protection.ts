import { maxOf } from '../base/max.js';
import { ProtectionRecord } from '../gen/rollcall/storage/v1/records.js';
import { ActorKind } from '../gen/rollcall/v1/cause.js';
import { callerAs, serverActor, type Signature } from './actor.js';
import { fallsOf, type InstanceItem, isIll } from './instance.js';
import { assertNotAhead, BadRecord, decode, type Item, type Stamp, type StoredEntry } from './item.js';
import { parseServiceKey, WATCHED_ROOT } from './keys.js';
import { fromTimestamp, toTimestamp } from './time.js';

/** The prefix of the key of the protection of every service that was ever protected. */
export const PROTECTIONS = `${WATCHED_ROOT}p/`;

/** The protection of a service, as the catalog holds it. An ended protection is a removed item. */
export interface ProtectionItem extends Item {
  /** The revision at which the protection began or ended. That is a visible change of each ill instance. */
  readonly revision: bigint;
  readonly record: ProtectionRecord;
}

export function protectionKey(namespace: string, service: string): string {
  return `${PROTECTIONS}${namespace}/${service}`;
}

/** Reads the record at a protection key. Throws BadRecord. */
export function readProtection({ key, value, modRevision }: Omit<StoredEntry, 'createRevision'>): ProtectionItem {
  const names = parseServiceKey(PROTECTIONS, key);
  if (!names) throw new BadRecord(`${key} names no service`);
  const record = decode(key, value, ProtectionRecord);
  assertNotAhead(key, record.visibleRevision, modRevision);
  return {
    key,
    ...names,
    revision: record.visibleRevision || modRevision,
    modRevision,
    removedAtMs: record.active ? undefined : fromTimestamp(record.time ?? { seconds: 0n, nanos: 0 }),
    bytes: value.length,
    record,
  };
}

/** The bytes of a protection record. */
export function writeProtection(record: ProtectionRecord): Uint8Array {
  return ProtectionRecord.encode(record).finish();
}

/**
 * Returns true if the instance is a member of the event that the protection is about: it was seasoned when it fell silent or
 * its check failed, that was in the event or later, and no operator has set it aside.
 */
function isMember(item: InstanceItem, { active, fromRevision }: ProtectionRecord): boolean {
  if (!active || item.isSetAside) return false;
  return fallsOf(item).some(({ seasoned, revision }) => seasoned && revision >= fromRevision);
}

/**
 * An instance under the protection of its service. Protection that begins or ends after an instance fell ill counts
 * as a visible change of that instance, whether it is a member or not. The instance has been ill since, so every
 * replica derives the same revision, whether it watched the change or lists it, and whatever protection came before.
 */
export function underProtection(item: InstanceItem, protection: ProtectionItem | undefined): InstanceItem {
  if (!protection || !isIll(item)) return item;
  const { revision, record } = protection;
  return { ...item, revision: maxOf(revision, item.revision), shownByProtection: isMember(item, record) };
}

/** An event that a service is protected from. */
export interface ProtectedEvent {
  /** The revision at which the first of its members fell silent. */
  readonly fromRevision: bigint;
  /** The number of instances that were up before. */
  readonly before: number;
}

/** The record of a protection that begins. */
export function protectionBegun({ fromRevision, before }: ProtectedEvent, stamp: Stamp): ProtectionRecord {
  const { writeId, wallMs } = stamp;
  return {
    ...{ writeId, active: true, time: toTimestamp(wallMs), visibleRevision: 0n, fromRevision, before },
    ...{ releaseComment: '', actor: serverActor(stamp) },
  };
}

/** The record of a protection that ends. `released`: the operator who ends it; `undefined` if it ends by itself. */
export function protectionEnded(released: Signature | undefined, stamp: Stamp): ProtectionRecord {
  const { writeId, wallMs } = stamp;
  return {
    ...{ writeId, active: false, time: toTimestamp(wallMs), visibleRevision: 0n, fromRevision: 0n, before: 0 },
    releaseComment: released?.comment ?? '',
    actor: released ? callerAs(ActorKind.ACTOR_KIND_OPERATOR, released, stamp) : serverActor(stamp),
  };
}

/** The same record with a new write id: the mod revision moves, and users see no change. */
export function protectionTouched({ record, revision }: ProtectionItem, { writeId }: Stamp): ProtectionRecord {
  return { ...record, writeId, visibleRevision: revision };
}

/** Returns true if an operator ended the protection. */
export function wasReleased({ active, actor }: ProtectionRecord): boolean {
  return !active && actor?.kind === ActorKind.ACTOR_KIND_OPERATOR;
}
