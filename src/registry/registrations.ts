import type { Clock } from '../base/clock.js';
import type { CounterBoard } from '../base/observe.js';
import type { Random } from '../base/random.js';
import type { Catalog } from '../catalog/catalog.js';
import type { StoreGate } from '../catalog/store-gate.js';
import { InstanceRecord } from '../gen/rollcall/storage/v1/records.js';
import { Instance, RemovalReason } from '../gen/rollcall/v1/instance.js';
import { invalidRequest, RollcallError } from '../model/errors.js';
import { instanceKey } from '../model/keys.js';
import { BEATS_PER_TTL, LIMITS } from '../model/limits.js';
import { type InstanceItem, readInstance } from '../model/records.js';
import { registered, removed, touched } from '../model/transitions.js';
import { toTimestamp } from '../model/time.js';
import type { Revision } from '../store/store.js';

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
    for (let tries = 0; tries < WRITE_TRIES; tries++) {
      const record = this.#decide(registration, standing);
      const result = await this.store.commit(this.store.instanceTxn(record, standing?.modRevision ?? 0n));
      if (result.ok) {
        await this.store.visible(result.revision);
        this.counters.add('registers');
        return answer(record, result.revision, warnings);
      }
      const found = result.found[0];
      standing = found && readInstance(key, found.value, found.modRevision);
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
      if (standing.removedAtMs !== undefined) return standing.revision;
      const stamp = { writeId: this.store.writeId(), wallMs: this.clock.wall() };
      const record = removed(standing, RemovalReason.REMOVAL_REASON_DEREGISTERED, stamp);
      const result = await this.store.commit(this.store.instanceTxn(record, standing.modRevision));
      if (result.ok) {
        await this.store.visible(result.revision);
        this.counters.add('deregisters');
        return result.revision;
      }
      const found = result.found[0];
      standing = found && readInstance(key, found.value, found.modRevision);
    }
    throw conflict(`${service}/${id}`);
  }

  async #read(key: string): Promise<InstanceItem | undefined> {
    const { entry } = await this.store.get(key);
    return entry && readInstance(key, entry.value, entry.modRevision);
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
    assertSize(record);
    return isHolder && !live.record.silent && equalContent(live.record.instance!, instance)
      ? touched(live, stamp)
      : record;
  }

  #assertReplaces({ replacesRevision, instance }: Registration, standing: InstanceItem | undefined): void {
    // Where nothing stands there is nothing that a delayed Register could take back.
    if (replacesRevision === undefined || !standing || replacesRevision === standing.revision) return;
    const state = standing.removedAtMs === undefined ? 'REGISTERED' : 'REMOVED';
    const { incarnation } = standing.record.instance!;
    throw new RollcallError(
      'REVISION_MISMATCH',
      `${instance.service}/${instance.id} stands at revision ${standing.revision}, not at ${replacesRevision}`,
      { metadata: { revision: String(standing.revision), incarnation, state } },
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
    const known = this.catalog.instances.namespace(namespace)?.scopes;
    if (!known || known.has(service)) return [];
    const lower = service.toLowerCase();
    for (const [name, { value: scope }] of known) {
      if (name.toLowerCase() === lower && scope.liveCount > 0) {
        return [`service "${service}" differs from the existing "${name}" only in case; they are two services`];
      }
    }
    return [];
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

function assertSize(record: InstanceRecord): void {
  const bytes = InstanceRecord.encode(record).finish().length;
  const { value } = LIMITS.INSTANCE_BYTES;
  if (bytes > value)
    throw invalidRequest([{ field: 'instance', description: `takes ${bytes} bytes as a record; at most ${value}` }]);
}

function answer(record: InstanceRecord, committed: Revision, warnings: readonly string[]): Registered {
  const { namespace, service, id } = record.instance!;
  const { instance, revision, ttlMs, beating } = readInstance(
    instanceKey(namespace, service, id),
    InstanceRecord.encode(record).finish(),
    committed,
  );
  return { instance, revision, intervalMs: beating ? ttlMs / BEATS_PER_TTL : undefined, warnings };
}

function notFound(namespace: string, service: string, id: string): RollcallError {
  return new RollcallError('INSTANCE_NOT_FOUND', `${service}/${id} is not registered in namespace ${namespace}`, {
    metadata: { namespace, service, id },
  });
}

function otherIncarnation({ scope, name, record, revision }: InstanceItem): RollcallError {
  return new RollcallError('INCARNATION_MISMATCH', `${scope}/${name} is held by another process run`, {
    metadata: { incarnation: record.instance!.incarnation, revision: String(revision) },
  });
}

function conflict(what: string): RollcallError {
  return new RollcallError('WRITE_CONFLICT', `others keep writing ${what}; nothing was written`);
}
