import type { Addresses } from '../../catalog/addresses.js';
import type { InstanceItem } from '../../model/instance.js';
import type { LivenessEntry, LivenessTable } from './liveness-table.js';

/**
 * Decides whether another instance of the same service has registered the address and port of an instance: then the
 * process that had them is gone. Loopback addresses and port 0 say nothing.
 */
export class Successors {
  constructor(
    private readonly addresses: Pick<Addresses, 'sharedWithin'>,
    private readonly table: LivenessTable,
  ) {}

  /** The other instances of the service at the address and port of an instance. */
  *beside({ key, instance }: InstanceItem): Generator<InstanceItem> {
    for (const other of this.addresses.sharedWithin(instance)) if (other.key !== key) yield other;
  }

  /** Returns true if a successor registered after the instance fell silent. */
  hasReplaced({ item, fellMs }: LivenessEntry): boolean {
    if (!item.record.silent) return false;
    for (const other of this.beside(item)) if (this.#placedMs(other) > fellMs) return true;
    return false;
  }

  /** Returns true if a successor that is not silent registered after the instance was last heard. */
  standsFor(entry: LivenessEntry): boolean {
    const heardMs = this.table.lastHeardMs(entry);
    for (const other of this.beside(entry.item))
      if (!other.record.silent && this.#placedMs(other) > heardMs) return true;
    return false;
  }

  #placedMs({ key }: InstanceItem): number {
    return this.table.entry(key)?.placedMs ?? -Infinity;
  }
}
