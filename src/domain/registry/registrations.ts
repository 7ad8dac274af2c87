import type { Random } from '../../base/random.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Addresses } from '../../catalog/addresses.js';
import type { Catalog } from '../../catalog/catalog.js';
import { INSTANCE } from '../../catalog/kinds.js';
import type { Attempt, Commits } from '../../catalog/commits.js';
import type { InstanceRecord } from '../../gen/rollcall/storage/v1/records.js';
import { ActorKind } from '../../gen/rollcall/v1/cause.js';
import { Instance, ReportedState } from '../../gen/rollcall/v1/instance.js';
import { type ProbeTarget, targetOf } from '../../model/probe.js';
import { invalidRequest, type Reason, RollcallError } from '../../model/errors.js';
import {
  deregistered,
  type InstanceItem,
  instanceItem,
  instanceKey,
  readInstance,
  registered,
  reportedState,
  wasDeregistered,
  touched,
  writeInstance,
} from '../../model/instance.js';
import { callerAs, type Signature, UNSIGNED } from '../../model/actor.js';
import { ifReadable } from '../../model/item.js';
import { BEATS_PER_TTL, LIMITS } from '../../model/limits.js';
import { fromTimestamp, toTimestamp } from '../../model/time.js';
import type { Entry, Revision } from '../../store/store.js';
import { COUNTERS } from './instruments.js';

/** A checked request to register: defaults filled, server-set fields empty. */
export interface Registration {
  readonly instance: Instance;
  readonly incarnation: string | undefined;
  readonly replacesRevision: Revision | undefined;
}

/** The outcome of a registration. */
export interface Registered {
  readonly instance: Instance;
  readonly revision: Revision;
  /** `undefined` if no heartbeats are expected. */
  readonly intervalMs: number | undefined;
  readonly warnings: readonly string[];
}

/** Names one instance, and optionally its incarnation. */
export interface InstanceRef {
  readonly namespace: string;
  readonly service: string;
  readonly id: string;
  readonly incarnation: string | undefined;
}

/** The dependencies of Registrations. */
export interface RegistrationsParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly addresses: Pick<Addresses, 'sharedWith'>;
  readonly random: Random;
  readonly telemetry: Telemetry;
  /** Why this server does not probe a target; `undefined` where nothing is probed. */
  readonly refusal?: ((target: ProbeTarget) => string | undefined) | undefined;
}

/** Refusals that depend on the current record, which the catalog may not show yet. */
const REFUSED_BY_RECORD: readonly Reason[] = ['REVISION_MISMATCH', 'DEREGISTERED', 'INCARNATION_REQUIRED'];

/** Registers and deregisters instances. Every write compares the record that it was decided on. */
export class Registrations {
  constructor(private readonly parts: RegistrationsParts) {}

  /** `sees` returns true for the services that the caller may read: no warning names another one. */
  async register(
    registration: Registration,
    caller: Signature = UNSIGNED,
    sees: (service: string) => boolean = () => true,
  ): Promise<Registered> {
    const { catalog, commits, telemetry } = this.parts;
    catalog.assertReady();
    const { namespace, service, id } = registration.instance;
    const key = instanceKey(namespace, service, id);
    const warnings = this.#warnings(registration, sees);
    let current = catalog.instances.get(namespace, service, id);
    let expected = current?.modRevision ?? 0n;
    let confirmed = false;
    const confirm = (entry: Entry | undefined): { retry: true } => {
      current = entry && readable(entry);
      expected = entry?.modRevision ?? 0n;
      confirmed = true;
      return { retry: true };
    };
    return commits.retrying(`${service}/${id}`, async (): Promise<Attempt<Registered>> => {
      let record: InstanceRecord;
      try {
        record = this.#decide(registration, current, caller);
      } catch (error) {
        // The catalog may be behind the store, so a refusal must rest on a record that was read from the store.
        if (confirmed || !(error instanceof RollcallError && REFUSED_BY_RECORD.includes(error.reason))) throw error;
        return confirm((await commits.get(key)).entry);
      }
      const value = writeInstance(record);
      assertSize(record, value);
      const result = await commits.commit(commits.instanceTxn(record, expected, value));
      if (!result.ok) return confirm(result.found[0]);
      warnings.push(...this.#takenOver(current, record.instance!));
      await commits.visible(result.revision);
      telemetry.counters.add(COUNTERS.registers);
      const item = instanceItem(key, record, result.revision, value.length);
      const shown = catalog.shown(INSTANCE, item);
      return { done: answer(shown, [...warnings, ...this.#notProbed(shown)]) };
    });
  }

  async deregister(
    { namespace, service, id, incarnation }: InstanceRef,
    signature: Signature = UNSIGNED,
  ): Promise<Revision> {
    const { catalog, commits, telemetry } = this.parts;
    catalog.assertReady();
    const key = instanceKey(namespace, service, id);
    let current = catalog.instances.get(namespace, service, id) ?? (await this.#read(key));
    return commits.retrying(`${service}/${id}`, async (): Promise<Attempt<Revision>> => {
      const holder = current?.record.instance!.incarnation;
      if (!current) throw notFound(namespace, service, id);
      if (incarnation !== undefined && incarnation !== holder) {
        // The catalog may be behind the store, so a refusal must rest on a record that was read from the store.
        const now: InstanceItem | undefined = await this.#read(key);
        if (now?.modRevision === current.modRevision) throw otherIncarnation(current);
        current = now;
        return { retry: true };
      }
      if (current.removedAtMs !== undefined) return { done: current.instance.registrationRevision };
      const stamp = commits.stamp();
      const actor = callerAs(saysGoodbye(current, incarnation, signature), signature, stamp);
      const record = deregistered(current, actor, signature.comment, stamp);
      const result = await commits.commit(commits.instanceTxn(record, current.modRevision));
      if (!result.ok) {
        const found = result.found[0];
        current = found && readable(found);
        return { retry: true };
      }
      await commits.visible(result.revision);
      telemetry.counters.add(COUNTERS.deregisters);
      if (signature.author || signature.comment)
        telemetry.log.info({ namespace, service, id, ...signature }, 'an instance was deregistered');
      return { done: result.revision };
    });
  }

  async #read(key: string): Promise<InstanceItem | undefined> {
    const { entry } = await this.parts.commits.get(key);
    return entry && readable(entry);
  }

  /** The record that replaces the current one. Throws if the registration is refused. */
  #decide(registration: Registration, current: InstanceItem | undefined, caller: Signature): InstanceRecord {
    const { commits, random } = this.parts;
    const stamp = commits.stamp();
    const live = current && current.removedAtMs === undefined ? current : undefined;
    const holder = current?.record.instance!.incarnation;
    const incarnation = registration.incarnation ?? live?.record.instance!.incarnation ?? random.id();
    const isHolder = live !== undefined && incarnation === holder;
    if (current && wasDeregistered(current, registration.incarnation)) assertUndoes(registration, current);
    if (!isHolder) assertReplaces(registration, current);
    if (!live) this.#assertRoom(registration.instance);

    const registerTime = isHolder ? live.record.instance!.registerTime : toTimestamp(stamp.wallMs);
    const reported =
      incarnation === holder ? reportAfter(current!, registration.instance) : registration.instance.reported;
    const instance = { ...registration.instance, reported, incarnation, registerTime };
    const isSame = isHolder && equalContent(live.record.instance!, instance);
    if (isHolder && !isSame) assertNamesRun(registration, live);
    const given = registration.incarnation !== undefined || (isHolder && live.record.incarnationGiven);
    return isSame && !live.record.silent
      ? { ...touched(live, stamp), incarnationGiven: given }
      : registered(
          instance,
          given,
          callerAs(ActorKind.ACTOR_KIND_CLIENT, caller, stamp),
          isHolder ? live : undefined,
          stamp,
        );
  }

  /** Warns, and logs, if the process that held the id was not silent: it is fenced, or never knew of the other. */
  #takenOver(before: InstanceItem | undefined, now: Instance): string[] {
    if (!before || before.removedAtMs !== undefined || before.record.silent) return [];
    const { incarnation, address, port, registerTime } = before.record.instance!;
    const since = new Date(fromTimestamp(registerTime!)).toISOString();
    const place = `${address}:${port}`;
    if (incarnation !== now.incarnation) {
      const fields = { namespace: now.namespace, service: now.service, id: now.id, before: place, since };
      const { log } = this.parts.telemetry;
      log.warn({ ...fields, now: `${now.address}:${now.port}` }, 'an instance that was not silent was taken over');
      return [`the id was held by ${place} since ${since}, and that process was not silent: it is told to stop`];
    }
    if (before.record.incarnationGiven || (address === now.address && port === now.port)) return [];
    return [`the id was at ${place}, which was not silent: if two processes use it, give each an incarnation`];
  }

  #assertRoom({ service, id }: Instance): void {
    const { value } = LIMITS.INSTANCES;
    if (this.parts.catalog.instances.liveCount < value) return;
    const message = `${service}/${id} is not registered: the server holds ${value} instances already`;
    throw new RollcallError('TOO_MANY_INSTANCES', message, { metadata: { limit: String(value) } });
  }

  #warnings(registration: Registration, sees: (service: string) => boolean): string[] {
    return [...this.#spelledLike(registration.instance, sees), ...this.#sameAddress(registration, sees)];
  }

  /** Warns of checks of its own that this server would not probe. */
  #notProbed(item: InstanceItem): string[] {
    const { refusal } = this.parts;
    if (!refusal) return [];
    return item.record.instance!.checks.flatMap((check) => {
      const target = targetOf(item, check);
      const refused = target && refusal(target);
      return refused === undefined ? [] : [`check "${check.name}" of ${target!.address}:${target!.port}: ${refused}`];
    });
  }

  /** Warns if another process serves another service at the same address. One process may serve many services. */
  #sameAddress({ instance, incarnation }: Registration, sees: (service: string) => boolean): string[] {
    if (incarnation === undefined) return [];
    for (const { scope, name, record } of this.parts.addresses.sharedWith(instance)) {
      const isOther = record.incarnationGiven && record.instance!.incarnation !== incarnation;
      if (scope === instance.service || record.silent || !isOther || !sees(scope)) continue;
      const at = `${instance.address}:${instance.port}`;
      return [`${at} is also the address of ${scope}/${name}, which another process registered`];
    }
    return [];
  }

  /** Warns of a service that differs from an existing one only in case: it is probably a mistake. */
  #spelledLike({ namespace, service }: Instance, sees: (service: string) => boolean): string[] {
    const known = this.parts.catalog.instances.namespace(namespace);
    if (!known || known.scopes.has(service)) return [];
    const like = known.spelledLike(service);
    if (!like || like.liveCount === 0 || !sees(like.name)) return [];
    return [`service "${service}" differs from the existing "${like.name}" only in case; they are two services`];
  }
}

/** A Deregister comes from the process of the instance if it names its incarnation, where that has one, and says no reason. */
function saysGoodbye({ record }: InstanceItem, incarnation: string | undefined, { comment }: Signature): ActorKind {
  const isOwn = comment === '' && (incarnation !== undefined || !record.incarnationGiven);
  return isOwn ? ActorKind.ACTOR_KIND_CLIENT : ActorKind.ACTOR_KIND_OPERATOR;
}

/** Throws REVISION_MISMATCH unless `replaces_revision` allows the registration to replace the current record. */
function assertReplaces({ replacesRevision, instance }: Registration, current: InstanceItem | undefined): void {
  // Without a current record, a delayed Register can undo nothing.
  if (replacesRevision === undefined || !current) return;
  if (replacesRevision === current.instance.registrationRevision) return;
  const state = current.removedAtMs === undefined ? 'REGISTERED' : 'REMOVED';
  const { incarnation } = current.record.instance!;
  const { registrationRevision: revision } = current.instance;
  throw new RollcallError(
    'REVISION_MISMATCH',
    `${instance.service}/${instance.id} is at revision ${revision}, not at ${replacesRevision}`,
    { metadata: { revision: String(revision), incarnation, state } },
  );
}

/** Throws DEREGISTERED unless `replaces_revision` names the removal of this incarnation, to undo it. */
function assertUndoes({ replacesRevision, instance }: Registration, current: InstanceItem): void {
  const { registrationRevision: revision } = current.instance;
  if (replacesRevision === revision) return;
  const time = new Date(current.removedAtMs!).toISOString();
  const { service, id } = instance;
  const message = `this incarnation of ${service}/${id} was deregistered at ${time}: draw a new one to come back, or undo the removal with replaces_revision ${revision}`;
  throw new RollcallError('DEREGISTERED', message, { metadata: { revision: String(revision), time } });
}

/**
 * Throws INCARNATION_REQUIRED if the registration names no incarnation, would change the record of a process that named
 * its own, and does not name that record in `replaces_revision`.
 */
function assertNamesRun({ incarnation, replacesRevision, instance }: Registration, live: InstanceItem): void {
  const { registrationRevision: revision } = live.instance;
  if (incarnation !== undefined || !live.record.incarnationGiven || replacesRevision === revision) return;
  const { service, id } = instance;
  const fields = changedFields(live.record.instance!, instance).join(', ');
  throw new RollcallError(
    'INCARNATION_REQUIRED',
    `${service}/${id} was registered by a process that named its incarnation: give that incarnation, or ` +
      `replaces_revision ${revision}; this call would change ${fields}`,
    { metadata: { revision: String(revision), fields } },
  );
}

/** The report of a process that registers again. It does not go back to STARTING. */
function reportAfter({ record }: InstanceItem, next: Instance): Instance['reported'] {
  const before = record.instance!;
  const STARTING = ReportedState.REPORTED_STATE_STARTING;
  return reportedState(next) === STARTING && reportedState(before) !== STARTING ? before.reported : next.reported;
}

/** The instance that an entry holds. A record that cannot be read counts as none: a Register replaces it. */
function readable(entry: Entry): InstanceItem | undefined {
  return ifReadable(() => readInstance(entry));
}

/** The fields of an instance that a client sets apart from its names, by their names in the proto. */
const CONTENT = [
  'address',
  'port',
  'endpoints',
  'tags',
  'metadata',
  'version',
  'locality',
  'weight',
  'ttl',
  'liveness',
  'reported',
  'checks',
] as const satisfies readonly (keyof Instance)[];

/** The names of the fields in which two instances differ. */
function changedFields(a: Instance, b: Instance): string[] {
  const only = (instance: Instance, field: keyof Instance): Instance =>
    Instance.fromPartial({ [field]: instance[field] as never });
  return CONTENT.filter((field) => !equalContent(only(a, field), only(b, field)));
}

/** Returns true if the two are equal apart from the fields that the server sets. */
function equalContent(a: Instance, b: Instance): boolean {
  const content = (instance: Instance): Buffer =>
    Buffer.from(
      Instance.encode({
        ...instance,
        metadata: new Map([...instance.metadata].sort(([x], [y]) => (x < y ? -1 : 1))),
        incarnation: '',
        registerTime: undefined,
        changeTime: undefined,
        health: 0,
        healthReason: 0,
        healthNote: '',
        revision: 0n,
        registrationRevision: 0n,
      }).finish(),
    );
  return content(a).equals(content(b));
}

/** Who registered an instance does not count in its size. */
function assertSize(record: InstanceRecord, { length: all }: Uint8Array): void {
  const { value } = LIMITS.INSTANCE_BYTES;
  if (all <= value) return;
  const { length } = writeInstance({ ...record, registeredBy: undefined });
  if (length > value)
    throw invalidRequest([{ field: 'instance', description: `takes ${length} bytes as a record; limit: ${value}` }]);
}

function answer({ instance, ttlMs, expectsHeartbeats }: InstanceItem, warnings: readonly string[]): Registered {
  const intervalMs = expectsHeartbeats ? ttlMs / BEATS_PER_TTL : undefined;
  return { instance, revision: instance.registrationRevision, intervalMs, warnings };
}

function notFound(namespace: string, service: string, id: string): RollcallError {
  return new RollcallError('INSTANCE_NOT_FOUND', `${service}/${id} is not registered in namespace ${namespace}`, {
    metadata: { namespace, service, id },
  });
}

function otherIncarnation({ scope, name, record, instance }: InstanceItem): RollcallError {
  return new RollcallError('INCARNATION_MISMATCH', `${scope}/${name} is held by another incarnation`, {
    metadata: { incarnation: record.instance!.incarnation, revision: String(instance.registrationRevision) },
  });
}
