import type { CounterBoard } from '../../base/telemetry.js';
import type { Random } from '../../base/random.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Attempt, Commits } from '../../catalog/commits.js';
import type { InstanceRecord } from '../../gen/rollcall/storage/v1/records.js';
import { Instance, RemovalReason } from '../../gen/rollcall/v1/instance.js';
import { invalidRequest, RollcallError } from '../../model/errors.js';
import {
  type InstanceItem,
  instanceItem,
  instanceKey,
  readInstance,
  registered,
  removed,
  touched,
  writeInstance,
} from '../../model/instance.js';
import { ifReadable } from '../../model/item.js';
import { BEATS_PER_TTL, LIMITS } from '../../model/limits.js';
import { toTimestamp } from '../../model/time.js';
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
  readonly random: Random;
  readonly counters: CounterBoard;
}

/** Registers and deregisters instances. Every write compares the record that it was decided on. */
export class Registrations {
  constructor(private readonly parts: RegistrationsParts) {}

  async register(registration: Registration): Promise<Registered> {
    const { catalog, commits, counters } = this.parts;
    catalog.assertReady();
    const { namespace, service, id } = registration.instance;
    const key = instanceKey(namespace, service, id);
    const warnings = this.#warnings(registration.instance);
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
        record = this.#decide(registration, current);
      } catch (error) {
        // The catalog may be behind the store, so a refusal must rest on a record that was read from the store.
        if (confirmed || !(error instanceof RollcallError && error.reason === 'REVISION_MISMATCH')) throw error;
        return confirm((await commits.get(key)).entry);
      }
      const value = writeInstance(record);
      assertSize(value);
      const result = await commits.commit(commits.instanceTxn(record, expected, value));
      if (!result.ok) return confirm(result.found[0]);
      await commits.visible(result.revision);
      counters.add(COUNTERS.registers);
      return { done: answer(instanceItem(key, record, result.revision, value.length), warnings) };
    });
  }

  async deregister({ namespace, service, id, incarnation }: InstanceRef): Promise<Revision> {
    const { catalog, commits, counters } = this.parts;
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
      if (current.removedAtMs !== undefined) return { done: current.instance.revision };
      const record = removed(current, RemovalReason.REMOVAL_REASON_DEREGISTERED, commits.stamp());
      const result = await commits.commit(commits.instanceTxn(record, current.modRevision));
      if (!result.ok) {
        const found = result.found[0];
        current = found && readable(found);
        return { retry: true };
      }
      await commits.visible(result.revision);
      counters.add(COUNTERS.deregisters);
      return { done: result.revision };
    });
  }

  async #read(key: string): Promise<InstanceItem | undefined> {
    const { entry } = await this.parts.commits.get(key);
    return entry && readable(entry);
  }

  /** The record that replaces the current one. Throws if the registration is refused. */
  #decide(registration: Registration, current: InstanceItem | undefined): InstanceRecord {
    const { commits, random } = this.parts;
    const stamp = commits.stamp();
    const live = current && current.removedAtMs === undefined ? current : undefined;
    const holder = current?.record.instance!.incarnation;
    const incarnation = registration.incarnation ?? live?.record.instance!.incarnation ?? random.id();
    const isHolder = live !== undefined && incarnation === holder;
    if (!isHolder) assertReplaces(registration, current);
    if (!live) this.#assertRoom(registration.instance);

    const registerTime = isHolder ? live.record.instance!.registerTime : toTimestamp(stamp.wallMs);
    const instance = { ...registration.instance, incarnation, registerTime };
    const record = registered(instance, stamp);
    return isHolder && !live.record.silent && equalContent(live.record.instance!, instance)
      ? touched(live, stamp)
      : record;
  }

  #assertRoom({ service, id }: Instance): void {
    const { value } = LIMITS.INSTANCES;
    if (this.parts.catalog.instances.liveCount < value) return;
    const message = `${service}/${id} is not registered: the server holds ${value} instances already`;
    throw new RollcallError('TOO_MANY_INSTANCES', message, { metadata: { limit: String(value) } });
  }

  /** Warns of a service that differs from an existing one only in case: it is probably a mistake. */
  #warnings({ namespace, service }: Instance): string[] {
    const known = this.parts.catalog.instances.namespace(namespace);
    if (!known || known.scopes.has(service)) return [];
    const like = known.spelledLike(service);
    if (!like || like.liveCount === 0) return [];
    return [`service "${service}" differs from the existing "${like.name}" only in case; they are two services`];
  }
}

/** Throws REVISION_MISMATCH unless `replaces_revision` allows the registration to replace the current record. */
function assertReplaces({ replacesRevision, instance }: Registration, current: InstanceItem | undefined): void {
  // Without a current record, a delayed Register can undo nothing.
  if (replacesRevision === undefined || !current || replacesRevision === current.instance.revision) return;
  const state = current.removedAtMs === undefined ? 'REGISTERED' : 'REMOVED';
  const { incarnation } = current.record.instance!;
  const { revision } = current.instance;
  throw new RollcallError(
    'REVISION_MISMATCH',
    `${instance.service}/${instance.id} is at revision ${revision}, not at ${replacesRevision}`,
    { metadata: { revision: String(revision), incarnation, state } },
  );
}

/** The instance that an entry holds. A record that cannot be read counts as none: a Register replaces it. */
function readable(entry: Entry): InstanceItem | undefined {
  return ifReadable(() => readInstance(entry));
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
        revision: 0n,
      }).finish(),
    );
  return content(a).equals(content(b));
}

function assertSize({ length }: Uint8Array): void {
  const { value } = LIMITS.INSTANCE_BYTES;
  if (length > value)
    throw invalidRequest([{ field: 'instance', description: `takes ${length} bytes as a record; limit: ${value}` }]);
}

function answer({ instance, ttlMs, expectsHeartbeats }: InstanceItem, warnings: readonly string[]): Registered {
  const intervalMs = expectsHeartbeats ? ttlMs / BEATS_PER_TTL : undefined;
  return { instance, revision: instance.revision, intervalMs, warnings };
}

function notFound(namespace: string, service: string, id: string): RollcallError {
  return new RollcallError('INSTANCE_NOT_FOUND', `${service}/${id} is not registered in namespace ${namespace}`, {
    metadata: { namespace, service, id },
  });
}

function otherIncarnation({ scope, name, record, instance }: InstanceItem): RollcallError {
  return new RollcallError('INCARNATION_MISMATCH', `${scope}/${name} is held by another incarnation`, {
    metadata: { incarnation: record.instance!.incarnation, revision: String(instance.revision) },
  });
}
