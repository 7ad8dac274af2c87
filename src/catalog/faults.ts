import type { Telemetry } from '../base/telemetry.js';
import type { BadRecord } from '../model/item.js';
import { BARRIER_KEY } from '../model/keys.js';
import type { Revision } from '../store/store.js';
import { ALARMS, COUNTERS } from './instruments.js';

/** Faults of stored records: records that cannot be read, and foreign deletes. Each of the two is an alarm. */
export class Faults {
  /** The mod revisions of records that cannot be read, by key. */
  readonly #unreadable = new Map<string, Revision>();
  readonly #foreignDeletes = new Set<string>();

  constructor(private readonly telemetry: Telemetry) {}

  /** The keys of foreign deletes. */
  get foreignDeletes(): ReadonlySet<string> {
    return this.#foreignDeletes;
  }

  /** The keys of records that cannot be read. */
  get unreadableKeys(): Iterable<string> {
    return this.#unreadable.keys();
  }

  /** The mod revision of a record that cannot be read. `undefined` if the record can be read. */
  unreadableAt(key: string): Revision | undefined {
    return this.#unreadable.get(key);
  }

  /** Counts a record of a kind that this version does not know. The record of barriers is of none. */
  unknown(key: string): void {
    if (key !== BARRIER_KEY) this.telemetry.counters.add(COUNTERS.unknown_keys);
  }

  unreadable(key: string, modRevision: Revision, error: BadRecord): void {
    this.telemetry.counters.add(COUNTERS.bad_records);
    this.#unreadable.set(key, modRevision);
    this.telemetry.alarms.raise(ALARMS.BAD_RECORD, error.message);
  }

  foreignDelete(key: string): void {
    this.telemetry.counters.add(COUNTERS.foreign_deletes);
    this.#foreignDeletes.add(key);
    const message = `the record ${key} was deleted by something other than Rollcall; it is written back`;
    this.telemetry.alarms.raise(ALARMS.FOREIGN_DELETE, message);
  }

  /** Ends the faults of a key: its record was written, or an unreadable record is gone. */
  settled(key: string): void {
    const { alarms } = this.telemetry;
    if (this.#unreadable.delete(key) && this.#unreadable.size === 0) alarms.clear(ALARMS.BAD_RECORD);
    if (this.#foreignDeletes.delete(key) && this.#foreignDeletes.size === 0) alarms.clear(ALARMS.FOREIGN_DELETE);
  }

  /** Ends all faults, because the catalog is empty. */
  clear(): void {
    for (const key of [...this.#unreadable.keys(), ...this.#foreignDeletes]) this.settled(key);
  }
}
