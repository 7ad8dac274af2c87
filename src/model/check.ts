import { CheckRecord, ServiceChecksRecord } from '../gen/rollcall/storage/v1/records.js';
import type { Actor, Cause } from '../gen/rollcall/v1/cause.js';
import { ActorKind } from '../gen/rollcall/v1/cause.js';
import { CheckVerdict, type HealthCheck, type ServiceChecks } from '../gen/rollcall/v1/check.js';
import { callerAs, serverActor, type Signature } from './actor.js';
import { assertNotAhead, BadRecord, decode, type Item, type Stamp, type StoredEntry } from './item.js';
import { parseKey, parseServiceKey, WATCHED_ROOT } from './keys.js';
import { fromTimestamp, toTimestamp } from './time.js';

/** The prefix of the key of the verdict on the checks of every instance that has one. */
export const CHECKS = `${WATCHED_ROOT}h/`;
/** The prefix of the key of the checks that an operator has defined for a service. */
export const SERVICE_CHECKS = `${WATCHED_ROOT}s/`;

/**
 * The verdict on the checks of an instance, as the catalog holds it. It has no life of its own: as a removed item, it may be
 * collected as soon as its instance is.
 */
export interface CheckItem extends Item {
  /** The revision of the verdict. That is a visible change of the instance. */
  readonly revision: bigint;
  readonly record: CheckRecord;
}

/** The checks of a service, as the catalog holds them. A definition that has ended is a removed item. */
export interface ServiceChecksItem extends Item {
  /** The revision at which they were defined or ended. That is a visible change of every instance without checks of its own. */
  readonly revision: bigint;
  readonly record: ServiceChecksRecord;
  /** The revision at which the service got checks where it had none. */
  readonly beginRevision: bigint;
  /** For each check, the revision at which the service got one of that name. */
  readonly checkRevisions: readonly bigint[];
}

/** The checks of an instance, and the present verdict. */
export interface InstanceChecks {
  readonly definitions: readonly HealthCheck[];
  /** For each of them, the revision since which one of its name counts for the instance. */
  readonly since: readonly bigint[];
  /** True if they are those of the service. */
  readonly ofService: boolean;
  readonly verdict: CheckVerdict;
  /** The record of the verdict. `undefined` if no verdict was needed yet. */
  readonly item: CheckItem | undefined;
}

/** The state of an instance without checks. */
export const NO_CHECKS: InstanceChecks = {
  definitions: [],
  since: [],
  ofService: false,
  verdict: CheckVerdict.CHECK_VERDICT_UNSPECIFIED,
  item: undefined,
};

export function checkKey(namespace: string, service: string, id: string): string {
  return `${CHECKS}${namespace}/${service}/${id}`;
}

export function serviceChecksKey(namespace: string, service: string): string {
  return `${SERVICE_CHECKS}${namespace}/${service}`;
}

/** Reads the verdict at a key. Throws BadRecord. */
export function readCheck({ key, value, modRevision }: Omit<StoredEntry, 'createRevision'>): CheckItem {
  const names = parseKey(CHECKS, key);
  if (!names) throw new BadRecord(`${key} names no instance`);
  const record = decode(key, value, CheckRecord);
  assertNotAhead(key, record.visibleRevision, modRevision);
  return {
    key,
    ...names,
    revision: record.visibleRevision || modRevision,
    modRevision,
    removedAtMs: fromTimestamp(record.time ?? NEVER),
    bytes: value.length,
    record,
  };
}

/** Reads the checks of a service. Throws BadRecord. */
export function readServiceChecks({ key, value, modRevision }: Omit<StoredEntry, 'createRevision'>): ServiceChecksItem {
  const names = parseServiceKey(SERVICE_CHECKS, key);
  if (!names) throw new BadRecord(`${key} names no service`);
  const record = decode(key, value, ServiceChecksRecord);
  assertNotAhead(key, record.visibleRevision, modRevision);
  return {
    key,
    ...names,
    revision: record.visibleRevision || modRevision,
    modRevision,
    removedAtMs: record.checks.length === 0 ? fromTimestamp(record.time ?? NEVER) : undefined,
    bytes: value.length,
    record,
    beginRevision: record.beginRevision || modRevision,
    checkRevisions: revisionsOf(record.checks, record.checkRevisions, modRevision),
  };
}

/** For each check, the revision that a record has for it. */
export function revisionsOf(
  checks: readonly HealthCheck[],
  revisions: readonly bigint[],
  modRevision: bigint,
): readonly bigint[] {
  return checks.length === 0 ? NO_REVISIONS : checks.map((_, i) => revisions[i] || modRevision);
}

/** For each check that is defined now, the revision of the one before with its name. 0n: there was none. */
export function revisionsAfter(
  checks: readonly HealthCheck[],
  before: readonly HealthCheck[],
  revisions: readonly bigint[],
): bigint[] {
  return checks.map(({ name }) => revisions[before.findIndex((one) => one.name === name)] ?? 0n);
}

const NO_REVISIONS: readonly bigint[] = [];

const NEVER = { seconds: 0n, nanos: 0 };

/** The bytes of the record of a verdict. */
export function writeCheck(record: CheckRecord): Uint8Array {
  return CheckRecord.encode(record).finish();
}

/** The bytes of the record of the checks of a service. */
export function writeServiceChecks(record: ServiceChecksRecord): Uint8Array {
  return ServiceChecksRecord.encode(record).finish();
}

/** A verdict on the checks of one incarnation. */
export interface Verdict {
  readonly incarnation: string;
  readonly verdict: CheckVerdict;
  /** The name of the check that decided. Empty if none did. */
  readonly check: string;
  readonly error: string;
  readonly seasoned: boolean;
  readonly cause: Cause | undefined;
}

/** The record of a verdict. `comment`: why an operator released it. */
export function judgedCheck(
  verdict: Verdict,
  stamp: Stamp,
  actor: Actor = serverActor(stamp),
  comment = '',
): CheckRecord {
  const { writeId, wallMs } = stamp;
  return { ...verdict, writeId, time: toTimestamp(wallMs), visibleRevision: 0n, actor, comment };
}

/** The record of a verdict that an operator sets aside: the checks count as passing until they fail. */
export function releasedCheck(incarnation: string, signature: Signature, stamp: Stamp): CheckRecord {
  const verdict = CheckVerdict.CHECK_VERDICT_PASSING;
  const actor = callerAs(ActorKind.ACTOR_KIND_OPERATOR, signature, stamp);
  const released = { incarnation, verdict, check: '', error: '', seasoned: false, cause: undefined };
  return judgedCheck(released, stamp, actor, signature.comment);
}

/** Returns true if an operator set the verdict aside. */
export function isRelease({ record }: CheckItem): boolean {
  return record.actor?.kind === ActorKind.ACTOR_KIND_OPERATOR;
}

/** The same record with a new write id: the mod revision moves, and users see no change. */
export function checkTouched({ record, revision }: CheckItem, { writeId }: Stamp): CheckRecord {
  return { ...record, writeId, visibleRevision: revision };
}

/** The record of the checks that an operator defines for a service, or, if there are none, of their end. */
export function serviceChecksSet(
  checks: readonly HealthCheck[],
  before: ServiceChecksItem | undefined,
  signature: Signature,
  { writeId, wallMs, node }: Stamp,
): ServiceChecksRecord {
  const goesOn = before !== undefined && before.record.checks.length > 0 && checks.length > 0;
  return {
    ...{ writeId, checks: [...checks], comment: signature.comment },
    actor: callerAs(ActorKind.ACTOR_KIND_OPERATOR, signature, { writeId, wallMs, node }),
    time: toTimestamp(wallMs),
    visibleRevision: 0n,
    beginRevision: goesOn ? before.beginRevision : 0n,
    checkRevisions: revisionsAfter(checks, before?.record.checks ?? [], before?.checkRevisions ?? []),
  };
}

/** The same record with a new write id: the mod revision moves, and users see no change. */
export function serviceChecksTouched(item: ServiceChecksItem, { writeId }: Stamp): ServiceChecksRecord {
  const { record, revision: visibleRevision, beginRevision, checkRevisions } = item;
  return { ...record, writeId, visibleRevision, beginRevision, checkRevisions: [...checkRevisions] };
}

/** The checks of a service as users see them. */
export function serviceChecksOf({ namespace, scope, revision, record }: ServiceChecksItem): ServiceChecks {
  const { checks, comment, actor, time } = record;
  return { namespace, service: scope, checks, comment, actor, time, revision };
}
