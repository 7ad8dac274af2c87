import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import { nameSome } from '../../base/name-some.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Commits } from '../../catalog/commits.js';
import { OVERRIDE } from '../../catalog/kinds.js';
import { OverrideEnd } from '../../gen/rollcall/v1/override.js';
import { RollcallError } from '../../model/errors.js';
import { instanceKey } from '../../model/instance.js';
import { type OverrideItem, overrideEnded, writeOverride } from '../../model/override.js';
import { DAY_MS, fromTimestamp } from '../../model/time.js';
import { putTxn } from '../../store/store.js';
import type { LivenessClock } from '../health/liveness-clock.js';
import type { Cluster } from '../health/peers.js';
import { ALARMS, COUNTERS } from './instruments.js';

/** How often overrides are looked at. */
const TICK_MS = 1_000;
/** An override ends at least so late: the clocks of the servers differ a little. */
const LATE_MS = 1_000;
/** The most overrides that end in one tick: they share one group of transactions. */
const ENDS_MAX = 100;
/** An override of an instance that is gone ends after this. */
const FORGOTTEN_MS = DAY_MS;
/** An override without an end raises an alarm after this. */
const OLD_MS = 7 * DAY_MS;
/** The most instances that the alarm names. */
const NAMED_MAX = 5;

/** The dependencies of an OverrideKeeper. */
export interface OverrideKeeperParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly clock: Clock;
  readonly liveness: LivenessClock;
  readonly cluster: Pick<Cluster, 'jury' | 'judges' | 'fenced'>;
  readonly telemetry: Telemetry;
}

/**
 * Ends overrides by themselves: when their time is over, when another process than theirs has registered with the id, and
 * when their instance has been gone for long. The member that judges the service writes, under the guard of its verdicts, so
 * that all replicas agree. It writes only while it trusts its clocks.
 */
export class OverrideKeeper implements Closeable {
  #ticking: Timer | undefined;
  #writing: Promise<void> | undefined;

  constructor(private readonly parts: OverrideKeeperParts) {}

  start(): void {
    this.#ticking ??= this.parts.clock.every(TICK_MS, () => this.#tick());
  }

  async close(): Promise<void> {
    this.#ticking?.cancel();
    await this.#writing;
  }

  #tick(): void {
    const { catalog, clock, cluster, liveness } = this.parts;
    if (!catalog.ready) return;
    const wallMs = clock.wall();
    this.#alarm(wallMs);
    if (this.#writing || liveness.pauses.size > 0 || cluster.fenced() !== undefined) return;
    const ending: { readonly item: OverrideItem; readonly end: OverrideEnd }[] = [];
    for (const item of catalog.of(OVERRIDE).live()) {
      const end = this.#endOf(item, wallMs);
      if (end !== undefined && cluster.judges(item.namespace, item.scope)) ending.push({ item, end });
      if (ending.length >= ENDS_MAX) break;
    }
    if (ending.length > 0) this.#writing = this.#write(ending).finally(() => (this.#writing = undefined));
  }

  /** Why an override ends now. `undefined` if it stays in force. */
  #endOf({ namespace, scope, name, record, expiresAtMs }: OverrideItem, wallMs: number): OverrideEnd | undefined {
    const item = this.parts.catalog.instances.get(namespace, scope, name);
    const run = item?.record.instance!.incarnation;
    if (item && record.incarnation !== '' && run !== record.incarnation) return OverrideEnd.OVERRIDE_END_NEW_RUN;
    if (expiresAtMs !== undefined && wallMs >= expiresAtMs + LATE_MS) return OverrideEnd.OVERRIDE_END_EXPIRED;
    if (!item && wallMs - setAtMs(record.setTime) >= FORGOTTEN_MS) return OverrideEnd.OVERRIDE_END_FORGOTTEN;
    return undefined;
  }

  async #write(ending: readonly { readonly item: OverrideItem; readonly end: OverrideEnd }[]): Promise<void> {
    const { catalog, cluster, commits, telemetry } = this.parts;
    const jury = cluster.jury();
    if (!jury) return;
    try {
      const txns = ending.map(({ item, end }) => {
        const record = overrideEnded(item, end, undefined, commits.stamp());
        const txn = putTxn(record.writeId, item.key, writeOverride(record), item.modRevision);
        if (end === OverrideEnd.OVERRIDE_END_EXPIRED) return txn;
        // It ends for what became of the instance: that must still be so.
        const instance = instanceKey(item.namespace, item.scope, item.name);
        return { ...txn, compares: [...txn.compares, ...catalog.unchanged(instance)] };
      });
      const results = await commits.commitEach(jury.guard, txns);
      for (const [i, { item, end }] of ending.entries()) {
        const result = results[i]!;
        if (!result.ok) continue; // it is looked at again at the next tick
        telemetry.counters.add(COUNTERS.overrides_ended);
        const { namespace, scope: service, name: id } = item;
        const why = OverrideEnd[end].replace('OVERRIDE_END_', '');
        telemetry.log.info({ namespace, service, id, why, revision: Number(result.revision) }, 'an override ended');
        await commits.visible(result.revision);
      }
    } catch (err) {
      if (!(err instanceof RollcallError)) telemetry.log.error({ err }, 'overrides could not be ended; retrying');
    }
  }

  #alarm(wallMs: number): void {
    const { catalog, telemetry } = this.parts;
    const old: string[] = [];
    for (const { namespace, scope, name, record, expiresAtMs } of catalog.of(OVERRIDE).live())
      if (expiresAtMs === undefined && wallMs - setAtMs(record.setTime) > OLD_MS)
        old.push(`${namespace}/${scope}/${name}`);
    if (old.length === 0) return telemetry.alarms.clear(ALARMS.OVERRIDE_OLD);
    const message = `overrides without an end were set more than 7 days ago: ${nameSome(old.sort(), NAMED_MAX)}`;
    telemetry.alarms.raise(ALARMS.OVERRIDE_OLD, message);
  }
}

const setAtMs = (time: { readonly seconds: bigint; readonly nanos: number } | undefined): number =>
  time ? fromTimestamp(time) : 0;
