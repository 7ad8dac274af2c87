import { InstanceRecord, type Tombstone } from '../gen/rollcall/storage/v1/records.js';
import {
  HealthReason,
  Instance,
  Liveness,
  RemovalReason,
  type Reported,
  ReportedState,
} from '../gen/rollcall/v1/instance.js';
import type { Actor, Cause } from '../gen/rollcall/v1/cause.js';
import { CheckVerdict } from '../gen/rollcall/v1/check.js';
import { OverrideState } from '../gen/rollcall/v1/override.js';
import { serverActor } from './actor.js';
import { foldHealth, VISIBLE_BY_DEFAULT } from './health.js';
import { maxOf } from '../base/max.js';
import {
  type CheckItem,
  type InstanceChecks,
  NO_CHECKS,
  revisionsAfter,
  revisionsOf,
  type ServiceChecksItem,
} from './check.js';
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
  /** The revision at which the incarnation registered. */
  readonly incarnationRevision: bigint;
  /** The revision at which the incarnation last began or ceased to have checks of its own, or registered. */
  readonly checksRevision: bigint;
  /** For each check of its own, the revision at which it got one of that name. */
  readonly checkRevisions: readonly bigint[];
  readonly checks: InstanceChecks;
  /** The override in force. */
  readonly override: OverrideInForce;
  /** True if it is registered, and no verdict, check, report or override hides it by default. */
  readonly isUp: boolean;
  /** True if an operator disables or drains it: it then counts neither as fallen nor as up. */
  readonly isSetAside: boolean;
  /** True if it is a member of the event that its service is protected from, and therefore shown by default. */
  readonly shownByProtection: boolean;
}

/** The parts of an override that affect its instance. */
export interface OverrideInForce {
  readonly state: OverrideState;
  readonly weight: number | undefined;
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
  const checkRevisions = revisionsOf(stored.checks, record.checkRevisions, modRevision);
  const item = {
    key,
    namespace: stored.namespace,
    scope: stored.service,
    name: stored.id,
    revision,
    modRevision,
    removedAtMs: record.tombstone ? fromTimestamp(record.tombstone.time ?? { seconds: 0n, nanos: 0 }) : undefined,
    bytes,
    record,
    instance: { ...stored, revision, registrationRevision: revision },
    ttlMs: stored.ttl ? fromDuration(stored.ttl) : TTL_MS.default,
    expectsHeartbeats: stored.liveness !== Liveness.LIVENESS_STATIC,
    removalReason: record.tombstone?.reason,
    incarnationRevision: record.incarnationRevision || modRevision,
    checksRevision: record.checksRevision || modRevision,
    checkRevisions,
    checks: ownChecks(record, checkRevisions, modRevision),
    override: NO_OVERRIDE,
    isUp: false,
    isSetAside: false,
    shownByProtection: false,
  };
  return folded(item);
}

const NO_OVERRIDE: OverrideInForce = { state: OverrideState.OVERRIDE_STATE_UNSPECIFIED, weight: undefined };

/** The checks that an instance defines itself, without a verdict. */
function ownChecks(record: InstanceRecord, since: readonly bigint[], modRevision: bigint): InstanceChecks {
  const definitions = record.instance!.checks;
  if (definitions.length === 0) return NO_CHECKS;
  const { checksRevision, incarnationRevision } = record;
  const verdict = unjudged(checksRevision || modRevision, incarnationRevision || modRevision);
  return { definitions, since, ofService: false, verdict, item: undefined };
}

/** The verdict on checks that none is recorded of: an incarnation that has been registered before them is taken for passing. */
function unjudged(checksRevision: bigint, incarnationRevision: bigint): CheckVerdict {
  const isOlder = incarnationRevision < checksRevision;
  return isOlder ? CheckVerdict.CHECK_VERDICT_PASSING : CheckVerdict.CHECK_VERDICT_PENDING;
}

/** The instance with the health that follows from its record, its override and its checks. */
function folded(item: InstanceItem): InstanceItem {
  const { record, override, checks, removedAtMs, instance } = item;
  const stored = record.instance!;
  const { verdict, item: check } = checks;
  const facts = { silent: record.silent, reported: reportedState(stored), override: override.state, check: verdict };
  const { health, reason } = foldHealth(facts);
  return {
    ...item,
    instance: {
      ...instance,
      ...{ weight: override.weight ?? stored.weight, health, healthReason: reason },
      healthNote: BY_CHECK.includes(reason) ? (check?.record.error ?? '') : '',
    },
    isUp: removedAtMs === undefined && VISIBLE_BY_DEFAULT.includes(health),
    isSetAside: override.state !== OverrideState.OVERRIDE_STATE_UNSPECIFIED,
    shownByProtection: false,
  };
}

const BY_CHECK: readonly HealthReason[] = [
  HealthReason.HEALTH_REASON_CHECK_FAILED,
  HealthReason.HEALTH_REASON_CHECK_DEGRADED,
];

/**
 * An instance under its override. An override that is set or ends is a visible change of the instance, and every replica
 * derives the same revision, whether it watched the change or lists it. Under another incarnation
 * than that of the override it changes nothing else.
 */
export function underOverride(item: InstanceItem, override: OverrideItem | undefined): InstanceItem {
  if (!override || item.removedAtMs !== undefined) return item;
  const { state, weight, setTime, endTime } = override.record;
  const inForce = isInForce(override, item.record.instance!.incarnation);
  return folded({
    ...visiblyChanged(item, override.revision, endTime ?? setTime),
    override: inForce ? { state, weight } : NO_OVERRIDE,
  });
}

/**
 * An instance under the checks of its service, which count where it has none of its own. An incarnation that registered before they
 * were defined, or before it gave up its own, is taken for passing. That follows from the revisions of the two records.
 */
export function underServiceChecks(item: InstanceItem, source: ServiceChecksItem | undefined): InstanceItem {
  if (!source || item.removedAtMs !== undefined || item.record.instance!.checks.length > 0) return item;
  const { checks: definitions, time } = source.record;
  const checks: InstanceChecks = {
    ...{ definitions, ofService: true, item: undefined },
    since: source.checkRevisions.map((revision) => maxOf(revision, item.checksRevision)),
    verdict: unjudged(maxOf(source.beginRevision, item.checksRevision), item.incarnationRevision),
  };
  return folded({
    ...visiblyChanged(item, source.revision, time),
    checks: definitions.length === 0 ? NO_CHECKS : checks,
  });
}

/**
 * An instance under the verdict on its checks. A verdict says nothing about another run, be it of the same incarnation, nor, where a
 * check decided that is no longer defined, about those that are: not about one of the same name either that was defined later.
 */
export function underCheck(item: InstanceItem, check: CheckItem | undefined): InstanceItem {
  if (!check || item.removedAtMs !== undefined) return item;
  const { incarnation, verdict, check: decider, time } = check.record;
  const { definitions, since, ofService } = item.checks;
  const isOfRun = incarnation === item.record.instance!.incarnation && check.revision > item.incarnationRevision;
  if (definitions.length === 0 || !isOfRun) return item;
  const stands = decider === '' || definitions.some(({ name }, i) => name === decider && check.revision > since[i]!);
  const checks = {
    definitions,
    since,
    ofService,
    verdict: stands ? verdict : CheckVerdict.CHECK_VERDICT_PASSING,
    item: check,
  };
  return folded({ ...visiblyChanged(item, check.revision, time), checks });
}

/** The instance after a record of another kind changed it visibly, at a revision that may be older than its own. */
function visiblyChanged(item: InstanceItem, by: bigint, time: Instance['changeTime']): InstanceItem {
  if (by <= item.revision) return item;
  return { ...item, revision: by, instance: { ...item.instance, revision: by, changeTime: time } };
}

/** The fall of an instance: it fell silent, or a check of it failed. */
export interface Fall {
  /** The revision of the verdict. */
  readonly revision: bigint;
  /** See InstanceRecord.seasoned. */
  readonly seasoned: boolean;
  /** True if a check failed, false if the instance fell silent. */
  readonly byCheck: boolean;
}

/** The falls of an instance that has not risen again: by silence, by a check, by both or by neither. */
export function fallsOf({ record, instance, checks, removedAtMs }: InstanceItem): Fall[] {
  if (removedAtMs !== undefined) return [];
  const falls: Fall[] = [];
  if (record.silent) falls.push({ revision: instance.registrationRevision, seasoned: record.seasoned, byCheck: false });
  if (checks.verdict === CheckVerdict.CHECK_VERDICT_FAILED && checks.item)
    falls.push({ revision: checks.item.revision, seasoned: checks.item.record.seasoned, byCheck: true });
  return falls;
}

/** Returns true if an instance is registered, and not a tombstone. */
export function isLive({ removedAtMs }: InstanceItem): boolean {
  return removedAtMs === undefined;
}

/** Returns true if an instance can fall: a server would notice that it is gone. */
export function canFall({ expectsHeartbeats, checks }: InstanceItem): boolean {
  return expectsHeartbeats || checks.definitions.length > 0;
}

/** Returns true if an instance is silent or a check of it failed. */
export function isIll({ record, checks, removedAtMs }: InstanceItem): boolean {
  return removedAtMs === undefined && (record.silent || checks.verdict === CheckVerdict.CHECK_VERDICT_FAILED);
}

/** The bytes of an instance record. Fields that can be computed from the record are not stored. */
export function writeInstance(record: InstanceRecord): Uint8Array {
  const { instance } = record;
  const computed = { health: 0, healthReason: 0, healthNote: '', revision: 0n, registrationRevision: 0n };
  const stored = instance && { ...instance, ...computed };
  return InstanceRecord.encode({ ...record, instance: stored }).finish();
}

/**
 * The record of a new registration. `incarnationGiven`: a client gave the incarnation. `held`: the present item, if the same
 * incarnation registers again.
 */
export function registered(
  instance: Instance,
  incarnationGiven: boolean,
  registeredBy: Actor,
  held: InstanceItem | undefined,
  { writeId, wallMs }: Stamp,
): InstanceRecord {
  const before = held?.record.instance!.checks ?? [];
  const goesOn = before.length > 0 === instance.checks.length > 0;
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
    incarnationRevision: held?.incarnationRevision ?? 0n,
    checksRevision: held && goesOn ? held.checksRevision : 0n,
    checkRevisions: revisionsAfter(instance.checks, before, held?.checkRevisions ?? []),
  };
}

/** The record of an item with every revision that may be that of its last write. */
function recordOf({ record, incarnationRevision, checksRevision, checkRevisions }: InstanceItem): InstanceRecord {
  return { ...record, incarnationRevision, checksRevision, checkRevisions: [...checkRevisions] };
}

/** The same record with a new write id: the mod revision moves, and users see no change. */
export function touched(item: InstanceItem, { writeId }: Stamp): InstanceRecord {
  return { ...recordOf(item), writeId, visibleRevision: item.instance.registrationRevision };
}

/** The record after a heartbeat that changes it: not silent, and with the state that the process reports now. */
export function heard(item: InstanceItem, reported: Reported | undefined, { writeId, wallMs }: Stamp): InstanceRecord {
  const before = item.record.instance!;
  const instance = { ...before, reported: reported ?? before.reported, changeTime: toTimestamp(wallMs) };
  const well = { silent: false, seasoned: false, cause: undefined };
  return { ...recordOf(item), writeId, instance, ...well, visibleRevision: 0n };
}

/** The record after a verdict. `seasoned`: see InstanceRecord. */
export function silenced(
  item: InstanceItem,
  seasoned: boolean,
  cause: Cause,
  { writeId, wallMs }: Stamp,
): InstanceRecord {
  const instance = { ...item.record.instance!, changeTime: toTimestamp(wallMs) };
  return { ...recordOf(item), writeId, instance, silent: true, seasoned, cause, visibleRevision: 0n };
}

/** The tombstone of an instance that stayed silent. Its process may come back, and then its last report still counts. */
export function expired(item: InstanceItem, stamp: Stamp): InstanceRecord {
  const { reported } = item.record.instance!;
  const removal = { reason: RemovalReason.REMOVAL_REASON_EXPIRED, actor: serverActor(stamp), comment: '' };
  return { ...tombstone(item, reported, removal, stamp), cause: item.record.cause };
}

/** The tombstone of an instance whose checks failed, or did not pass, for too long. Its process may come back. `comment`: the last error. */
export function failedForLong(item: InstanceItem, comment: string, stamp: Stamp): InstanceRecord {
  const { reported } = item.record.instance!;
  const removal = { reason: RemovalReason.REMOVAL_REASON_CHECK_FAILED, actor: serverActor(stamp), comment };
  return { ...tombstone(item, reported, removal, stamp), cause: item.checks.item?.record.cause };
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
    incarnationRevision: 0n,
    checksRevision: 0n,
    checkRevisions: [],
  };
}

/** Returns true if the tombstone says that this incarnation was deregistered, by itself or by an operator. */
export function wasDeregistered(item: InstanceItem, incarnation: string | undefined): boolean {
  return (
    item.removalReason === RemovalReason.REMOVAL_REASON_DEREGISTERED &&
    item.record.instance!.incarnation === incarnation
  );
}
