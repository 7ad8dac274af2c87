import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import { nameSome } from '../../base/name-some.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { CatalogChange } from '../../catalog/changes.js';
import type { Scope } from '../../catalog/collection.js';
import type { Attempt, Commits } from '../../catalog/commits.js';
import { INSTANCE, PROTECTION, recordedProtection } from '../../catalog/kinds.js';
import type { ProtectionRecord } from '../../gen/rollcall/storage/v1/records.js';
import { RollcallError } from '../../model/errors.js';
import { canFall, fallsOf, type InstanceItem } from '../../model/instance.js';
import type { Signature } from '../../model/actor.js';
import { ifReadable } from '../../model/item.js';
import {
  type ProtectionItem,
  protectionBegun,
  protectionEnded,
  protectionKey,
  PROTECTIONS,
  readProtection,
  wasReleased,
  writeProtection,
} from '../../model/protection.js';
import { type Entry, putTxn, type Revision, type Txn } from '../../store/store.js';
import { ALARMS, COUNTERS } from './instruments.js';
import type { LivenessClock } from './liveness-clock.js';
import type { Cluster } from './peers.js';
import { type Beginning, type ProtectionRule } from './protection-rule.js';
import type { ProtectionTimes } from './protection-times.js';

/** How often services with ill instances are looked at. */
const TICK_MS = 250;
/** The wait before a write that the store did not take is repeated. */
const WRITE_AGAIN_MS = 1_000;
/** The most writes in flight; further ones wait for the next tick. */
const WRITES_MAX = 100;
/** The most services that the alarm names. */
const NAMED_MAX = 5;

/** The instances of one service that can fall, counted. */
interface Service {
  readonly namespace: string;
  readonly name: string;
  up: number;
  /** Ill instances that were seasoned when they fell, and those that were not. */
  seasoned: number;
  unseasoned: number;
  /** Since when this member has seen the protection; and since when enough instances have been up to end it. */
  waits: { readonly sinceMs: number; fullMs: number | undefined; halfMs: number | undefined } | undefined;
  writing: boolean;
  /** No write begins before this. */
  notBeforeMs: number;
  /** The mod revision of a record that cannot be read: it is overwritten. */
  brokenRevision: Revision | undefined;
}

/** Why a protection ends by itself, in the order in which the reasons are looked for. */
type End = 'empty' | 'full' | 'half' | 'late';

/** A change of the record of a service. */
type Step = { readonly kind: 'begins'; readonly event: Beginning } | { readonly kind: 'ends'; readonly why: End };

/** The dependencies of a ProtectionKeeper. */
export interface ProtectionKeeperParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly clock: Clock;
  readonly liveness: LivenessClock;
  readonly cluster: Pick<Cluster, 'jury' | 'judges' | 'onMembers'>;
  readonly rule: ProtectionRule;
  readonly times: ProtectionTimes;
  readonly telemetry: Telemetry;
}

/**
 * Protects a service from an event in which many of its instances fall ill. A fault of the network or of this product
 * is then more likely than the death of all of them.
 *
 * The member that judges a service writes the record, under the guard of its verdicts. The record decides, and says from
 * which revision on falls belong to the event, so all replicas show the same. Only falls after the last end can cause
 * another protection.
 */
export class ProtectionKeeper implements Closeable {
  readonly #services = new Map<string, Service>();
  /** Services with ill instances or an active protection: only they can need another record. */
  readonly #unsettled = new Set<Service>();
  readonly #writes = new Set<Promise<void>>();
  readonly #active = new Set<string>();
  readonly #stop = new AbortController();
  #activeChanged = false;
  #ticking: Timer | undefined;

  constructor(private readonly parts: ProtectionKeeperParts) {}

  start(): void {
    const { catalog, clock, cluster } = this.parts;
    const { signal } = this.#stop;
    catalog.subscribe('protection', (change) => this.#take(change), signal);
    cluster.onMembers(() => this.#forgetWaits(), signal);
    this.#ticking ??= clock.every(TICK_MS, () => this.#settle(this.#unsettled));
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#ticking?.cancel();
    this.#ticking = undefined;
    await Promise.all(this.#writes);
  }

  /** Ends the protection of a service. It decides on the store's record, so any replica can do it. */
  async release(namespace: string, service: string, signature: Signature): Promise<Revision> {
    const { catalog, commits, telemetry } = this.parts;
    catalog.assertReady();
    const key = protectionKey(namespace, service);
    return commits.retrying(`the protection of ${service}`, async (): Promise<Attempt<Revision>> => {
      const { entry } = await commits.get(key);
      const current = entry && readable(entry);
      if (current && wasReleased(current.record)) return { done: current.revision };
      if (!current?.record.active) throw notProtected(namespace, service);
      const record = protectionEnded(signature, commits.stamp());
      const result = await commits.commit(txnOf(key, record, current.modRevision));
      if (!result.ok) return { retry: true };
      telemetry.counters.add(COUNTERS.protections_released);
      const { author, comment } = signature;
      const fields = { namespace, service, author, comment, revision: Number(result.revision) };
      telemetry.log.warn(fields, 'an operator released the protection of a service');
      await commits.visible(result.revision);
      return { done: result.revision };
    });
  }

  #take(change: CatalogChange): void {
    const touched = new Set<Service>();
    for (const { before, after } of [...change.of(INSTANCE), ...change.moved(INSTANCE)]) {
      if (before) this.#count(before, -1);
      if (after) touched.add(this.#count(after, 1));
    }
    for (const { after } of change.of(PROTECTION)) if (after) this.#takeRecord(after);
    if (change.cause === 'LISTING') this.#forgetWaits();
    if (change.cause === 'RESET') {
      this.#active.clear();
      this.#activeChanged = true;
    }
    this.#alarm();
    this.#settle([...touched].filter((service) => this.#unsettled.has(service)));
  }

  #count(item: InstanceItem, sign: 1 | -1): Service {
    const service = this.#service(item.namespace, item.scope);
    if (!canFall(item) || item.removedAtMs !== undefined) return service;
    const falls = fallsOf(item);
    if (item.isUp) service.up += sign;
    if (falls.some(({ seasoned }) => seasoned)) service.seasoned += sign;
    else if (falls.length > 0) service.unseasoned += sign;
    if (service.seasoned > 0) this.#unsettled.add(service);
    return service;
  }

  #service(namespace: string, name: string): Service {
    const key = protectionKey(namespace, name);
    let service = this.#services.get(key);
    if (!service) {
      service = {
        ...{ namespace, name, up: 0, seasoned: 0, unseasoned: 0, waits: undefined },
        ...{ writing: false, notBeforeMs: 0, brokenRevision: undefined },
      };
      this.#services.set(key, service);
    }
    return service;
  }

  #takeRecord({ key, namespace, scope, record }: ProtectionItem): void {
    if (record.active) this.#active.add(key);
    else this.#active.delete(key);
    this.#activeChanged = true;
    const service = this.#service(namespace, scope);
    service.waits = undefined;
    this.#unsettled.add(service);
  }

  /** Another member may judge a service, or changes were not seen as they happened: every wait begins again. */
  #forgetWaits(): void {
    for (const service of this.#unsettled) service.waits = undefined;
  }

  #alarm(): void {
    if (!this.#activeChanged) return;
    this.#activeChanged = false;
    const { alarms } = this.parts.telemetry;
    if (this.#active.size === 0) return alarms.clear(ALARMS.PROTECTION);
    const services = [...this.#active].map((key) => key.slice(PROTECTIONS.length));
    alarms.raise(
      ALARMS.PROTECTION,
      `many instances of a service fell silent or failed their checks at once, and are still shown: ${nameSome(services, NAMED_MAX)}`,
    );
  }

  /** Begins the writes that are due, and forgets the services that need none. */
  #settle(services: Iterable<Service>): void {
    const { catalog, cluster } = this.parts;
    if (!catalog.ready) return;
    for (const service of services) {
      const { namespace, name } = service;
      if (service.writing) continue;
      const scope = catalog.instances.scope(namespace, name);
      const protection = recordedProtection(scope);
      if (!protection?.record.active && service.seasoned === 0) this.#forget(service);
      else if (scope && cluster.judges(namespace, name)) this.#decide(service, scope, protection);
      else service.waits = undefined;
    }
  }

  #forget(service: Service): void {
    const { namespace, name, up, unseasoned } = service;
    this.#unsettled.delete(service);
    service.waits = undefined;
    if (up + unseasoned === 0) this.#services.delete(protectionKey(namespace, name));
  }

  #decide(service: Service, scope: Scope<InstanceItem>, protection: ProtectionItem | undefined): void {
    const { clock, liveness } = this.parts;
    // While the liveness clock is paused nothing is decided. But a wait must end if fewer instances are up meanwhile.
    const isPaused = liveness.pauses.size > 0;
    const isActive = protection?.record.active === true;
    const end = isActive ? this.#end(service, scope, protection) : undefined;
    const step = isActive || isPaused ? end : this.#beginning(service, scope, protection);
    if (!step || isPaused || this.#writes.size >= WRITES_MAX || clock.now() < service.notBeforeMs) return;
    const write = this.#write(service, protection, step);
    this.#writes.add(write);
    void write.finally(() => this.#writes.delete(write));
  }

  #beginning(service: Service, scope: Scope<InstanceItem>, protection: ProtectionItem | undefined): Step | undefined {
    // At most all seasoned ones fell, and all that are up were up before. Without a loop of processes that start and die,
    // this alone rules most services out, and nothing has to be counted.
    if (service.unseasoned === 0 && service.up >= service.seasoned) return undefined;
    const event = this.parts.rule.beginning(scope, protection);
    return event && { kind: 'begins', event };
  }

  #end(service: Service, scope: Scope<InstanceItem>, protection: ProtectionItem): Step | undefined {
    const { liveness, rule, times } = this.parts;
    const { nowMs } = liveness;
    service.waits ??= { sinceMs: nowMs, fullMs: undefined, halfMs: undefined };
    const { waits } = service;
    const up = rule.upCount(scope);
    const before = protection.record.before - rule.setAsideSince(scope, protection, waits.sinceMs);
    waits.fullMs = up >= before ? (waits.fullMs ?? nowMs) : undefined;
    waits.halfMs = 2 * up >= before ? (waits.halfMs ?? nowMs) : undefined;
    const has = (sinceMs: number | undefined, forMs: number): boolean =>
      sinceMs !== undefined && nowMs - sinceMs >= forMs;
    const reasons: Readonly<Record<End, boolean>> = {
      empty: service.seasoned === 0 || ![...scope.live()].some(({ shownByProtection }) => shownByProtection),
      full: has(waits.fullMs, times.fullMs),
      half: has(waits.halfMs, times.halfMs),
      late: has(waits.sinceMs, times.maxMs),
    };
    const why = (Object.keys(reasons) as End[]).find((reason) => reasons[reason]);
    return why && { kind: 'ends', why };
  }

  async #write(service: Service, protection: ProtectionItem | undefined, step: Step): Promise<void> {
    const { clock, cluster, commits, telemetry } = this.parts;
    const { namespace, name } = service;
    const jury = cluster.jury();
    if (!jury) return;
    service.writing = true;
    service.notBeforeMs = clock.now() + WRITE_AGAIN_MS;
    const key = protectionKey(namespace, name);
    const expected = service.brokenRevision ?? protection?.modRevision ?? 0n;
    service.brokenRevision = undefined;
    try {
      const stamp = commits.stamp();
      const record = step.kind === 'begins' ? protectionBegun(step.event, stamp) : protectionEnded(undefined, stamp);
      const [result] = await commits.commitEach(jury.guard, [txnOf(key, record, expected)]);
      if (!result!.ok) {
        const found = result!.found.find((entry) => entry?.key === key);
        if (found && !readable(found)) service.brokenRevision = found.modRevision;
        return;
      }
      telemetry.counters.add(counterOf(step));
      const more = step.kind === 'begins' ? { before: step.event.before } : { why: step.why };
      const fields = { namespace, service: name, up: service.up, ...more, revision: Number(result!.revision) };
      telemetry.log.warn(fields, `the protection of a service ${step.kind}`);
      await commits.visible(result!.revision);
      service.notBeforeMs = 0;
    } catch (err) {
      // The service remains unsettled, so the write is repeated.
      if (!(err instanceof RollcallError))
        telemetry.log.error({ err, namespace, service: name }, 'a protection could not be recorded; retrying');
    } finally {
      service.writing = false;
    }
  }
}

function counterOf(step: Step) {
  if (step.kind === 'ends') return COUNTERS[`protections_ended_${step.why}`];
  return step.event.reason === 'ALONE' ? COUNTERS.protections_begun_alone : COUNTERS.protections_begun_widespread;
}

function txnOf(key: string, record: ProtectionRecord, modRevision: Revision): Txn {
  return putTxn(record.writeId, key, writeProtection(record), modRevision);
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
