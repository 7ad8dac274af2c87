import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import { nameSome } from '../../base/name-some.js';
import type { AlarmBoard } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import { ALARMS } from './instruments.js';

/** How often the members are compared. */
const LOOK_MS = 5_000;
/** Files that are distributed arrive at different times. They differ if they do so for longer than this. */
const DIFFERS_MS = 60_000;
/** The most members that the alarm names. */
const NAMED_MAX = 5;

/** The dependencies of AccessComparison. */
export interface AccessComparisonParts {
  readonly catalog: Pick<Catalog, 'members'>;
  readonly clock: Clock;
  readonly alarms: AlarmBoard;
}

/** Raises an alarm while the members of the cluster have different access files: a right would depend on the server that is asked. */
export class AccessComparison implements Closeable {
  #sinceMs: number | undefined;
  #timer: Timer | undefined;

  constructor(private readonly parts: AccessComparisonParts) {}

  start(): void {
    this.#timer ??= this.parts.clock.every(LOOK_MS, () => this.#look());
  }

  close(): void {
    this.#timer?.cancel();
  }

  #look(): void {
    const { catalog, clock, alarms } = this.parts;
    const hashes = new Set(catalog.members.map(({ record }) => record.accessHash));
    if (hashes.size <= 1) {
      this.#sinceMs = undefined;
      return alarms.clear(ALARMS.ACCESS_DIFFERS);
    }
    this.#sinceMs ??= clock.now();
    if (clock.now() - this.#sinceMs <= DIFFERS_MS) return;
    const files = catalog.members.map(({ record }) => `${record.node} has ${record.accessHash || 'none'}`);
    alarms.raise(ALARMS.ACCESS_DIFFERS, `the servers have different access files: ${nameSome(files, NAMED_MAX)}`);
  }
}
