import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/observe.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { StoreGate } from '../../catalog/store-gate.js';
import type { ProtectionRecord } from '../../gen/rollcall/storage/v1/records.js';
import { RollcallError } from '../../model/errors.js';
import { protectionKey } from '../../model/keys.js';
import {
  ifReadable,
  type InstanceItem,
  readProtection,
  type ServiceProtection,
  writeProtection,
} from '../../model/records.js';
import { protectedFrom, rearmed, releasedBy, type Stamped, unprotectedFrom } from '../../model/transitions.js';
import type { Entry, Revision } from '../../store/store.js';

/** A service is protected when more than this share of it is unhealthy: half of a service does not fail by itself. */
const ENTER_PERCENT = 50;
/** And more than so many: in a small service a few deaths are many per cent, and callers have long noticed. */
const ENTER_COUNT = 3;
/** The protection may end when no more than this share is unhealthy: well below, so that it does not come and go. */
const LEAVE_PERCENT = 35;
/** Or no more than so many, for the services that are too small for per cents. */
const LEAVE_COUNT = 2;
/** And only after it has been so for this long: a beat at the default ttl comes every 5 s, so all have had their say. */
const LEAVE_AFTER_MS = 5_000;
/** How often what is to be written, but has not been, is looked at. */
const TICK_MS = 250;
/** The wait before a record that the store did not take is written again. */
const WRITE_AGAIN_MS = 1_000;
/** The most records on their way to the store at once; the others wait for the next tick. */
const WRITES_MAX = 100;
/** How often a release that others have overtaken is decided anew. */
const WRITE_TRIES = 8;
/** The alarm names so many services. */
const NAMED_MAX = 5;

/** Says whether this member is the one that decides about a service. */
export type Judges = (namespace: string, service: string) => boolean;

/** The instances of one service that somebody must beat for. */
interface Service {
  readonly namespace: string;
  readonly name: string;
  total: number;
  ailing: number;
  /** Since when few enough are unhealthy to end the protection. */
  calmSinceMs: number | undefined;
  writing: boolean;
  /** Nothing is written before this. */
  notBeforeMs: number;
  /** The revision of a record that cannot be read: it is written over. */
  brokenRevision: Revision | undefined;
}

/**
 * Protects services of which too many instances are UNHEALTHY at once: that is more likely a fault of the network, or
 * ours, than of all of them.
 *
 * Every member counts every service; the one that judges a service writes the record. The record decides, not the
 * counts: all replicas show what stands in the catalog. A protection that an operator has released does not begin again
 * before the service has been below the threshold.
 */
export class Protection implements Closeable {
  readonly #services = new Map<string, Service>();
  /** Services that may need a record that does not stand yet. */
  readonly #unsettled = new Set<Service>();
  readonly #writes = new Set<Promise<void>>();
  readonly #active = new Set<string>();
  #activeChanged = false;
  #ticking: Timer | undefined;

  constructor(
    private readonly catalog: Catalog,
    private readonly store: StoreGate,
    private readonly clock: Clock,
    private readonly telemetry: Telemetry,
    private readonly judges: Judges,
  ) {
    catalog.onInstance(({ before, after }) => {
      if (before) this.#count(before, -1);
      if (after) this.#count(after, 1);
    });
    catalog.onProtection((protection) => this.#seen(protection));
    catalog.onReset(() => {
      this.#active.clear();
      this.#activeChanged = true;
      this.#alarm();
    });
    catalog.onRevision(() => {
      this.#alarm();
      this.#settle();
    });
  }

  start(): void {
    this.#ticking ??= this.clock.every(TICK_MS, () => this.#settle());
  }

  async close(): Promise<void> {
    this.#ticking?.cancel();
    this.#ticking = undefined;
    await Promise.all(this.#writes);
  }

  /** Ends the protection of a service. The store is asked what stands there, so that any replica will do. */
  async release(namespace: string, service: string, author: string): Promise<Revision> {
    this.catalog.assertReady();
    const key = protectionKey(namespace, service);
    for (let tries = 0; tries < WRITE_TRIES; tries++) {
      const { entry } = await this.store.get(key);
      const standing = entry && readable(entry);
      if (standing?.record.released) return standing.revision;
      if (!standing?.record.active) throw notProtected(namespace, service);
      const result = await this.#commit(key, standing.modRevision, releasedBy(author, this.#stamp()));
      if (!result.ok) continue;
      this.telemetry.counters.add('protections_released');
      const fields = { namespace, service, author, revision: Number(result.revision) };
      this.telemetry.log.warn(fields, 'the protection of a service was released by an operator');
      await this.store.visible(result.revision);
      return result.revision;
    }
    throw new RollcallError('WRITE_CONFLICT', `others keep writing the protection of ${service}; nothing was written`);
  }

  #count({ namespace, scope, beating, ailing, removedAtMs }: InstanceItem, sign: 1 | -1): void {
    if (!beating || removedAtMs !== undefined) return;
    const service = this.#service(namespace, scope);
    service.total += sign;
    if (ailing) service.ailing += sign;
    this.#unsettled.add(service);
  }

  #service(namespace: string, name: string): Service {
    const key = protectionKey(namespace, name);
    let service = this.#services.get(key);
    if (!service) {
      service = {
        ...{ namespace, name, total: 0, ailing: 0 },
        ...{ calmSinceMs: undefined, writing: false, notBeforeMs: 0, brokenRevision: undefined },
      };
      this.#services.set(key, service);
    }
    return service;
  }

  #seen({ key, namespace, service, record }: ServiceProtection): void {
    if (record.active) this.#active.add(key);
    else this.#active.delete(key);
    this.#activeChanged = true;
    this.#unsettled.add(this.#service(namespace, service));
  }

  #alarm(): void {
    if (!this.#activeChanged) return;
    this.#activeChanged = false;
    const { alarms } = this.telemetry;
    if (this.#active.size === 0) return alarms.clear('PROTECTION');
    const named = [...this.#active].slice(0, NAMED_MAX).map((key) => key.slice(key.indexOf('/') + 1));
    const more = this.#active.size > named.length ? ` and ${this.#active.size - named.length} more` : '';
    alarms.raise('PROTECTION', `most instances are UNHEALTHY, and shown all the same: ${named.join(', ')}${more}`);
  }

  /** Writes what is due, and forgets the services of which nothing is. */
  #settle(): void {
    if (!this.catalog.ready) return;
    for (const service of this.#unsettled) {
      if (service.writing) continue;
      const protection = this.catalog.instances.scope(service.namespace, service.name)?.protection;
      const due = this.#due(service, protection);
      if (due === 'nothing') {
        this.#unsettled.delete(service);
        if (service.total === 0) this.#services.delete(protectionKey(service.namespace, service.name));
      } else if (due !== 'later' && this.#mayWrite(service)) {
        const write = this.#write(service, protection, due);
        this.#writes.add(write);
        void write.finally(() => this.#writes.delete(write));
      }
    }
  }

  /** The record that must stand next; `later`: it is to be looked at again. */
  #due(service: Service, protection: ServiceProtection | undefined): 'nothing' | 'later' | Step {
    if (!protection?.record.active) {
      service.calmSinceMs = undefined;
      if (exceeds(service, ENTER_COUNT, ENTER_PERCENT)) return protection?.record.released ? 'nothing' : 'begin';
      return protection?.record.released ? 'rearm' : 'nothing';
    }
    if (exceeds(service, LEAVE_COUNT, LEAVE_PERCENT)) {
      service.calmSinceMs = undefined;
      return 'nothing';
    }
    service.calmSinceMs ??= this.clock.now();
    return this.clock.now() - service.calmSinceMs < LEAVE_AFTER_MS ? 'later' : 'end';
  }

  #mayWrite({ namespace, name, notBeforeMs }: Service): boolean {
    return this.#writes.size < WRITES_MAX && this.clock.now() >= notBeforeMs && this.judges(namespace, name);
  }

  async #write(service: Service, protection: ServiceProtection | undefined, step: Step): Promise<void> {
    const { namespace, name, total, ailing } = service;
    service.writing = true;
    service.notBeforeMs = this.clock.now() + WRITE_AGAIN_MS;
    const expected = service.brokenRevision ?? protection?.modRevision ?? 0n;
    service.brokenRevision = undefined;
    try {
      const record = STEPS[step](this.#stamp(), protection);
      const result = await this.#commit(protectionKey(namespace, name), expected, record);
      if (!result.ok) {
        const [found] = result.found;
        if (found && !readable(found)) service.brokenRevision = found.modRevision;
        return;
      }
      if (step === 'begin') this.telemetry.counters.add('protections_entered');
      if (step === 'end') this.telemetry.counters.add('protections_released');
      const fields = { namespace, service: name, unhealthy: ailing, total, revision: Number(result.revision) };
      if (step !== 'rearm') this.telemetry.log.warn(fields, `the protection of a service ${step}s`);
      await this.store.visible(result.revision);
      service.notBeforeMs = 0;
    } catch (err) {
      // It stays unsettled, and is written again.
      if (!(err instanceof RollcallError)) this.telemetry.log.error({ err }, 'a protection was not recorded');
    } finally {
      service.writing = false;
    }
  }

  #commit(key: string, modRevision: Revision, record: ProtectionRecord): ReturnType<StoreGate['commit']> {
    return this.store.commit({
      writeId: record.writeId,
      compares: [{ key, modRevision }],
      writes: [{ kind: 'put', key, value: writeProtection(record) }],
    });
  }

  #stamp(): Stamped {
    return { writeId: this.store.writeId(), wallMs: this.clock.wall() };
  }
}

type Step = 'begin' | 'end' | 'rearm';

const STEPS: Record<Step, (stamp: Stamped, standing: ServiceProtection | undefined) => ProtectionRecord> = {
  begin: (stamp) => protectedFrom(stamp),
  end: (stamp) => unprotectedFrom(stamp),
  rearm: (stamp, standing) => rearmed(standing!, stamp),
};

/** True: more than so many, and more than this share, are unhealthy. */
function exceeds({ total, ailing }: Service, count: number, percent: number): boolean {
  return ailing > count && ailing * 100 > total * percent;
}

/** What stands at a key. A record that cannot be read protects nothing. */
function readable({ key, value, modRevision }: Entry): ServiceProtection | undefined {
  return ifReadable(() => readProtection(key, value, modRevision));
}

function notProtected(namespace: string, service: string): RollcallError {
  return new RollcallError('NOT_PROTECTED', `${service} is not protected in namespace ${namespace}`, {
    metadata: { namespace, service },
  });
}
