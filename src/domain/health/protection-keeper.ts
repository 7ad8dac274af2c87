import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { CatalogChange } from '../../catalog/changes.js';
import type { Attempt, Commits } from '../../catalog/commits.js';
import { INSTANCE, PROTECTION, recordedProtection } from '../../catalog/kinds.js';
import type { ProtectionRecord } from '../../gen/rollcall/storage/v1/records.js';
import { RollcallError } from '../../model/errors.js';
import type { InstanceItem } from '../../model/instance.js';
import { ifReadable, type Stamp } from '../../model/item.js';
import {
  type ProtectionItem,
  protectionBegun,
  protectionEnded,
  protectionKey,
  protectionRearmed,
  protectionReleased,
  PROTECTIONS,
  readProtection,
  writeProtection,
} from '../../model/protection.js';
import { type CommitResult, type Entry, putTxn, type Revision } from '../../store/store.js';
import { ALARMS, COUNTERS } from './instruments.js';

/** A service is protected when more than this share of it is suspect: half of a service does not fail by itself. */
const ENTER_PERCENT = 50;
/**
 * Protection also takes more than this number: in a small service a few deaths are a large share, and callers have long
 * noticed them.
 */
const ENTER_COUNT = 3;
/** Protection may end when no more than this share is suspect. The gap to ENTER_PERCENT prevents a quick new start. */
const LEAVE_PERCENT = 35;
/** Protection may also end when no more than this number is suspect, for services that are too small for shares. */
const LEAVE_COUNT = 2;
/**
 * Protection ends only after this time. At the default TTL a beat comes every 5 s, so every instance has been heard by
 * then.
 */
const LEAVE_AFTER_MS = 5_000;
/** How often pending writes are checked. */
const TICK_MS = 250;
/** The wait before a write that the store did not take is repeated. */
const WRITE_AGAIN_MS = 1_000;
/** The most writes in flight; further ones wait for the next tick. */
const WRITES_MAX = 100;
/** The most services that the alarm names. */
const NAMED_MAX = 5;

/** The instances of one service that expect heartbeats. */
interface Service {
  readonly namespace: string;
  readonly name: string;
  total: number;
  suspect: number;
  /** The time since which the number of suspect instances is low enough to end the protection. */
  calmSinceMs: number | undefined;
  writing: boolean;
  /** No write begins before this. */
  notBeforeMs: number;
  /** The mod revision of a record that cannot be read: it is overwritten. */
  brokenRevision: Revision | undefined;
}

/** The dependencies of a ProtectionKeeper. */
export interface ProtectionKeeperParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Returns true if this member decides about a service. */
  readonly judges: (namespace: string, service: string) => boolean;
}

/**
 * Protects a service if too many of its instances are UNHEALTHY at once. A fault of the network or of this product is
 * then more likely than the death of all of them.
 *
 * Every member counts every service; the member that judges a service writes the record. The record decides, not the
 * counts, so all replicas show the same. A protection that an operator released does not begin again before the service
 * has been below the threshold.
 */
export class ProtectionKeeper implements Closeable {
  readonly #services = new Map<string, Service>();
  /** Services that may need another record than the current one. */
  readonly #unsettled = new Set<Service>();
  readonly #writes = new Set<Promise<void>>();
  readonly #active = new Set<string>();
  readonly #stop = new AbortController();
  #activeChanged = false;
  #ticking: Timer | undefined;

  constructor(private readonly parts: ProtectionKeeperParts) {}

  start(): void {
    const { catalog, clock } = this.parts;
    catalog.subscribe('protection', (change) => this.#take(change), this.#stop.signal);
    this.#ticking ??= clock.every(TICK_MS, () => this.#settle());
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#ticking?.cancel();
    this.#ticking = undefined;
    await Promise.all(this.#writes);
  }

  /** Ends the protection of a service. It decides on the store's record, so any replica can do it. */
  async release(namespace: string, service: string, author: string): Promise<Revision> {
    const { catalog, commits, telemetry } = this.parts;
    catalog.assertReady();
    const key = protectionKey(namespace, service);
    return commits.retrying(`the protection of ${service}`, async (): Promise<Attempt<Revision>> => {
      const { entry } = await commits.get(key);
      const current = entry && readable(entry);
      if (current?.record.released) return { done: current.revision };
      if (!current?.record.active) throw notProtected(namespace, service);
      const result = await this.#commit(
        key,
        current.modRevision,
        protectionReleased(author, this.parts.commits.stamp()),
      );
      if (!result.ok) return { retry: true };
      telemetry.counters.add(COUNTERS.protections_released);
      const fields = { namespace, service, author, revision: Number(result.revision) };
      telemetry.log.warn(fields, 'an operator released the protection of a service');
      await commits.visible(result.revision);
      return { done: result.revision };
    });
  }

  #take(change: CatalogChange): void {
    for (const { before, after } of change.of(INSTANCE)) {
      if (before) this.#count(before, -1);
      if (after) this.#count(after, 1);
    }
    for (const { after } of change.of(PROTECTION)) if (after) this.#takeRecord(after);
    if (change.cause === 'RESET') {
      this.#active.clear();
      this.#activeChanged = true;
    }
    this.#alarm();
    this.#settle();
  }

  #count({ namespace, scope, expectsHeartbeats, suspect, removedAtMs }: InstanceItem, sign: 1 | -1): void {
    if (!expectsHeartbeats || removedAtMs !== undefined) return;
    const service = this.#service(namespace, scope);
    service.total += sign;
    if (suspect) service.suspect += sign;
    this.#unsettled.add(service);
  }

  #service(namespace: string, name: string): Service {
    const key = protectionKey(namespace, name);
    let service = this.#services.get(key);
    if (!service) {
      service = {
        namespace,
        name,
        total: 0,
        suspect: 0,
        calmSinceMs: undefined,
        writing: false,
        notBeforeMs: 0,
        brokenRevision: undefined,
      };
      this.#services.set(key, service);
    }
    return service;
  }

  #takeRecord({ key, namespace, scope, record }: ProtectionItem): void {
    if (record.active) this.#active.add(key);
    else this.#active.delete(key);
    this.#activeChanged = true;
    this.#unsettled.add(this.#service(namespace, scope));
  }

  #alarm(): void {
    if (!this.#activeChanged) return;
    this.#activeChanged = false;
    const { alarms } = this.parts.telemetry;
    if (this.#active.size === 0) return alarms.clear(ALARMS.PROTECTION);
    const named = [...this.#active].slice(0, NAMED_MAX).map((key) => key.slice(PROTECTIONS.length));
    const more = this.#active.size > named.length ? ` and ${this.#active.size - named.length} more` : '';
    alarms.raise(ALARMS.PROTECTION, `most instances of a service are UNHEALTHY, but shown: ${named.join(', ')}${more}`);
  }

  /** Begins the writes that are due, and drops the services that need none. */
  #settle(): void {
    const { catalog } = this.parts;
    if (!catalog.ready) return;
    for (const service of this.#unsettled) {
      if (service.writing) continue;
      const protection = recordedProtection(catalog.instances.scope(service.namespace, service.name));
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

  /** The next step of the record. `later`: the service must be checked again. */
  #due(service: Service, protection: ProtectionItem | undefined): 'nothing' | 'later' | Step {
    const { clock } = this.parts;
    if (!protection?.record.active) {
      service.calmSinceMs = undefined;
      if (exceeds(service, ENTER_COUNT, ENTER_PERCENT)) return protection?.record.released ? 'nothing' : 'begin';
      return protection?.record.released ? 'rearm' : 'nothing';
    }
    if (exceeds(service, LEAVE_COUNT, LEAVE_PERCENT)) {
      service.calmSinceMs = undefined;
      return 'nothing';
    }
    service.calmSinceMs ??= clock.now();
    return clock.now() - service.calmSinceMs < LEAVE_AFTER_MS ? 'later' : 'end';
  }

  #mayWrite({ namespace, name, notBeforeMs }: Service): boolean {
    const { clock, judges } = this.parts;
    return this.#writes.size < WRITES_MAX && clock.now() >= notBeforeMs && judges(namespace, name);
  }

  async #write(service: Service, protection: ProtectionItem | undefined, step: Step): Promise<void> {
    const { clock, commits, telemetry } = this.parts;
    const { namespace, name, total, suspect } = service;
    service.writing = true;
    service.notBeforeMs = clock.now() + WRITE_AGAIN_MS;
    const expected = service.brokenRevision ?? protection?.modRevision ?? 0n;
    service.brokenRevision = undefined;
    try {
      const record = STEPS[step](this.parts.commits.stamp(), protection);
      const result = await this.#commit(protectionKey(namespace, name), expected, record);
      if (!result.ok) {
        const [found] = result.found;
        if (found && !readable(found)) service.brokenRevision = found.modRevision;
        return;
      }
      if (step === 'begin') telemetry.counters.add(COUNTERS.protections_entered);
      if (step === 'end') telemetry.counters.add(COUNTERS.protections_released);
      const fields = { namespace, service: name, unhealthy: suspect, total, revision: Number(result.revision) };
      if (step !== 'rearm') telemetry.log.warn(fields, `the protection of a service ${step}s`);
      await commits.visible(result.revision);
      service.notBeforeMs = 0;
    } catch (err) {
      // The service remains unsettled, so the write is repeated.
      if (!(err instanceof RollcallError))
        telemetry.log.error({ err, namespace, service: name }, 'a protection could not be recorded; retrying');
    } finally {
      service.writing = false;
    }
  }

  #commit(key: string, modRevision: Revision, record: ProtectionRecord): Promise<CommitResult> {
    return this.parts.commits.commit(putTxn(record.writeId, key, writeProtection(record), modRevision));
  }
}

type Step = 'begin' | 'end' | 'rearm';

const STEPS: Record<Step, (stamp: Stamp, current: ProtectionItem | undefined) => ProtectionRecord> = {
  begin: (stamp) => protectionBegun(stamp),
  end: (stamp) => protectionEnded(stamp),
  rearm: (stamp, current) => protectionRearmed(current!, stamp),
};

/** Returns true if more than this number, and more than this share, are suspect. */
function exceeds({ total, suspect }: Service, count: number, percent: number): boolean {
  return suspect > count && suspect * 100 > total * percent;
}

/** The protection that an entry holds. A record that cannot be read protects nothing. */
function readable(entry: Entry): ProtectionItem | undefined {
  return ifReadable(() => readProtection(entry));
}

function notProtected(namespace: string, service: string): RollcallError {
  return new RollcallError('NOT_PROTECTED', `${service} is not protected in namespace ${namespace}`, {
    metadata: { namespace, service },
  });
}
