import { declareCounters, type Telemetry } from '../base/telemetry.js';
import { RollcallError } from '../model/errors.js';
import { type Store, type StoreCopy, StoreRefused } from '../store/store.js';

/** The counters of backups. */
export const COUNTERS = declareCounters({
  backups: 'Copies of the store that were made for a backup.',
});

/** The dependencies of Backups. */
export interface BackupsParts {
  readonly store: Store;
  readonly telemetry: Telemetry;
}

/** Copies the store for backups, one at a time: each takes as much room on the disk as the data. */
export class Backups {
  #isTaken = false;

  constructor(private readonly parts: BackupsParts) {}

  /** Makes a copy. The next one can be made once it is closed. */
  async take(): Promise<StoreCopy> {
    if (this.#isTaken) throw new RollcallError('BACKUP_RUNNING', 'another backup of this server is being read');
    this.#isTaken = true;
    const free = (): void => void (this.#isTaken = false);
    try {
      const copy = await this.#copy();
      return { ...copy, close: () => copy.close().finally(free) };
    } catch (error) {
      free();
      throw error;
    }
  }

  async #copy(): Promise<StoreCopy> {
    const { store, telemetry } = this.parts;
    const copy = await store.copy().catch((error: unknown) => {
      if (error instanceof StoreRefused) throw new RollcallError('STORE_FULL', error.message, { cause: error });
      throw error;
    });
    if ('command' in copy)
      throw new RollcallError('NOT_EMBEDDED', `the store is etcd, which makes its own backups: ${copy.command}`);
    telemetry.counters.add(COUNTERS.backups);
    telemetry.log.info({ revision: Number(copy.revision), bytes: copy.bytes }, 'the store was copied for a backup');
    return copy;
  }
}
