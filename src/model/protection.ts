import { maxOf } from '../base/max.js';
import { ProtectionRecord } from '../gen/rollcall/storage/v1/records.js';
import type { InstanceItem } from './instance.js';
import { assertNotAhead, BadRecord, decode, type Item, type Stamp, type StoredEntry } from './item.js';
import { type KeyNames, WATCHED_ROOT } from './keys.js';
import { fromTimestamp, toTimestamp } from './time.js';

/** The prefix of the key of the protection of every service that was ever protected. */
export const PROTECTIONS = `${WATCHED_ROOT}p/`;

/** The protection of a service, as the catalog holds it. An ended protection is a removed item. */
export interface ProtectionItem extends Item {
  /** The revision at which the protection began or ended. That is a visible change of each suspect instance. */
  readonly revision: bigint;
  readonly record: ProtectionRecord;
}

export function protectionKey(namespace: string, service: string): string {
  return `${PROTECTIONS}${namespace}/${service}`;
}

/** The names in a protection key. `undefined` if the key is not a protection key. */
export function parseProtectionKey(key: string): KeyNames | undefined {
  const match = /^([^/]+)\/([^/]+)$/.exec(key.slice(PROTECTIONS.length));
  return match ? { namespace: match[1]!, scope: match[2]!, name: '' } : undefined;
}

/** Reads the record at a protection key. Throws BadRecord. */
export function readProtection({ key, value, modRevision }: Omit<StoredEntry, 'createRevision'>): ProtectionItem {
  const names = parseProtectionKey(key);
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
 * An instance under the protection of its service. Protection that begins or ends after the last visible change of a
 * suspect instance counts as a visible change of that instance. The health of the instance has been the same since, so
 * every replica derives the same revision, whether it watched the change or lists it.
 */
export function underProtection(item: InstanceItem, protection: ProtectionItem | undefined): InstanceItem {
  if (!item.suspect || !protection) return item;
  return { ...item, revision: maxOf(protection.revision, item.revision), shownByProtection: protection.record.active };
}

/** The record of a protection that begins. */
export function protectionBegun({ writeId, wallMs }: Stamp): ProtectionRecord {
  return { writeId, active: true, time: toTimestamp(wallMs), released: false, releasedBy: '', visibleRevision: 0n };
}

/** The record of a protection that ends by itself. */
export function protectionEnded({ writeId, wallMs }: Stamp): ProtectionRecord {
  return { writeId, active: false, time: toTimestamp(wallMs), released: false, releasedBy: '', visibleRevision: 0n };
}

/** The record of a protection that an operator ends. */
export function protectionReleased(author: string, { writeId, wallMs }: Stamp): ProtectionRecord {
  return { writeId, active: false, time: toTimestamp(wallMs), released: true, releasedBy: author, visibleRevision: 0n };
}

/** The same record with a new write id: the mod revision moves, and users see no change. */
export function protectionTouched({ record, revision }: ProtectionItem, { writeId }: Stamp): ProtectionRecord {
  return { ...record, writeId, visibleRevision: revision };
}

/** The record of a release that no longer applies: the service may be protected again. Users see no change. */
export function protectionRearmed(protection: ProtectionItem, stamp: Stamp): ProtectionRecord {
  return { ...protectionTouched(protection, stamp), released: false };
}
