import type { Clock } from '../../base/clock.js';
import type { CounterBoard } from '../../base/observe.js';
import type { Random } from '../../base/random.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { StoreGate } from '../../catalog/store-gate.js';
import type { InstanceRecord } from '../../gen/rollcall/storage/v1/records.js';
import { Instance, RemovalReason } from '../../gen/rollcall/v1/instance.js';
import { invalidRequest, RollcallError } from '../../model/errors.js';
import { instanceKey } from '../../model/keys.js';
import { BEATS_PER_TTL, LIMITS } from '../../model/limits.js';
import { BadRecord, type InstanceItem, instanceItem, readInstance, writeInstance } from '../../model/records.js';
import { registered, removed, touched } from '../../model/transitions.js';
import { toTimestamp } from '../../model/time.js';
import type { Entry, Revision } from '../../store/store.js';

/** How often a write that others keep overtaking is decided anew before the caller is told ABORTED. */
const WRITE_TRIES = 8;

/** A checked request to register: defaults filled, fields that the server sets empty. */
export interface Registration {
  readonly instance: Instance;
  readonly incarnation: string | undefined;
  readonly replacesRevision: Revision | undefined;
}

/** What a registration came to. */
export interface Registered {
  readonly instance: Instance;
  readonly revision: Revision;
  /** Undefined: nobody needs to beat. */
  readonly intervalMs: number | undefined;
  readonly warnings: readonly string[];
}

/** Names one instance, and optionally the process run that speaks for it. */
export interface InstanceRef {
  readonly namespace: string;
  readonly service: string;
  readonly id: string;
  readonly incarnation: string | undefined;
}

/** Registers and deregisters instances. Every write compares the record that it was decided on. */
export class Registrations {
  constructor(
    private readonly catalog: Catalog,
    private readonly store: StoreGate,
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly counters: CounterBoard,
  ) {}

  async register(registration: Registration): Promise<Registered> {
    this.catalog.assertReady();
    const { namespace, service, id } = registration.instance;
    const key = instanceKey(namespace, service, id);
    const warnings = this.#warnings(registration.instance);
    let standing = this.catalog.instances.get(namespace, service, id);
    let expected = standing?.modRevision ?? 0n;
    let confirmed = false;
    const look = (entry: Entry | undefined): void => {
      standing = entry && readable(key, entry);
      expected = entry?.modRevision ?? 0n;
      confirmed = true;
    };
    for (let tries = 0; tries < WRITE_TRIES; tries++) {
      let record: InstanceRecord;
      try {
        record = this.#decide(registration, standing);
      } catch (error) {
        // What this catalog shows may be old; only the store may refuse.
        if (confirmed || !(error instanceof RollcallError && error.reason === 'REVISION_MISMATCH')) throw error;
        look((await this.store.get(key)).entry);
        continue;
      }
      const value = writeInstance(record);
      assertSize(value);
      const result = await this.store.commit(this.store.instanceTxn(record, expected, value));
      if (result.ok) {
        await this.store.visible(result.revision);
        this.counters.add('registers');
        return answer(instanceItem(key, record, result.revision), warnings);
      }
      look(result.found[0]);
    }
    throw conflict(`${service}/${id}`);
  }

  async deregister({ namespace, service, id, incarnation }: InstanceRef): Promise<Revision> {
    this.catalog.assertReady();
    const key = instanceKey(namespace, service, id);
    let standing = this.catalog.instances.get(namespace, service, id) ?? (await this.#read(key));
    for (let tries = 0; tries < WRITE_TRIES; tries++) {
      const holder = standing?.record.instance!.incarnation;
      if (!standing) throw notFound(namespace, service, id);
      if (incarnation !== undefined && incarnation !== holder) {
        // What this catalog shows may be old; only the store may refuse.
        const now: InstanceItem | undefined = await this.#read(key);
        if (now?.modRevision === standing.modRevision) throw otherIncarnation(standing);
        standing = now;
        continue;
      }
      if (standing.removedAtMs !== undefined) return standing.instance.revision;
      const stamp = { writeId: this.store.writeId(), wallMs: this.clock.wall() };
      const record = removed(standing, RemovalReason.REMOVAL_REASON_DEREGISTERED, stamp);
      const result = await this.store.commit(this.store.instanceTxn(record, standing.modRevision));
      if (result.ok) {
        await this.store.visible(result.revision);
        this.counters.add('deregisters');
        return result.revision;
      }
      const found = result.found[0];
      standing = found && readable(key, found);
    }
    throw conflict(`${service}/${id}`);
  }

  async #read(key: string): Promise<InstanceItem | undefined> {
    const { entry } = await this.store.get(key);
    return entry && readable(key, entry);
  }

  /** The record to write where `standing` stands, or a refusal. */
  #decide(registration: Registration, standing: InstanceItem | undefined): InstanceRecord {
    const stamp = { writeId: this.store.writeId(), wallMs: this.clock.wall() };
    const live = standing && standing.removedAtMs === undefined ? standing : undefined;
    const holder = standing?.record.instance!.incarnation;
    const incarnation = registration.incarnation ?? live?.record.instance!.incarnation ?? this.random.id();
    const isHolder = live !== undefined && incarnation === holder;
    if (!isHolder) this.#assertReplaces(registration, standing);
    if (!live) this.#assertRoom(registration.instance);

    const registerTime = isHolder ? live.record.instance!.registerTime : toTimestamp(stamp.wallMs);
    const instance = { ...registration.instance, incarnation, registerTime };
    const record = registered(instance, stamp);
    return isHolder && !live.record.silent && equalContent(live.record.instance!, instance)
      ? touched(live, stamp)
      : record;
  }

  #assertReplaces({ replacesRevision, instance }: Registration, standing: InstanceItem | undefined): void {
    // Where nothing stands there is nothing that a delayed Register could take back.
    if (replacesRevision === undefined || !standing || replacesRevision === standing.instance.revision) return;
    const state = standing.removedAtMs === undefined ? 'REGISTERED' : 'REMOVED';
    const { incarnation } = standing.record.instance!;
    const { revision } = standing.instance;
    throw new RollcallError(
      'REVISION_MISMATCH',
      `${instance.service}/${instance.id} stands at revision ${revision}, not at ${replacesRevision}`,
      { metadata: { revision: String(revision), incarnation, state } },
    );
  }

  #assertRoom({ service, id }: Instance): void {
    const { value } = LIMITS.INSTANCES;
    if (this.catalog.instances.liveCount < value) return;
    throw new RollcallError(
      'TOO_MANY_INSTANCES',
      `${service}/${id} is not registered: the server holds ${value} instances already`,
      {
        metadata: { limit: String(value) },
      },
    );
  }

  /** A service that differs from an existing one only in case is probably a slip. */
  #warnings({ namespace, service }: Instance): string[] {
    const known = this.catalog.instances.namespace(namespace);
    if (!known || known.scopes.has(service)) return [];
    const like = known.spelledLike(service);
    if (!like || like.liveCount === 0) return [];
    return [`service "${service}" differs from the existing "${like.name}" only in case; they are two services`];
  }
}

/** What stands at a key. A record that cannot be read is as good as none: a Register replaces it. */
function readable(key: string, { value, modRevision }: Entry): InstanceItem | undefined {
  try {
    return readInstance(key, value, modRevision);
  } catch (error) {
    if (error instanceof BadRecord) return undefined;
    throw error;
  }
}

/** True: the two say the same, apart from what the server sets. */
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
    throw invalidRequest([{ field: 'instance', description: `takes ${length} bytes as a record; at most ${value}` }]);
}

function answer({ instance, ttlMs, beating }: InstanceItem, warnings: readonly string[]): Registered {
  return { instance, revision: instance.revision, intervalMs: beating ? ttlMs / BEATS_PER_TTL : undefined, warnings };
}

function notFound(namespace: string, service: string, id: string): RollcallError {
  return new RollcallError('INSTANCE_NOT_FOUND', `${service}/${id} is not registered in namespace ${namespace}`, {
    metadata: { namespace, service, id },
  });
}

function otherIncarnation({ scope, name, record, instance }: InstanceItem): RollcallError {
  return new RollcallError('INCARNATION_MISMATCH', `${scope}/${name} is held by another process run`, {
    metadata: { incarnation: record.instance!.incarnation, revision: String(instance.revision) },
  });
}

function conflict(what: string): RollcallError {
  return new RollcallError('WRITE_CONFLICT', `others keep writing ${what}; nothing was written`);
}
