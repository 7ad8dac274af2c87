import { ConfigRecord, InstanceRecord, MemberRecord, ProtectionRecord } from '../gen/rollcall/storage/v1/records.js';
import type { Config } from '../gen/rollcall/v1/config.js';
import { type Instance, Liveness, type RemovalReason, ReportedState } from '../gen/rollcall/v1/instance.js';
import { foldHealth, isAiling } from './health.js';
import { configKey, instanceKey, memberKey, parseProtectionKey } from './keys.js';
import { TTL_MS } from './limits.js';
import { fromDuration, fromTimestamp } from './time.js';

/** What every item of the catalog has. Items are immutable: a change makes a new one. */
export interface Item {
  /** The key in the store. */
  readonly key: string;
  readonly namespace: string;
  /** The service of an instance, the group of a config. */
  readonly scope: string;
  /** The id of an instance, the key of a config. */
  readonly name: string;
  /** The revision of the last visible change, of the item or of what decides whether it is shown: cursors go by it. */
  readonly revision: bigint;
  /** The revision of the last write: what compares use. */
  readonly modRevision: bigint;
  /** Wall-clock time of the removal, in milliseconds. Undefined: the item exists. */
  readonly removedAtMs: number | undefined;
}

/** An instance as the catalog holds it. */
export interface InstanceItem extends Item {
  readonly record: InstanceRecord;
  /** The instance as users see it. Its own `revision` is that of its own last visible change. */
  readonly instance: Instance;
  readonly ttlMs: number;
  /** True: somebody must beat for it. */
  readonly beating: boolean;
  readonly removalReason: RemovalReason | undefined;
  /** True: registered, and UNHEALTHY in a way that protection counts. */
  readonly ailing: boolean;
  /** True: ailing in a protected service, and so shown by default. */
  readonly sheltered: boolean;
}

/** The protection of a service, as the catalog holds it. */
export interface ServiceProtection {
  /** The key in the store. */
  readonly key: string;
  readonly namespace: string;
  readonly service: string;
  /** The revision at which it began or ended: a change of every ailing instance of the service. */
  readonly revision: bigint;
  /** The revision of the last write: what compares use. */
  readonly modRevision: bigint;
  readonly record: ProtectionRecord;
}

/** A config as the catalog holds it. A deleted one is a removed item. */
export interface ConfigItem extends Item {
  readonly config: Config;
  /** The bytes of its record, held in memory. */
  readonly bytes: number;
}

/** A live member as the catalog holds it. */
export interface MemberItem {
  readonly id: string;
  /** The revision at which its key was created. */
  readonly epoch: bigint;
  readonly modRevision: bigint;
  readonly record: MemberRecord;
}

/** A stored value that is not the record it should be. */
export class BadRecord extends Error {
  override readonly name = 'BadRecord';
}

/** What a record reports, the default filled. */
export function reportedState(instance: Instance): ReportedState {
  return instance.reported?.state || ReportedState.REPORTED_STATE_HEALTHY;
}

/** Reads what stands at an instance key. Throws BadRecord. */
export function readInstance(key: string, value: Uint8Array, modRevision: bigint): InstanceItem {
  const record = decode(key, value, InstanceRecord);
  const stored = record.instance;
  if (!stored || instanceKey(stored.namespace, stored.service, stored.id) !== key) {
    throw new BadRecord(`${key} does not hold the instance it names`);
  }
  return instanceItem(key, record, modRevision);
}

/** The item that a record makes at a key, once it is written at a revision. */
export function instanceItem(key: string, record: InstanceRecord, modRevision: bigint): InstanceItem {
  const stored = record.instance!;
  const revision = record.visibleRevision || modRevision;
  const facts = { silent: record.silent, reported: reportedState(stored) };
  const { health, reason } = foldHealth(facts);
  return {
    key,
    namespace: stored.namespace,
    scope: stored.service,
    name: stored.id,
    revision,
    modRevision,
    removedAtMs: record.tombstone ? fromTimestamp(record.tombstone.time ?? { seconds: 0n, nanos: 0 }) : undefined,
    record,
    instance: { ...stored, health, healthReason: reason, revision },
    ttlMs: stored.ttl ? fromDuration(stored.ttl) : TTL_MS.default,
    beating: stored.liveness !== Liveness.LIVENESS_STATIC,
    removalReason: record.tombstone?.reason,
    ailing: !record.tombstone && isAiling(facts),
    sheltered: false,
  };
}

/**
 * An instance as it stands in a service with this protection. What began or ended after the last visible change of an
 * ailing instance is a change of it: its health has been the same ever since, so that every replica comes to the
 * same revision, whether it has seen the change or finds it in a listing.
 */
export function underProtection(item: InstanceItem, protection: ServiceProtection | undefined): InstanceItem {
  if (!item.ailing || !protection) return item;
  const revision = protection.revision > item.revision ? protection.revision : item.revision;
  return { ...item, revision, sheltered: protection.record.active };
}

/** Reads what stands at a protection key. Throws BadRecord. */
export function readProtection(key: string, value: Uint8Array, modRevision: bigint): ServiceProtection {
  const names = parseProtectionKey(key);
  if (!names) throw new BadRecord(`${key} names no service`);
  const record = decode(key, value, ProtectionRecord);
  return { key, ...names, revision: record.visibleRevision || modRevision, modRevision, record };
}

/** Reads what stands at a member key. Throws BadRecord. */
export function readMember({ key, value, modRevision, createRevision }: StoredEntry): MemberItem {
  const record = decode(key, value, MemberRecord);
  if (memberKey(record.id) !== key) throw new BadRecord(`${key} does not hold the member it names`);
  return { id: record.id, epoch: createRevision, modRevision, record };
}

interface StoredEntry {
  readonly key: string;
  readonly value: Uint8Array;
  readonly modRevision: bigint;
  readonly createRevision: bigint;
}

/** Reads what stands at a config key, or at the key of a version. Throws BadRecord. */
export function readConfig(key: string, value: Uint8Array, modRevision: bigint): ConfigItem {
  const stored = decode(key, value, ConfigRecord).config;
  if (!stored) throw new BadRecord(`${key} holds no config`);
  return {
    key: configKey(stored.namespace, stored.group, stored.key),
    namespace: stored.namespace,
    scope: stored.group,
    name: stored.key,
    revision: modRevision,
    modRevision,
    removedAtMs: stored.deleted ? fromTimestamp(stored.publishTime ?? { seconds: 0n, nanos: 0 }) : undefined,
    config: { ...stored, revision: modRevision },
    bytes: value.length,
  };
}

/** The bytes of an instance record. What follows from the record is not stored. */
export function writeInstance(record: InstanceRecord): Uint8Array {
  const { instance } = record;
  const stored = instance && { ...instance, health: 0, healthReason: 0, revision: 0n };
  return InstanceRecord.encode({ ...record, instance: stored }).finish();
}

/** The bytes of a protection record. */
export function writeProtection(record: ProtectionRecord): Uint8Array {
  return ProtectionRecord.encode(record).finish();
}

/** The bytes of a config record. The revision is not stored. */
export function writeConfig(writeId: string, config: Config): Uint8Array {
  return ConfigRecord.encode({ writeId, config: { ...config, revision: 0n } }).finish();
}

/** What `read` reads. Undefined: the record cannot be read. */
export function ifReadable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof BadRecord) return undefined;
    throw error;
  }
}

/** Decodes a record; any failure is a BadRecord that names the key. */
export function decode<T>(key: string, value: Uint8Array, message: { decode(bytes: Uint8Array): T }): T {
  try {
    return message.decode(value);
  } catch (cause) {
    throw new BadRecord(`${key} does not decode`, { cause });
  }
}
