import { CHANGES_MAX, distance } from '../base/near.js';
import { OVERRIDE, recordedProtection } from '../catalog/kinds.js';
import { ActorKind, type Cause, TestimonyKind } from '../gen/rollcall/v1/cause.js';
import { type Ground, GroundKind, Presence } from '../gen/rollcall/v1/admin_service.js';
import {
  Health,
  HealthReason,
  type Instance,
  type InstanceFilter,
  RemovalReason,
  ReportedState,
} from '../gen/rollcall/v1/instance.js';
import { CheckVerdict } from '../gen/rollcall/v1/check.js';
import { OverrideState } from '../gen/rollcall/v1/override.js';
import type { Subset } from '../gen/rollcall/v1/registry_service.js';
import { foldHealth, VISIBLE_BY_DEFAULT } from '../model/health.js';
import { type InstanceItem, reportedState } from '../model/instance.js';
import { isInForce, type OverrideItem } from '../model/override.js';
import type { ProtectionItem } from '../model/protection.js';
import { fromDuration, fromTimestamp, toTimestamp } from '../model/time.js';
import { matcher, meets } from './registry/filter.js';
import type { Replica } from './replica.js';

/** The most instances that are looked at for similar names, and the most that are named. */
const LOOKED_AT_MAX = 5_000;
const SIMILAR_MAX = 5;

/** A question about one instance. */
export interface Question {
  readonly namespace: string;
  readonly service: string;
  readonly id: string;
  /** `undefined`: whichever has the id. */
  readonly incarnation: string | undefined;
  readonly filter: InstanceFilter | undefined;
  readonly subset: Subset | undefined;
  /** Returns true if the answer of Discover is too large for clients. */
  readonly tooLarge: () => boolean;
  /** Returns true if a server has heard the instance within its ttl. */
  readonly wasHeard: boolean;
  readonly sees: (namespace: string, service: string) => boolean;
}

/** The answer, as far as this replica knows it. */
export interface Reasons {
  readonly presence: Presence;
  readonly instance: Instance | undefined;
  /** The deciding one first. */
  readonly grounds: readonly Ground[];
  readonly similar: readonly string[];
}

type Parts = Pick<Replica, 'catalog' | 'discovery' | 'freshness' | 'judge' | 'lostMembers' | 'history'>;

const ground = (kind: GroundKind, ok: boolean, text: string, since?: number, revision = 0n): Ground => ({
  ...{ kind, ok, text, revision },
  since: since === undefined ? undefined : toTimestamp(since),
});

/** Why an instance is shown to a client, or not. */
export function reasonsFor(parts: Parts, question: Question): Reasons {
  const { namespace, service, id } = question;
  const item = parts.catalog.instances.get(namespace, service, id);
  const around = surroundings(parts);
  if (!item) {
    const text = `${service}/${id} is not known in namespace ${namespace}; if it ever was registered, its tombstone has been deleted`;
    return {
      ...{ presence: Presence.PRESENCE_UNKNOWN, instance: undefined },
      grounds: [ground(GroundKind.GROUND_KIND_NEVER_SEEN, false, text), ...around],
      similar: similarTo(parts, question),
    };
  }
  if (item.removedAtMs !== undefined)
    return {
      ...{ presence: Presence.PRESENCE_REMOVED, instance: undefined, similar: [] },
      grounds: [removal(parts, item), ...around.filter(({ kind }) => !ABOUT_SILENCE.includes(kind))],
    };
  const tests = [...testsOf(parts, item, question)];
  const failed = tests.filter(({ ok }) => !ok);
  const hides = failed.find(({ kind }) => kind !== GroundKind.GROUND_KIND_WEIGHT_ZERO);
  const isLate = item.expectsHeartbeats && !item.record.silent && !question.wasHeard;
  // Only the heartbeats of an instance can be late because a server has just started.
  const near = around.filter((one) => item.expectsHeartbeats || !ABOUT_SILENCE.includes(one.kind));
  const decides = failed[0] ?? (isLate ? near[0] : undefined);
  const others = [...tests, ...near].filter((one) => one !== decides).map((one) => withoutDoubt(one, isLate));
  return {
    presence: hides ? Presence.PRESENCE_HIDDEN : Presence.PRESENCE_SHOWN,
    instance: item.instance,
    grounds: decides ? [decides, ...others] : others,
    similar: [],
  };
}

/** The grounds that concern only instances whose heartbeats are awaited. */
const ABOUT_SILENCE: readonly GroundKind[] = [
  GroundKind.GROUND_KIND_JUST_STARTED,
  GroundKind.GROUND_KIND_VERDICTS_POSTPONED,
];

/** A ground that says nothing against an instance which was heard. */
const withoutDoubt = (one: Ground, isLate: boolean): Ground =>
  ABOUT_SILENCE.includes(one.kind) ? { ...one, ok: !isLate } : one;

/** The tests that an instance passes or fails, in the order in which they decide. The last one says that it is healthy. */
function* testsOf({ catalog, discovery }: Parts, item: InstanceItem, question: Question): Generator<Ground> {
  const { record, instance, modRevision } = item;
  const { namespace, service, id, incarnation, filter, subset } = question;
  const stored = record.instance!;
  const since = fromTimestamp(stored.changeTime ?? { seconds: 0n, nanos: 0 });
  const own = instance.registrationRevision;
  if (incarnation !== undefined && incarnation !== stored.incarnation)
    yield ground(
      GroundKind.GROUND_KIND_SUPERSEDED,
      false,
      `another process has the id: incarnation ${stored.incarnation}, at ${stored.address}:${stored.port}`,
      fromTimestamp(stored.registerTime ?? stored.changeTime!),
      own,
    );
  const missing = filter && mismatchOf(instance, filter);
  if (filter)
    yield ground(
      GroundKind.GROUND_KIND_FILTER,
      !missing,
      missing ? `the filter does not match: ${missing}` : 'the filter matches',
    );
  const override = catalog.of(OVERRIDE).get(namespace, service, id);
  yield* factsOf(item, override, recordedProtection(catalog.instances.scope(namespace, service)), filter);
  if (subset) {
    const { instances } = discovery.discover(namespace, service, matcher(filter), subset);
    const isIn = instances.some((one) => one.id === id);
    const all = discovery.discover(namespace, service, matcher(filter), undefined).instances.length;
    const text = `the subset of ${instances.length} of ${all} for ${JSON.stringify(subset.key)} ${isIn ? 'has it' : 'has others'}`;
    yield ground(GroundKind.GROUND_KIND_SUBSET, isIn, text);
  }
  if (question.tooLarge())
    yield ground(
      GroundKind.GROUND_KIND_ANSWER_TOO_LARGE,
      false,
      'the answer of Discover exceeds 3 MiB, so clients get an error: they need a subset, a filter or a watch',
    );
  const isWeighed = override?.record.weight === 0 && isInForce(override, stored.incarnation);
  if (instance.weight === 0)
    yield ground(
      GroundKind.GROUND_KIND_WEIGHT_ZERO,
      false,
      WEIGHT_ZERO + (isWeighed ? `; an operator set it: ${override.record.comment}${until(override.expiresAtMs)}` : ''),
      isWeighed ? fromTimestamp(override.record.setTime!) : since,
      isWeighed ? override.revision : own,
    );
  const isHealthy = item.isUp;
  if (isHealthy) yield ground(GroundKind.GROUND_KIND_HEALTHY, true, 'it is registered and healthy', since, modRevision);
}

const WEIGHT_ZERO = 'its weight is 0: it is listed, and gets no traffic';

/**
 * The facts about the health of an instance, the one that decides first. Those behind it would count without it, such as the
 * silence of an instance that is disabled.
 */
function factsOf(
  item: InstanceItem,
  override: OverrideItem | undefined,
  protection: ProtectionItem | undefined,
  filter: InstanceFilter | undefined,
): Ground[] {
  const { record, instance } = item;
  const stored = record.instance!;
  const since = fromTimestamp(stored.changeTime ?? { seconds: 0n, nanos: 0 });
  const own = instance.registrationRevision;
  const asked = filter?.healthStates.length ? filter.healthStates : VISIBLE_BY_DEFAULT;
  const isShown = matcher(filter).shows(item);
  const facts: { readonly health: Health; readonly reason: HealthReason; readonly ground: Ground }[] = [];
  const add = (health: Health, reason: HealthReason, kind: GroundKind, text: string, at = since, by = own): void => {
    const ok = reason === instance.healthReason ? isShown : asked.includes(health);
    facts.push({ health, reason, ground: ground(kind, ok, text, at, by) });
  };
  if (override && isInForce(override, stored.incarnation)) {
    const { state, comment, setTime } = override.record;
    const why = `${comment}${until(override.expiresAtMs)}`;
    const at = fromTimestamp(setTime ?? { seconds: 0n, nanos: 0 });
    if (state === OverrideState.OVERRIDE_STATE_DISABLE) {
      const { HEALTH_UNHEALTHY: health } = Health;
      const reason = HealthReason.HEALTH_REASON_DISABLED;
      add(health, reason, GroundKind.GROUND_KIND_DISABLED, `an operator disabled it: ${why}`, at, override.revision);
    }
    if (state === OverrideState.OVERRIDE_STATE_DRAIN) {
      const { HEALTH_DRAINING: health } = Health;
      const reason = HealthReason.HEALTH_REASON_DRAINED;
      add(health, reason, GroundKind.GROUND_KIND_DRAINED, `an operator drains it: ${why}`, at, override.revision);
    }
  }
  if (record.silent) {
    const text = `no heartbeat for its ttl${wordsOf(record.cause)}`;
    add(Health.HEALTH_UNHEALTHY, HealthReason.HEALTH_REASON_SILENT, GroundKind.GROUND_KIND_SILENT, text);
  }
  const { checks } = item;
  const ofCheck = CHECK_GROUNDS[checks.verdict];
  if (ofCheck) {
    const { check: name = '', error = '', cause, time } = checks.item?.record ?? {};
    const words = [name && `check ${name}`, error].filter(Boolean).join(': ');
    const text = `${ofCheck.words}${words && ` (${words})`}${wordsOf(cause)}`;
    const at = time ? fromTimestamp(time) : since;
    add(ofCheck.health, ofCheck.reason, ofCheck.kind, text, at, checks.item?.revision ?? own);
  }
  const { health, reason } = foldHealth({ ...NO_FACTS, reported: reportedState(stored) });
  if (reason === HealthReason.HEALTH_REASON_REPORTED) {
    const state = ReportedState[reportedState(stored)].replace('REPORTED_STATE_', '');
    const note = stored.reported?.note ? ` (${stored.reported.note})` : '';
    add(health, reason, GroundKind.GROUND_KIND_REPORTED, `its process reports ${state}${note}`);
  }
  const decider = facts.find((one) => one.reason === instance.healthReason);
  const grounds = [decider, ...facts.filter((one) => one !== decider)].flatMap((one) => one?.ground ?? []);
  if (item.shownByProtection && !filter?.healthStates.length) {
    const { before, time } = protection!.record;
    const text = `the service is protected, as many of its instances fell silent or failed their checks in one event: ${before} were up before`;
    const at = fromTimestamp(time ?? stored.changeTime!);
    return [ground(GroundKind.GROUND_KIND_PROTECTED, true, text, at, protection!.revision), ...grounds];
  }
  if (isShown || decider) return grounds;
  return [ground(GroundKind.GROUND_KIND_FILTER, false, 'the filter asks for other states of health'), ...grounds];
}

/** The ground that each verdict on checks is. One that passes is none. */
const CHECK_GROUNDS: Partial<
  Record<
    CheckVerdict,
    { readonly health: Health; readonly reason: HealthReason; readonly kind: GroundKind; readonly words: string }
  >
> = {
  [CheckVerdict.CHECK_VERDICT_FAILED]: {
    health: Health.HEALTH_UNHEALTHY,
    reason: HealthReason.HEALTH_REASON_CHECK_FAILED,
    kind: GroundKind.GROUND_KIND_CHECK_FAILED,
    words: 'its check failed',
  },
  [CheckVerdict.CHECK_VERDICT_PENDING]: {
    health: Health.HEALTH_UNHEALTHY,
    reason: HealthReason.HEALTH_REASON_CHECK_PENDING,
    kind: GroundKind.GROUND_KIND_CHECK_PENDING,
    words: 'it has not passed its checks yet',
  },
  [CheckVerdict.CHECK_VERDICT_DEGRADED]: {
    health: Health.HEALTH_DEGRADED,
    reason: HealthReason.HEALTH_REASON_CHECK_DEGRADED,
    kind: GroundKind.GROUND_KIND_CHECK_LIMITED,
    words: 'a check passes with a limitation',
  },
  [CheckVerdict.CHECK_VERDICT_ASSUMED]: {
    health: Health.HEALTH_HEALTHY,
    reason: HealthReason.HEALTH_REASON_UNSPECIFIED,
    kind: GroundKind.GROUND_KIND_CHECK_LIMITED,
    words: 'the servers could not probe it, and take it for passing',
  },
};

const NO_FACTS = {
  silent: false,
  override: OverrideState.OVERRIDE_STATE_UNSPECIFIED,
  check: CheckVerdict.CHECK_VERDICT_UNSPECIFIED,
};

const until = (expiresAtMs: number | undefined): string =>
  expiresAtMs === undefined ? '' : `, until ${new Date(Math.ceil(expiresAtMs / 1_000) * 1_000).toISOString()}`;

/** The answers behind a verdict, in words. */
function wordsOf(cause: Cause | undefined): string {
  if (!cause) return '';
  const answers = cause.testimonies.map(({ node, kind, age, error }) => {
    const ofProbe = PROBED[kind];
    if (ofProbe !== undefined) return `${node} ${ofProbe}${error && ` (${error})`}`;
    if (kind === TestimonyKind.TESTIMONY_KIND_HEARD) return `${node} had heard it`;
    return age
      ? `${node} had heard it ${(fromDuration(age) / 1_000).toFixed(1)} s before`
      : `${node} had never heard it`;
  });
  return `; decided by ${cause.decidedBy}: ${answers.join(', ')}`;
}

/** The answers about a check, in words. */
const PROBED: Partial<Record<TestimonyKind, string>> = {
  [TestimonyKind.TESTIMONY_KIND_PASSED]: 'reached it',
  [TestimonyKind.TESTIMONY_KIND_FAILED]: 'did not get it to pass',
  [TestimonyKind.TESTIMONY_KIND_INCONCLUSIVE]: 'could not probe',
};

function removal({ history }: Parts, { record, removedAtMs, revision, namespace, scope, name }: InstanceItem): Ground {
  const { actor, comment, reason } = record.tombstone!;
  const [last] = history.ring.ofInstance(namespace, scope, name).filter((entry) => entry.id === name);
  const more = comment || last?.comment;
  if (reason === RemovalReason.REMOVAL_REASON_EXPIRED) {
    const text = `it stayed silent and was removed${wordsOf(record.cause)}${more ? `; ${more}` : ''}`;
    return ground(GroundKind.GROUND_KIND_EXPIRED, false, text, removedAtMs, revision);
  }
  if (reason === RemovalReason.REMOVAL_REASON_CHECK_FAILED) {
    const text = `it was removed, as a check of it failed or did not pass for long${wordsOf(record.cause)}${more ? `; ${more}` : ''}`;
    return ground(GroundKind.GROUND_KIND_EXPIRED, false, text, removedAtMs, revision);
  }
  const by = actor?.kind === ActorKind.ACTOR_KIND_OPERATOR ? 'an operator' : 'its process';
  const text = `it was deregistered by ${by}${more ? `: ${more}` : ''}`;
  return ground(GroundKind.GROUND_KIND_DEREGISTERED, false, text, removedAtMs, revision);
}

/** The first part of a filter that an instance does not have. `undefined` if it has all. */
function mismatchOf(instance: Instance, filter: InstanceFilter): string | undefined {
  const { tags, metadata, version, locality, anyOf, noneOf } = filter;
  for (const tag of tags) if (!instance.tags.includes(tag)) return `it does not have the tag ${JSON.stringify(tag)}`;
  for (const [key, value] of metadata)
    if (instance.metadata.get(key) !== value)
      return `its metadata ${key} is ${JSON.stringify(instance.metadata.get(key) ?? '')}`;
  if (version && instance.version !== version) return `its version is ${JSON.stringify(instance.version)}`;
  for (const part of ['region', 'zone', 'subZone'] as const)
    if (locality?.[part] && instance.locality?.[part] !== locality[part])
      return `its ${part} is ${JSON.stringify(instance.locality?.[part] ?? '')}`;
  if (anyOf.length > 0 && !anyOf.some((one) => meets(instance, one))) return 'none of the alternatives matches';
  const excluded = noneOf.findIndex((one) => meets(instance, one));
  return excluded < 0 ? undefined : `the exclusion ${excluded + 1} matches`;
}

/** The conditions of this server and its cluster for which its picture may be old. */
function surroundings({ freshness, judge, lostMembers, catalog }: Parts): Ground[] {
  const grounds: Ground[] = [];
  const { staleForMs } = freshness.stamp();
  if (staleForMs !== undefined)
    grounds.push(
      ground(
        GroundKind.GROUND_KIND_STORE_OUT,
        false,
        `the store does not answer this server: what it shows is ${Math.round(staleForMs / 1_000)} s old`,
      ),
    );
  for (const { node, sinceMs } of lostMembers?.lost ?? [])
    grounds.push(
      ground(GroundKind.GROUND_KIND_MEMBER_LOST, false, `the server ${node} left without a clean departure`, sinceMs),
    );
  for (const { reason, sinceMs, untilMs } of judge.postponements()) {
    if (reason === 'STORE_UNREACHABLE') continue;
    const isStart = reason === 'GRACE' || reason === 'STARTING';
    const kind = isStart ? GroundKind.GROUND_KIND_JUST_STARTED : GroundKind.GROUND_KIND_VERDICTS_POSTPONED;
    const words = isStart
      ? `every ttl begins again after a start or the loss of a server${until(untilMs)}`
      : `silent instances are not judged: ${reason}`;
    grounds.push(ground(kind, false, words, sinceMs, catalog.revision));
  }
  return grounds;
}

/** Instances that may be meant: of other namespaces, in another case, or with a name that differs a little. */
function similarTo({ catalog }: Parts, { namespace, service, id, sees }: Question): string[] {
  const found = new Map<string, number>();
  const note = (changes: number, of: string, scope: string, name: string): void => {
    if (sees(of, scope)) found.set(`${of}/${scope}/${name}`, changes);
  };
  let looked = 0;
  for (const [of, { scopes }] of catalog.instances.namespaces()) {
    for (const [scope, { value }] of scopes) {
      if (value.liveCount === 0) continue;
      const ofService = changesBetween(scope, service);
      if (ofService > CHANGES_MAX) continue;
      for (const { name } of value.live()) {
        if (looked++ > LOOKED_AT_MAX) break;
        const ofId = changesBetween(name, id);
        if (ofId <= CHANGES_MAX) note(ofService + ofId + (of === namespace ? 0 : 1), of, scope, name);
      }
    }
  }
  return [...found]
    .sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1))
    .slice(0, SIMILAR_MAX)
    .map(([name]) => name);
}

/** The changes between two names, whatever their case; more than CHANGES_MAX if their lengths alone differ by more. */
function changesBetween(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > CHANGES_MAX) return CHANGES_MAX + 1;
  return distance(a.toLowerCase(), b.toLowerCase());
}
