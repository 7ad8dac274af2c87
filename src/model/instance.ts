import { InstanceRecord, type Tombstone } from '../gen/rollcall/storage/v1/records.js';
import { Instance, Liveness, RemovalReason, type Reported, ReportedState } from '../gen/rollcall/v1/instance.js';
import type { Actor, Cause } from '../gen/rollcall/v1/cause.js';
import { OverrideState } from '../gen/rollcall/v1/override.js';
import { maxOf } from '../base/max.js';
import { serverActor } from './actor.js';
import { foldHealth, VISIBLE_BY_DEFAULT } from './health.js';
import { assertNotAhead, BadRecord, decode, type Item, type Stamp, type StoredEntry } from './item.js';
import { isInForce, type OverrideItem } from './override.js';
import { type KeyNames, parseKey, WATCHED_ROOT } from './keys.js';
import { TTL_MS } from './limits.js';
import { fromDuration, fromTimestamp, toTimestamp } from './time.js';

/** The prefix of the key of every instance. */
export const INSTANCES = `${WATCHED_ROOT}i/`;

/** An instance as the catalog holds it. */
export interface InstanceItem extends Item {
  readonly record: InstanceRecord;
  /** The instance as users see it. Its `revision` ignores protection, and its `registrationRevision` overrides too. */
  readonly instance: Instance;
  readonly ttlMs: number;
  /** True if a client must send heartbeats for it. */
  readonly expectsHeartbeats: boolean;
  readonly removalReason: RemovalReason | undefined;
  /** True if it is registered, and no verdict, check, report or override hides it by default. */
  readonly isUp: boolean;
  /** True if an operator disables or drains it: it then counts neither as fallen nor as up. */
  readonly isSetAside: boolean;
  /** True if it is a member of the event that its service is protected from, and therefore shown by default. */
  readonly shownByProtection: boolean;
}

export function instanceKey(namespace: string, service: string, id: string): string {
  return `${INSTANCES}${namespace}/${service}/${id}`;
}

/** The names in an instance key. `undefined` if the key is not an instance key. */
export function parseInstanceKey(key: string): KeyNames | undefined {
  return parseKey(INSTANCES, key);
}

/** The state that a process reports. The default is HEALTHY. */
export function reportedState(instance: Instance): ReportedState {
  return instance.reported?.state || ReportedState.REPORTED_STATE_HEALTHY;
}

/** Reads the record at an instance key. Throws BadRecord. */
export function readInstance({ key, value, modRevision }: Omit<StoredEntry, 'createRevision'>): InstanceItem {
  const record = decode(key, value, InstanceRecord);
  const stored = record.instance;
  if (!stored || instanceKey(stored.namespace, stored.service, stored.id) !== key) {
    throw new BadRecord(`${key} does not hold the instance it names`);
  }
  assertNotAhead(key, record.visibleRevision, modRevision);
  return instanceItem(key, record, modRevision, value.length);
}

/** The item that a record becomes once it is written at a revision. */
export function instanceItem(key: string, record: InstanceRecord, modRevision: bigint, bytes: number): InstanceItem {
  const stored = record.instance!;
  const revision = record.visibleRevision || modRevision;
  const facts = { silent: record.silent, reported: reportedState(stored), override: NO_OVERRIDE };
  const { health, reason } = foldHealth(facts);
  return {
    key,
    namespace: stored.namespace,
    scope: stored.service,
    name: stored.id,
    revision,
    modRevision,
    removedAtMs: record.tombstone ? fromTimestamp(record.tombstone.time ?? { seconds: 0n, nanos: 0 }) : undefined,
    bytes,
    record,
    instance: { ...stored, health, healthReason: reason, revision, registrationRevision: revision },
    ttlMs: stored.ttl ? fromDuration(stored.ttl) : TTL_MS.default,
    expectsHeartbeats: stored.liveness !== Liveness.LIVENESS_STATIC,
    removalReason: record.tombstone?.reason,
    isUp: !record.tombstone && VISIBLE_BY_DEFAULT.includes(health),
    isSetAside: false,
    shownByProtection: false,
  };
}

const NO_OVERRIDE = OverrideState.OVERRIDE_STATE_UNSPECIFIED;

/**
 * An instance under its override. An override that is set or ends is a visible change of the instance, and every replica
 * derives the same revision, whether it watched the change or lists it. Under another incarnation
 * than that of the override it changes nothing else.
 */
export function underOverride(item: InstanceItem, override: OverrideItem | undefined): InstanceItem {
  if (!override || item.removedAtMs !== undefined) return item;
  const stored = item.record.instance!;
  const inForce = isInForce(override, stored.incarnation);
  const { state, weight } = inForce ? override.record : { state: NO_OVERRIDE, weight: undefined };
  const facts = { silent: item.record.silent, reported: reportedState(stored), override: state };
  const { health, reason } = foldHealth(facts);
  const { registrationRevision } = item.instance;
  const revision = maxOf(registrationRevision, override.revision);
  const { setTime, endTime } = override.record;
  const changeTime = override.revision > registrationRevision ? (endTime ?? setTime) : stored.changeTime;
  return {
    ...item,
    revision,
    instance: {
      ...stored,
      ...{ weight: weight ?? stored.weight, health, healthReason: reason, revision, registrationRevision, changeTime },
    },
    isUp: VISIBLE_BY_DEFAULT.includes(health),
    isSetAside: state !== NO_OVERRIDE,
    shownByProtection: false,
  };
}

/** The bytes of an instance record. Fields that can be computed from the record are not stored. */
export function writeInstance(record: InstanceRecord): Uint8Array {
  const { instance } = record;
  const stored = instance && { ...instance, health: 0, healthReason: 0, revision: 0n, registrationRevision: 0n };
  return InstanceRecord.encode({ ...record, instance: stored }).finish();
}

/** The record of a new registration. `incarnationGiven`: a client gave the incarnation. */
export function registered(
  instance: Instance,
  incarnationGiven: boolean,
  registeredBy: Actor,
  { writeId, wallMs }: Stamp,
): InstanceRecord {
  return {
    writeId,
    instance: { ...instance, changeTime: toTimestamp(wallMs) },
    silent: false,
    visibleRevision: 0n,
    tombstone: undefined,
    incarnationGiven,
    seasoned: false,
    registeredBy,
    cause: undefined,
  };
}

/** The same record with a new write id: the mod revision moves, and users see no change. */
export function touched({ record, instance }: InstanceItem, { writeId }: Stamp): InstanceRecord {
  return { ...record, writeId, visibleRevision: instance.registrationRevision };
}

/** The record after a heartbeat that changes it: not silent, and with the state that the process reports now. */
export function heard(
  { record }: InstanceItem,
  reported: Reported | undefined,
  { writeId, wallMs }: Stamp,
): InstanceRecord {
  const before = record.instance!;
  const instance = { ...before, reported: reported ?? before.reported, changeTime: toTimestamp(wallMs) };
  return { ...record, writeId, instance, silent: false, seasoned: false, cause: undefined, visibleRevision: 0n };
}

/** The record after a verdict. `seasoned`: see InstanceRecord. */
export function silenced(
  { record }: InstanceItem,
  seasoned: boolean,
  cause: Cause,
  { writeId, wallMs }: Stamp,
): InstanceRecord {
  const instance = { ...record.instance!, changeTime: toTimestamp(wallMs) };
  return { ...record, writeId, instance, silent: true, seasoned, cause, visibleRevision: 0n };
}

/** The tombstone of an instance that stayed silent. Its process may come back, and then its last report still counts. */
export function expired(item: InstanceItem, stamp: Stamp): InstanceRecord {
  const { reported } = item.record.instance!;
  const removal = { reason: RemovalReason.REMOVAL_REASON_EXPIRED, actor: serverActor(stamp), comment: '' };
  return { ...tombstone(item, reported, removal, stamp), cause: item.record.cause };
}

/** The tombstone of an instance that was deregistered. */
export function deregistered(item: InstanceItem, actor: Actor, comment: string, stamp: Stamp): InstanceRecord {
  return tombstone(item, undefined, { reason: RemovalReason.REMOVAL_REASON_DEREGISTERED, actor, comment }, stamp);
}

function tombstone(
  { record }: InstanceItem,
  reported: Reported | undefined,
  removal: Omit<Tombstone, 'time'>,
  { writeId, wallMs }: Stamp,
): InstanceRecord {
  const { namespace, service, id, incarnation } = record.instance!;
  return {
    writeId,
    instance: Instance.fromPartial({ namespace, service, id, incarnation, reported }),
    silent: false,
    visibleRevision: 0n,
    tombstone: { ...removal, time: toTimestamp(wallMs) },
    incarnationGiven: record.incarnationGiven,
    seasoned: false,
    registeredBy: record.registeredBy,
    cause: undefined,
  };
}

/** Returns true if the tombstone says that this incarnation was deregistered, by itself or by an operator. */
export function wasDeregistered(item: InstanceItem, incarnation: string | undefined): boolean {
  return (
    item.removalReason === RemovalReason.REMOVAL_REASON_DEREGISTERED &&
    item.record.instance!.incarnation === incarnation
  );
}
