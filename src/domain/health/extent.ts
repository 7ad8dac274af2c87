import type { Catalog } from '../../catalog/catalog.js';
import { canFall, type InstanceItem } from '../../model/instance.js';
import type { LivenessClock } from './liveness-clock.js';
import type { LivenessTable } from './liveness-table.js';
import { fallSince, memoryMs, type ProtectionTimes, seasonMs } from './protection-times.js';

/** A fall is widespread if this share of the registry, of a namespace or of a zone fell too: one zone of five. */
const PERCENT = 20;
/** And this many instances: two that die of one cause are common. */
const INSTANCES = 3;
/** And instances of this many services: a service alone proves nothing about its surroundings. */
const SERVICES = 2;
/** How old the counts may be. One count visits every instance: some milliseconds for 100,000 of them. */
const COUNT_EVERY_MS = 1_000;

/** The instances of the registry, of a namespace or of a zone. */
interface Tally {
  /** Instances that count and are up, or fell within the memory of their service. */
  all: number;
  fallen: number;
  readonly services: Set<string>;
}

/** The dependencies of an Extent. */
export interface ExtentParts {
  readonly catalog: Catalog;
  readonly table: LivenessTable;
  readonly liveness: LivenessClock;
  readonly times: ProtectionTimes;
}

/**
 * Decides how far a fault extends beyond one service. A small service proves nothing by itself; it is protected if much
 * of its surroundings fell, too.
 */
export class Extent {
  #tallies = new Map<string, Tally>();
  #countedAtMs = -Infinity;

  constructor(private readonly parts: ExtentParts) {}

  /** Returns true if much of the registry, of the namespace, or of the zone of one of these instances fell ill. */
  isWidespread(fallen: readonly InstanceItem[]): boolean {
    const { nowMs } = this.parts.liveness;
    if (nowMs - this.#countedAtMs >= COUNT_EVERY_MS) this.#count();
    const scopes = new Set(fallen.flatMap(surroundingsOf));
    return [...scopes].some((scope) => {
      const tally = this.#tallies.get(scope);
      if (!tally || tally.fallen < INSTANCES || tally.services.size < SERVICES) return false;
      return tally.fallen * 100 >= tally.all * PERCENT;
    });
  }

  #count(): void {
    const { catalog, liveness, times } = this.parts;
    this.#countedAtMs = liveness.nowMs;
    this.#tallies = new Map();
    for (const [namespace, { scopes }] of catalog.instances.namespaces()) {
      for (const [service, { value: scope }] of scopes) {
        const items = [...scope.live()].filter(canFall);
        const since = liveness.nowMs - memoryMs(times, items);
        for (const item of items) this.#countOne(item, `${namespace}/${service}`, since);
      }
    }
  }

  #countOne(item: InstanceItem, service: string, sinceMs: number): void {
    const { table, liveness, times } = this.parts;
    const entry = table.entry(item.key);
    if (!entry) return;
    const fell = fallSince(item, entry, sinceMs) !== undefined;
    const isUp = item.isUp && liveness.nowMs - entry.runBeganMs >= seasonMs(times, item.ttlMs);
    if (!fell && !isUp) return;
    for (const scope of surroundingsOf(item)) {
      const tally = this.#tallies.get(scope) ?? { all: 0, fallen: 0, services: new Set<string>() };
      this.#tallies.set(scope, tally);
      tally.all++;
      if (!fell) continue;
      tally.fallen++;
      tally.services.add(service);
    }
  }
}

/** The names of the registry, the namespace and the zone of an instance. */
function surroundingsOf({ namespace, record }: InstanceItem): string[] {
  const { region = '', zone = '' } = record.instance!.locality ?? {};
  const wider = ['', `namespace ${namespace}`];
  return zone === '' ? wider : [...wider, `zone ${JSON.stringify([region, zone])}`];
}
