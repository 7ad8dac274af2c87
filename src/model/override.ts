import { OverrideRecord } from '../gen/rollcall/storage/v1/records.js';
import { ActorKind } from '../gen/rollcall/v1/cause.js';
import { type InstanceOverride, OverrideEnd, type OverrideState } from '../gen/rollcall/v1/override.js';
import { callerAs, serverActor, type Signature } from './actor.js';
import { assertNotAhead, BadRecord, decode, type Item, type Stamp, type StoredEntry } from './item.js';
import { parseKey, WATCHED_ROOT } from './keys.js';
import { fromTimestamp, toTimestamp } from './time.js';

/** The prefix of the key of every override. */
export const OVERRIDES = `${WATCHED_ROOT}o/`;

/** The override of an instance, as the catalog holds it. One that has ended is a removed item. */
export interface OverrideItem extends Item {
  /** The revision at which it was set or ended. That is a visible change of the instance. */
  readonly revision: bigint;
  readonly record: OverrideRecord;
  /** Wall-clock milliseconds at which it ends by itself. `undefined`: never, or it has ended. */
  readonly expiresAtMs: number | undefined;
}

export function overrideKey(namespace: string, service: string, id: string): string {
  return `${OVERRIDES}${namespace}/${service}/${id}`;
}

/** Reads the record at an override key. Throws BadRecord. */
export function readOverride({ key, value, modRevision }: Omit<StoredEntry, 'createRevision'>): OverrideItem {
  const names = parseKey(OVERRIDES, key);
  if (!names) throw new BadRecord(`${key} names no instance`);
  const record = decode(key, value, OverrideRecord);
  assertNotAhead(key, record.visibleRevision, modRevision);
  const hasEnded = record.end !== OverrideEnd.OVERRIDE_END_UNSPECIFIED;
  return {
    key,
    ...names,
    revision: record.visibleRevision || modRevision,
    modRevision,
    removedAtMs: hasEnded ? fromTimestamp(record.endTime ?? NEVER) : undefined,
    bytes: value.length,
    record,
    expiresAtMs: hasEnded || !record.expireTime ? undefined : fromTimestamp(record.expireTime),
  };
}

const NEVER = { seconds: 0n, nanos: 0 };

/** The bytes of an override record. */
export function writeOverride(record: OverrideRecord): Uint8Array {
  return OverrideRecord.encode(record).finish();
}

/** The decision of an operator about an instance. */
export interface Decision {
  readonly state: OverrideState;
  readonly weight: number | undefined;
  /** The incarnation that it is bound to. Empty: it is bound to the id. */
  readonly incarnation: string;
  /** `undefined`: it does not end by itself. */
  readonly expireAfterMs: number | undefined;
}

/** The record of an override that is set. */
export function overrideSet(decision: Decision, signature: Signature, stamp: Stamp): OverrideRecord {
  const { state, weight, incarnation, expireAfterMs } = decision;
  return {
    ...{ writeId: stamp.writeId, state, weight, incarnation, comment: signature.comment },
    actor: callerAs(ActorKind.ACTOR_KIND_OPERATOR, signature, stamp),
    setTime: toTimestamp(stamp.wallMs),
    expireTime: expireAfterMs === undefined ? undefined : toTimestamp(stamp.wallMs + expireAfterMs),
    visibleRevision: 0n,
    end: OverrideEnd.OVERRIDE_END_UNSPECIFIED,
    endTime: undefined,
  };
}

/** The record of an override that ends. `cleared`: the operator who ends it; `undefined` if it ends by itself. */
export function overrideEnded(
  { record }: OverrideItem,
  end: OverrideEnd,
  cleared: Signature | undefined,
  stamp: Stamp,
): OverrideRecord {
  return {
    ...record,
    writeId: stamp.writeId,
    comment: cleared?.comment ?? '',
    actor: cleared ? callerAs(ActorKind.ACTOR_KIND_OPERATOR, cleared, stamp) : serverActor(stamp),
    visibleRevision: 0n,
    end,
    endTime: toTimestamp(stamp.wallMs),
  };
}

/** The same record with a new write id: the mod revision moves, and users see no change. */
export function overrideTouched({ record, revision }: OverrideItem, { writeId }: Stamp): OverrideRecord {
  return { ...record, writeId, visibleRevision: revision };
}

/** Returns true if an override is in force for an incarnation. */
export function isInForce({ removedAtMs, record }: OverrideItem, incarnation: string): boolean {
  return removedAtMs === undefined && (record.incarnation === '' || record.incarnation === incarnation);
}

/** An override as users see it. */
export function overrideOf({ namespace, scope, name, revision, record }: OverrideItem): InstanceOverride {
  const { state, weight, incarnation, comment, actor, setTime, expireTime } = record;
  return {
    ...{ namespace, service: scope, id: name, state, weight, incarnation },
    ...{ comment, actor, setTime, expireTime, revision },
  };
}
