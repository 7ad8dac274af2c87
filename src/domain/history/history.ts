import type { Clock } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Log } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { CatalogChange } from '../../catalog/changes.js';
import type { ItemChange } from '../../catalog/collection.js';
import { INSTANCE, MEMBER, OVERRIDE, PROTECTION } from '../../catalog/kinds.js';
import { Health, HealthReason, RemovalReason } from '../../gen/rollcall/v1/instance.js';
import { TransitionKind } from '../../gen/rollcall/v1/transition.js';
import { type InstanceItem, reportedState } from '../../model/instance.js';
import type { MemberItem } from '../../model/member.js';
import type { OverrideItem } from '../../model/override.js';
import type { ProtectionItem } from '../../model/protection.js';
import { fromTimestamp } from '../../model/time.js';
import type { Revision } from '../../store/store.js';
import type { Addresses } from '../../catalog/addresses.js';
import { type Entry, Ring, type RingBounds } from './ring.js';

/** Enough for a day of a busy cluster, and at most 40 MB. */
const BOUNDS: RingBounds = { all: 100_000, ofInstance: 256, ofService: 20_000 };

/** Since when a history is complete. */
export interface CompleteSince {
  readonly revision: number;
  /** Wall-clock milliseconds. */
  readonly timeMs: number;
}

/** The dependencies of a History. */
export interface HistoryParts {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly addresses: Pick<Addresses, 'sharedWithin'>;
  /** The name of the node of this server. */
  readonly node: string;
  readonly log: Log;
}

/**
 * The transitions that this process has seen in the change feed. Every replica keeps the same ones, because who acted and why is in
 * the records. Each transition that this server wrote is one line of its log.
 */
export class History implements Closeable {
  readonly ring = new Ring(BOUNDS);
  readonly #stop = new AbortController();
  readonly #listeners = new Set<() => void>();
  #since: CompleteSince = { revision: 0, timeMs: 0 };

  #id: string | undefined;

  constructor(private readonly parts: HistoryParts) {}

  /** Names the ring: one of another process has another name. */
  get id(): string {
    const { node, clock } = this.parts;
    return (this.#id ??= `${node}@${clock.wall()}`);
  }

  start(): void {
    this.parts.catalog.subscribe('other', (change) => this.#take(change), this.#stop.signal);
  }

  close(): void {
    this.#stop.abort();
  }

  /** Calls `listener` after every change that brought transitions. Returns a function that stops it. */
  onTransitions(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The moment after which nothing is missing; of one instance, if names are given. */
  completeSince(names?: { readonly namespace: string; readonly service: string; readonly id: string }): CompleteSince {
    const dropped = names ? this.ring.droppedOf(names.namespace, names.service, names.id) : this.ring.droppedUpTo;
    return dropped > this.#since.revision ? { revision: dropped, timeMs: 0 } : this.#since;
  }

  #take(change: CatalogChange): void {
    const { cause, revision, isSameHistory } = change;
    if (cause === 'RESET') {
      if (!isSameHistory) this.ring.clear();
      return;
    }
    if (cause === 'FIRST_LISTING') return this.#begin(revision);
    const entries = [
      ...change.of(INSTANCE).flatMap((one) => this.#ofInstance(one) ?? []),
      ...change.of(OVERRIDE).flatMap((one) => this.#ofOverride(one, change) ?? []),
      ...change.of(PROTECTION).flatMap((one) => ofProtection(one) ?? []),
      ...change.of(MEMBER).flatMap((one) => this.#ofMember(one, revision) ?? []),
    ];
    for (const entry of entries.sort((a, b) => a.revision - b.revision)) {
      this.ring.add(entry);
      this.#log(entry);
    }
    if (entries.length > 0) for (const listener of this.#listeners) listener();
    // Several changes of one record appear as one in a listing, and those before it may be missing.
    if (cause === 'LISTING') this.#begin(revision);
  }

  #begin(revision: Revision): void {
    this.#since = { revision: Number(revision), timeMs: this.parts.clock.wall() };
  }

  /** As `ofInstance`; of one that expired it also says who has its address now. */
  #ofInstance(change: ItemChange<InstanceItem>): Entry | undefined {
    const entry = ofInstance(change);
    if (entry?.kind !== TransitionKind.TRANSITION_KIND_EXPIRED || !change.before) return entry;
    const [next] = this.parts.addresses.sharedWithin(change.before.instance);
    return next ? { ...entry, comment: `${next.name} has its address and port now` } : entry;
  }

  #ofOverride({ before, after }: ItemChange<OverrideItem>, change: CatalogChange): Entry | undefined {
    if (!after || after.revision === before?.revision) return undefined;
    const { record, removedAtMs } = after;
    const { namespace, scope: service, name: id } = after;
    const item = this.parts.catalog.instances.get(namespace, service, id);
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

  #ofMember({ before, after }: ItemChange<MemberItem>, revision: Revision): Entry | undefined {
    if ((before !== undefined) === (after !== undefined)) return undefined; // a rewrite
    const { key, record } = (after ?? before)!;
    return {
      ...plain(Number(after ? after.epoch : revision), this.parts.clock.wall(), key),
      kind: after ? TransitionKind.TRANSITION_KIND_MEMBER_JOINED : TransitionKind.TRANSITION_KIND_MEMBER_LEFT,
      node: record.node,
    };
  }

  /** Logs a transition if this server wrote it. */
  #log({ kind, revision, namespace, service, id, from, to, actor, cause, comment, incarnation, node }: Entry): void {
    const by = actor?.node ?? cause?.decidedBy;
    if (by !== this.parts.node) return;
    const transition = TransitionKind[kind].replace('TRANSITION_KIND_', '');
    const health = { from: Health[from].replace('HEALTH_', ''), to: Health[to].replace('HEALTH_', '') };
    const who = {
      ...(actor?.subject && { subject: actor.subject }),
      ...(actor?.address && { address: actor.address }),
    };
    const fields = { transition, revision, namespace, service, id, incarnation, ...health, ...who };
    this.parts.log.info({ ...fields, ...(comment && { comment }), ...(node && { node }) }, 'transition');
  }
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
  return {
    ...{ revision: Number(record.visibleRevision || after.modRevision), key: after.key, node: '' },
    ...{ namespace: after.namespace, service: after.scope, id: after.name },
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
    return after.removalReason === RemovalReason.REMOVAL_REASON_EXPIRED
      ? TransitionKind.TRANSITION_KIND_EXPIRED
      : TransitionKind.TRANSITION_KIND_DEREGISTERED;
  if (!live) return TransitionKind.TRANSITION_KIND_REGISTERED;
  const [was, is] = [live.record, after.record];
  if (was.instance!.incarnation !== is.instance!.incarnation) return TransitionKind.TRANSITION_KIND_TAKEN_OVER;
  if (!was.silent && is.silent) return TransitionKind.TRANSITION_KIND_SILENT;
  if (was.silent && !is.silent) return TransitionKind.TRANSITION_KIND_HEALED;
  const note = (item: InstanceItem): string => item.instance.reported?.note ?? '';
  const hasReported = reportedState(live.instance) !== reportedState(after.instance) || note(live) !== note(after);
  return hasReported ? TransitionKind.TRANSITION_KIND_REPORTED : TransitionKind.TRANSITION_KIND_UPDATED;
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
