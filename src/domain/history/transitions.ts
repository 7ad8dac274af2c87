import type { Addresses } from '../../catalog/addresses.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { CatalogChange } from '../../catalog/changes.js';
import type { ItemChange } from '../../catalog/collection.js';
import { CHECK, INSTANCE, MEMBER, OVERRIDE, PROTECTION, SERVICE_CHECKS } from '../../catalog/kinds.js';
import { ActorKind } from '../../gen/rollcall/v1/cause.js';
import { CheckVerdict } from '../../gen/rollcall/v1/check.js';
import type { CheckItem, ServiceChecksItem } from '../../model/check.js';
import { Health, HealthReason, RemovalReason } from '../../gen/rollcall/v1/instance.js';
import { TransitionKind } from '../../gen/rollcall/v1/transition.js';
import { type InstanceItem, reportedState } from '../../model/instance.js';
import type { MemberItem } from '../../model/member.js';
import type { OverrideItem } from '../../model/override.js';
import type { ProtectionItem } from '../../model/protection.js';
import { fromTimestamp } from '../../model/time.js';
import type { Revision } from '../../store/store.js';
import type { Entry } from './ring.js';

/** The catalog that a change is one of, and its index. */
export interface Seen {
  readonly catalog: Catalog;
  readonly addresses: Pick<Addresses, 'sharedWithin'>;
}

/** The transitions that a change of the catalog is, oldest first. `nowMs` is the wall-clock time of those whose records have none. */
export function transitionsOf(change: CatalogChange, seen: Seen, nowMs: number): Entry[] {
  const entries: Entry[] = [];
  const add = (entry: Entry | undefined): void => void (entry && entries.push(entry));
  for (const one of change.of(INSTANCE)) add(ofAnyInstance(one, seen));
  for (const one of change.of(CHECK)) add(ofCheck(one, change, seen));
  for (const one of change.of(SERVICE_CHECKS)) add(ofServiceChecks(one));
  for (const one of change.of(OVERRIDE)) add(ofOverride(one, change, seen));
  for (const one of change.of(PROTECTION)) add(ofProtection(one));
  for (const one of change.of(MEMBER)) add(ofMember(one, change.revision, nowMs));
  return entries.length > 1 ? entries.sort((a, b) => a.revision - b.revision) : entries;
}

/** As `ofInstance`; of one that stayed silent it also says who has its address now. */
function ofAnyInstance(change: ItemChange<InstanceItem>, { addresses }: Seen): Entry | undefined {
  const entry = ofInstance(change);
  if (change.after?.removalReason !== RemovalReason.REMOVAL_REASON_EXPIRED || !entry || !change.before) return entry;
  const [next] = addresses.sharedWithin(change.before.instance);
  return next ? { ...entry, comment: `${next.name} has its address and port now` } : entry;
}

function ofOverride(
  { before, after }: ItemChange<OverrideItem>,
  change: CatalogChange,
  { catalog }: Seen,
): Entry | undefined {
  if (!after || after.revision === before?.revision) return undefined;
  const { record, removedAtMs } = after;
  const { namespace, scope: service, name: id } = after;
  const item = catalog.instances.get(namespace, service, id);
  const shown = item?.removedAtMs === undefined ? item?.instance : undefined;
  const isSet = removedAtMs === undefined;
  const moved = change.moved(INSTANCE).find((one) => one.after === item);
  return {
    ...{ revision: Number(after.revision), key: after.key, namespace, service, id, node: '' },
    timeMs: removedAtMs ?? fromTimestamp(record.setTime ?? EPOCH),
    kind: isSet ? TransitionKind.TRANSITION_KIND_OVERRIDE_SET : TransitionKind.TRANSITION_KIND_OVERRIDE_ENDED,
    incarnation: item?.record.instance!.incarnation ?? '',
    from: moved?.before?.instance.health ?? Health.HEALTH_UNSPECIFIED,
    to: shown?.health ?? Health.HEALTH_UNSPECIFIED,
    reason: shown?.healthReason ?? HealthReason.HEALTH_REASON_UNSPECIFIED,
    ...{ actor: record.actor, comment: record.comment, cause: undefined },
  };
}

function ofMember({ before, after }: ItemChange<MemberItem>, revision: Revision, nowMs: number): Entry | undefined {
  if ((before !== undefined) === (after !== undefined)) return undefined; // a rewrite
  const { key, record } = (after ?? before)!;
  return {
    ...plain(Number(after ? after.epoch : revision), nowMs, key),
    kind: after ? TransitionKind.TRANSITION_KIND_MEMBER_JOINED : TransitionKind.TRANSITION_KIND_MEMBER_LEFT,
    node: record.node,
  };
}

const EPOCH = { seconds: 0n, nanos: 0 };

/** An entry without instance, health and actor. */
const plain = (revision: number, timeMs: number, key: string): Omit<Entry, 'kind'> => ({
  ...{ revision, timeMs, key, namespace: '', service: '', id: '', incarnation: '', node: '' },
  ...{ from: Health.HEALTH_UNSPECIFIED, to: Health.HEALTH_UNSPECIFIED },
  ...{ reason: HealthReason.HEALTH_REASON_UNSPECIFIED, actor: undefined, comment: '', cause: undefined },
});

/** The transition that a written instance record is. `undefined` for a touch, and for a collected tombstone. */
export function ofInstance({ before, after }: ItemChange<InstanceItem>): Entry | undefined {
  if (!after) return undefined;
  const live = before?.removedAtMs === undefined ? before : undefined;
  const kind = kindOf(live, before, after);
  if (kind === undefined) return undefined;
  const { record, instance, removedAtMs } = after;
  const isRemoved = removedAtMs !== undefined;
  const isVerdict = record.silent || kind === TransitionKind.TRANSITION_KIND_EXPIRED;
  // One literal without spreads: every Register pays for it.
  return {
    revision: Number(record.visibleRevision || after.modRevision),
    key: after.key,
    node: '',
    namespace: after.namespace,
    service: after.scope,
    id: after.name,
    timeMs: removedAtMs ?? fromTimestamp(record.instance!.changeTime ?? EPOCH),
    kind,
    incarnation: record.instance!.incarnation,
    from: live?.instance.health ?? Health.HEALTH_UNSPECIFIED,
    to: isRemoved ? Health.HEALTH_UNSPECIFIED : instance.health,
    reason: isRemoved ? HealthReason.HEALTH_REASON_UNSPECIFIED : instance.healthReason,
    actor: isRemoved ? record.tombstone!.actor : BY_CLIENT.includes(kind) ? record.registeredBy : undefined,
    comment: record.tombstone?.comment ?? '',
    cause: isVerdict ? record.cause : undefined,
  };
}

/** The transitions that a Register makes. */
const BY_CLIENT: readonly TransitionKind[] = [
  TransitionKind.TRANSITION_KIND_REGISTERED,
  TransitionKind.TRANSITION_KIND_TAKEN_OVER,
  TransitionKind.TRANSITION_KIND_UPDATED,
];

function kindOf(
  live: InstanceItem | undefined,
  before: InstanceItem | undefined,
  after: InstanceItem,
): TransitionKind | undefined {
  const own = (item: InstanceItem): bigint => item.instance.registrationRevision;
  if (before && own(before) === own(after)) return undefined;
  if (after.removedAtMs !== undefined)
    return after.removalReason === RemovalReason.REMOVAL_REASON_DEREGISTERED
      ? TransitionKind.TRANSITION_KIND_DEREGISTERED
      : TransitionKind.TRANSITION_KIND_EXPIRED;
  if (!live) return TransitionKind.TRANSITION_KIND_REGISTERED;
  const [was, is] = [live.record, after.record];
  if (was.instance!.incarnation !== is.instance!.incarnation) return TransitionKind.TRANSITION_KIND_TAKEN_OVER;
  if (!was.silent && is.silent) return TransitionKind.TRANSITION_KIND_SILENT;
  if (was.silent && !is.silent) return TransitionKind.TRANSITION_KIND_HEALED;
  const note = (item: InstanceItem): string => item.instance.reported?.note ?? '';
  const hasReported = reportedState(live.instance) !== reportedState(after.instance) || note(live) !== note(after);
  return hasReported ? TransitionKind.TRANSITION_KIND_REPORTED : TransitionKind.TRANSITION_KIND_UPDATED;
}

function ofCheck(
  { before, after }: ItemChange<CheckItem>,
  change: CatalogChange,
  { catalog }: Seen,
): Entry | undefined {
  if (!after || after.revision === before?.revision) return undefined;
  const { record, namespace, scope: service, name: id } = after;
  const item = catalog.instances.get(namespace, service, id);
  const moved = change.moved(INSTANCE).find((one) => one.after === item);
  const isReleased = record.actor?.kind === ActorKind.ACTOR_KIND_OPERATOR;
  const { health = Health.HEALTH_UNSPECIFIED, healthReason = HealthReason.HEALTH_REASON_UNSPECIFIED } =
    (item?.removedAtMs === undefined ? item?.instance : undefined) ?? {};
  return {
    ...plain(Number(after.revision), fromTimestamp(record.time ?? EPOCH), after.key),
    ...{ namespace, service, id, incarnation: record.incarnation },
    kind: isReleased
      ? TransitionKind.TRANSITION_KIND_CHECKS_RELEASED
      : (CHECK_KINDS[record.verdict] ?? TransitionKind.TRANSITION_KIND_UNSPECIFIED),
    from: moved?.before?.instance.health ?? Health.HEALTH_UNSPECIFIED,
    ...{ to: health, reason: healthReason, actor: record.actor, cause: record.cause },
    comment: isReleased ? record.comment : [record.check, record.error].filter(Boolean).join(': '),
  };
}

/** The transition to each verdict that is recorded. */
const CHECK_KINDS: Partial<Record<CheckVerdict, TransitionKind>> = {
  [CheckVerdict.CHECK_VERDICT_PASSING]: TransitionKind.TRANSITION_KIND_CHECK_PASSED,
  [CheckVerdict.CHECK_VERDICT_DEGRADED]: TransitionKind.TRANSITION_KIND_CHECK_DEGRADED,
  [CheckVerdict.CHECK_VERDICT_FAILED]: TransitionKind.TRANSITION_KIND_CHECK_FAILED,
  [CheckVerdict.CHECK_VERDICT_ASSUMED]: TransitionKind.TRANSITION_KIND_CHECK_ASSUMED,
};

function ofServiceChecks({ before, after }: ItemChange<ServiceChecksItem>): Entry | undefined {
  if (!after || after.revision === before?.revision) return undefined;
  const { record, namespace, scope: service, removedAtMs } = after;
  const { actor, comment } = record;
  return {
    ...plain(Number(after.revision), fromTimestamp(record.time ?? EPOCH), after.key),
    ...{ namespace, service, actor, comment },
    kind:
      removedAtMs === undefined
        ? TransitionKind.TRANSITION_KIND_SERVICE_CHECKS_SET
        : TransitionKind.TRANSITION_KIND_SERVICE_CHECKS_ENDED,
  };
}

function ofProtection({ before, after }: ItemChange<ProtectionItem>): Entry | undefined {
  if (!after || after.revision === before?.revision) return undefined;
  const { record, namespace, scope: service } = after;
  return {
    ...plain(Number(after.revision), fromTimestamp(record.time ?? EPOCH), after.key),
    ...{ namespace, service, actor: record.actor, comment: record.releaseComment },
    kind: record.active
      ? TransitionKind.TRANSITION_KIND_PROTECTION_BEGAN
      : TransitionKind.TRANSITION_KIND_PROTECTION_ENDED,
  };
}
