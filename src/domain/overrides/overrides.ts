import type { Telemetry } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Attempt, Commits } from '../../catalog/commits.js';
import { OVERRIDE } from '../../catalog/kinds.js';
import { page, type Page } from '../../catalog/paging.js';
import type { OverrideRecord } from '../../gen/rollcall/storage/v1/records.js';
import type { Instance } from '../../gen/rollcall/v1/instance.js';
import { type InstanceOverride, OverrideEnd, OverrideState } from '../../gen/rollcall/v1/override.js';
import type { Signature } from '../../model/actor.js';
import { RollcallError } from '../../model/errors.js';
import { type InstanceItem, instanceKey, readInstance } from '../../model/instance.js';
import { ifReadable, type Stamp } from '../../model/item.js';
import { LEFT_UP_PERCENT, LIMITS } from '../../model/limits.js';
import {
  type Decision,
  type OverrideItem,
  overrideEnded,
  overrideKey,
  overrideOf,
  overrideSet,
  readOverride,
  writeOverride,
} from '../../model/override.js';
import { type Entry, putTxn, type Revision } from '../../store/store.js';
import { COUNTERS } from './instruments.js';

/** Names one instance. */
export interface InstanceNames {
  readonly namespace: string;
  readonly service: string;
  readonly id: string;
}

/** A checked request to set an override. */
export interface OverrideRequest extends InstanceNames {
  readonly decision: Decision;
  /** The revision that the override in force must have; 0n: none is in force. `undefined`: any is replaced. */
  readonly expectedRevision: Revision | undefined;
  /** Set it even if too few instances of the service are left up. */
  readonly force: boolean;
}

/** The outcome of a change of an override. */
export interface Overridden {
  /** The instance as shown now. `undefined` if it is not registered. */
  readonly instance: Instance | undefined;
  readonly revision: Revision;
}

/** The dependencies of Overrides. */
export interface OverridesParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly telemetry: Telemetry;
}

/** Sets, clears and lists the overrides of operators. Every write compares the record that it was decided on. */
export class Overrides {
  /** The last decision about each service that is on its way: the next one begins when that is visible. */
  readonly #lastOf = new Map<string, Promise<unknown>>();

  constructor(private readonly parts: OverridesParts) {}

  /** Decisions about one service are taken one after the other, so that several at once cannot empty it. */
  async set(request: OverrideRequest, signature: Signature): Promise<Overridden> {
    const name = `${request.namespace}/${request.service}`;
    const before = this.#lastOf.get(name) ?? Promise.resolve();
    const done = before.then(() => this.#set(request, signature));
    const last = done.catch(() => undefined);
    this.#lastOf.set(name, last);
    try {
      return await done;
    } finally {
      if (this.#lastOf.get(name) === last) this.#lastOf.delete(name);
    }
  }

  async #set(request: OverrideRequest, signature: Signature): Promise<Overridden> {
    const { telemetry } = this.parts;
    const { decision, expectedRevision, force, ...names } = request;
    const item = await this.#instance(names);
    assertRun(item, decision.incarnation);
    if (!force) this.#assertLeavesEnough(item, decision);
    return this.#write(names, signature, (current, stamp) => {
      assertExpected(names, current, expectedRevision);
      if (!current || current.removedAtMs !== undefined) this.#assertRoom(names);
      telemetry.counters.add(COUNTERS.overrides_set);
      return overrideSet(decision, signature, stamp);
    });
  }

  /** Ends the override of an instance. A repeat returns the revision of the first call. */
  async clear(names: InstanceNames, expectedRevision: Revision | undefined, signature: Signature): Promise<Overridden> {
    const { telemetry } = this.parts;
    return this.#write(names, signature, (current, stamp) => {
      if (current?.record.end === OverrideEnd.OVERRIDE_END_CLEARED) return undefined;
      if (!current || current.removedAtMs !== undefined) throw noOverride(names);
      assertExpected(names, current, expectedRevision);
      telemetry.counters.add(COUNTERS.overrides_cleared);
      return overrideEnded(current, OverrideEnd.OVERRIDE_END_CLEARED, signature, stamp);
    });
  }

  /** The overrides in force that the caller sees, by key, behind `after`. */
  list(
    namespace: string | undefined,
    service: string | undefined,
    size: number,
    after: string,
    sees: (item: OverrideItem) => boolean,
  ): Page<InstanceOverride> {
    const { catalog } = this.parts;
    const all = [...catalog.of(OVERRIDE).live()].filter(
      (item) =>
        item.key > after &&
        (namespace === undefined || item.namespace === namespace) &&
        (service === undefined || item.scope === service) &&
        sees(item),
    );
    return page(
      all,
      size,
      ({ key }) => key,
      (item) => overrideOf(item),
      ({ bytes }) => bytes,
    );
  }

  /** Commits the record that `decide` makes of the current one. `undefined`: the current one stays. */
  async #write(
    { namespace, service, id }: InstanceNames,
    { author, comment }: Signature,
    decide: (current: OverrideItem | undefined, stamp: Stamp) => OverrideRecord | undefined,
  ): Promise<Overridden> {
    const { catalog, commits, telemetry } = this.parts;
    catalog.assertReady();
    const key = overrideKey(namespace, service, id);
    return commits.retrying(`the override of ${service}/${id}`, async (): Promise<Attempt<Overridden>> => {
      const { entry } = await commits.get(key); // it is decided rarely, and never on a catalog that is behind
      const current = entry && readable(entry);
      const record = decide(current, commits.stamp());
      let revision = current?.revision ?? 0n;
      if (record) {
        const result = await commits.commit(
          putTxn(record.writeId, key, writeOverride(record), entry?.modRevision ?? 0n),
        );
        if (!result.ok) return { retry: true };
        revision = result.revision;
        const fields = { namespace, service, id, author, comment, revision: Number(revision) };
        const ends = record.end !== OverrideEnd.OVERRIDE_END_UNSPECIFIED;
        telemetry.log.warn(fields, ends ? 'an operator ended an override' : 'an operator set an override');
        await commits.visible(revision);
      }
      const item = catalog.instances.get(namespace, service, id);
      return { done: { instance: item?.removedAtMs === undefined ? item?.instance : undefined, revision } };
    });
  }

  /** The record of an instance, registered or removed. Throws INSTANCE_NOT_FOUND. */
  async #instance({ namespace, service, id }: InstanceNames): Promise<InstanceItem> {
    const { catalog, commits } = this.parts;
    catalog.assertReady();
    const known = catalog.instances.get(namespace, service, id);
    if (known) return known;
    const { entry } = await commits.get(instanceKey(namespace, service, id));
    const item = entry && ifReadable(() => readInstance(entry));
    if (item) return item;
    throw new RollcallError('INSTANCE_NOT_FOUND', `${service}/${id} is not registered in namespace ${namespace}`, {
      metadata: { namespace, service, id },
    });
  }

  /** Throws WOULD_EMPTY. Two operators who ask two servers at once may both pass. */
  #assertLeavesEnough(item: InstanceItem, { state, weight }: Decision): void {
    const takesOut = state !== OverrideState.OVERRIDE_STATE_UNSPECIFIED || weight === 0;
    if (!hasTraffic(item) || !takesOut) return;
    const { namespace, scope: service, name: id } = item;
    let up = 0;
    let all = 0;
    for (const one of this.parts.catalog.instances.scope(namespace, service)?.live() ?? []) {
      all++;
      if (hasTraffic(one)) up++;
    }
    const least = Math.max(1, Math.ceil((all * LEFT_UP_PERCENT) / 100));
    if (up - 1 >= least) return;
    throw new RollcallError(
      'WOULD_EMPTY',
      `without ${service}/${id}, ${up - 1} of ${all} instances of ${service} would be up; at least ${least} must stay, unless "force" is set`,
      { metadata: { namespace, service, id, left_up: String(up - 1), needed: String(least) } },
    );
  }

  #assertRoom({ service, id }: InstanceNames): void {
    const { value } = LIMITS.OVERRIDES;
    if (this.parts.catalog.of(OVERRIDE).liveCount < value) return;
    const message = `${service}/${id} gets no override: the server holds ${value} already`;
    throw new RollcallError('TOO_MANY_OVERRIDES', message, { metadata: { limit: String(value) } });
  }
}

/** True if callers send an instance anything. */
const hasTraffic = ({ isUp, instance }: InstanceItem): boolean => isUp && instance.weight !== 0;

/** Throws INCARNATION_MISMATCH if an override is for another run of the process than the one that has the id. */
function assertRun({ scope, name, record, instance }: InstanceItem, incarnation: string): void {
  const holder = record.instance!.incarnation;
  if (incarnation === '' || incarnation === holder) return;
  throw new RollcallError('INCARNATION_MISMATCH', `${scope}/${name} is held by another incarnation`, {
    metadata: { incarnation: holder, revision: String(instance.registrationRevision) },
  });
}

/** Throws OVERRIDE_CHANGED. */
function assertExpected(
  { service, id }: InstanceNames,
  current: OverrideItem | undefined,
  expected: Revision | undefined,
): void {
  const revision = current?.removedAtMs === undefined ? (current?.revision ?? 0n) : 0n;
  if (expected === undefined || expected === revision) return;
  const message = `the override of ${service}/${id} is at revision ${revision}, not at ${expected}`;
  throw new RollcallError('OVERRIDE_CHANGED', message, { metadata: { revision: String(revision) } });
}

function noOverride({ namespace, service, id }: InstanceNames): RollcallError {
  return new RollcallError('OVERRIDE_NOT_FOUND', `${service}/${id} has no override in force`, {
    metadata: { namespace, service, id },
  });
}

/** The override that an entry holds. A record that cannot be read counts as none, and is replaced. */
const readable = (entry: Entry): OverrideItem | undefined => ifReadable(() => readOverride(entry));
