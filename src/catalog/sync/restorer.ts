import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/observe.js';
import { RollcallError } from '../../model/errors.js';
import {
  type ConfigItem,
  type InstanceItem,
  type ServiceProtection,
  writeConfig,
  writeInstance,
  writeProtection,
} from '../../model/records.js';
import { rewritten, type Stamped, touched } from '../../model/transitions.js';
import type { Entry } from '../../store/store.js';
import type { Catalog } from '../catalog.js';
import type { StoreGate } from '../store-gate.js';

type Restorable = InstanceItem | ConfigItem | ServiceProtection | Entry;

/** How often deletions that were not ours are looked for: soon, because whoever holds the record cannot change it. */
const RESTORE_EVERY_MS = 1_000;

/**
 * Writes back what somebody else deleted from the store. Nothing of ours deletes a record that stands, so it was a slip,
 * or a fault; and without its record an instance could neither fall silent nor be removed.
 */
export class Restorer implements Closeable {
  #timer: Timer | undefined;
  #restoring: Promise<void> | undefined;

  constructor(
    private readonly catalog: Catalog,
    private readonly store: StoreGate,
    private readonly clock: Clock,
    private readonly telemetry: Telemetry,
  ) {}

  start(): void {
    this.#timer ??= this.clock.every(RESTORE_EVERY_MS, () => {
      this.#restoring ??= this.#restoreAll().finally(() => (this.#restoring = undefined));
    });
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#restoring;
  }

  async #restoreAll(): Promise<void> {
    for (const item of this.catalog.deletedByOthers()) {
      try {
        await this.#restore(item);
      } catch (err) {
        if (!(err instanceof RollcallError)) this.telemetry.log.error({ err, key: item.key }, 'not restored');
        return;
      }
    }
  }

  /** Whoever has written the key meanwhile is right. */
  async #restore(item: Restorable): Promise<void> {
    const writeId = this.store.writeId();
    const value = valueOf(item, { writeId, wallMs: this.clock.wall() });
    const result = await this.store.commit({
      writeId,
      compares: [{ key: item.key, modRevision: 0n }],
      writes: [{ kind: 'put', key: item.key, value }],
    });
    if (result.ok) this.telemetry.log.warn({ key: item.key }, 'a record that somebody else deleted was written back');
  }
}

/** What users see of it stays as it is. */
function valueOf(item: Restorable, stamp: Stamped): Uint8Array {
  if ('value' in item) return item.value;
  if ('instance' in item) return writeInstance(touched(item, stamp));
  if ('config' in item) return writeConfig(stamp.writeId, item.config);
  return writeProtection(rewritten(item, stamp));
}
