import type { Addresses } from '../../catalog/addresses.js';
import type { InstanceItem } from '../../model/instance.js';
import type { LivenessEntry, LivenessTable } from './liveness-table.js';

/**
 * Decides whether another instance of the same service has registered the address and port of an instance: then the
 * process that had them is gone. Loopback addresses and port 0 say nothing.
 */
export class Successors {
  constructor(
    private readonly addresses: Pick<Addresses, 'sharedWith'>,
    private readonly table: LivenessTable,
  ) {}

  /** The other instances of the service at the address and port of an instance. */
  beside({ key, scope, instance }: InstanceItem): InstanceItem[] {
    return this.addresses.sharedWith(instance).filter((other) => other.scope === scope && other.key !== key);
  }

  /** Returns true if a successor registered after the instance fell silent. */
  hasReplaced({ item, fellMs }: LivenessEntry): boolean {
    return item.record.silent && this.beside(item).some((other) => this.#placedMs(other) > fellMs);
  }

  /** Returns true if a successor that is not silent registered after the instance was last heard. */
  standsFor(entry: LivenessEntry): boolean {
    const heardMs = this.table.lastHeardMs(entry);
    return this.beside(entry.item).some((other) => !other.record.silent && this.#placedMs(other) > heardMs);
  }

  #placedMs({ key }: InstanceItem): number {
    return this.table.entry(key)?.placedMs ?? -Infinity;
  }
}
