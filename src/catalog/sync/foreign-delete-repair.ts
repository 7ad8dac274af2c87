import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/telemetry.js';
import { RollcallError } from '../../model/errors.js';
import type { Item } from '../../model/item.js';
import { putTxn } from '../../store/store.js';
import type { Catalog } from '../catalog.js';
import type { Commits } from '../commits.js';
import type { Kind } from '../kind.js';

/** Time between two repairs: short, because clients cannot change a record while it is missing. */
const REPAIR_EVERY_MS = 1_000;

/** The dependencies of a ForeignDeleteRepair. */
export interface ForeignDeleteRepairParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

/**
 * Writes back records after foreign deletes. Rollcall never deletes a record that is not a tombstone, so the deletion
 * was a mistake or a fault. Without its record an instance could neither fall silent nor be removed.
 */
export class ForeignDeleteRepair implements Closeable {
  #timer: Timer | undefined;
  #repairing: Promise<void> | undefined;

  constructor(private readonly parts: ForeignDeleteRepairParts) {}

  start(): void {
    this.#timer ??= this.parts.clock.every(REPAIR_EVERY_MS, () => {
      this.#repairing ??= this.#repairAll().finally(() => (this.#repairing = undefined));
    });
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#repairing;
  }

  async #repairAll(): Promise<void> {
    const { catalog, telemetry } = this.parts;
    for (const { kind, item } of catalog.foreignDeletes()) {
      try {
        await this.#repair(kind, item);
      } catch (err) {
        if (!(err instanceof RollcallError))
          telemetry.log.error({ err, key: item.key }, 'a foreign delete could not be repaired; retrying');
        return;
      }
    }
  }

  /** Writes the record back if the key is still empty. A newer record of another writer stays. */
  async #repair(kind: Kind, item: Item): Promise<void> {
    const { commits, telemetry } = this.parts;
    const stamp = commits.stamp();
    const value = kind.rewrite(item, stamp);
    const result = await commits.commit(putTxn(stamp.writeId, item.key, value, 0n));
    if (result.ok) telemetry.log.warn({ key: item.key }, 'wrote back a record that was deleted from the store');
  }
}
