import { isLoopback } from '../model/address.js';
import type { Instance } from '../gen/rollcall/v1/instance.js';
import type { InstanceItem } from '../model/instance.js';
import type { Catalog } from './catalog.js';
import type { CatalogChange } from './changes.js';
import { INSTANCE } from './kinds.js';

/**
 * The registered instances at each address and port. Loopback addresses and port 0 are left out: there, equal addresses
 * do not mean the same process.
 */
export class Addresses {
  readonly #at = new Map<string, readonly InstanceItem[]>();

  /** Follows the catalog until `signal` is aborted. Must be called before the first listing. */
  start(catalog: Catalog, signal: AbortSignal): void {
    catalog.subscribe('addresses', (change) => this.#take(change), signal);
  }

  /** The instances at the address and port of an instance, whatever their service. */
  sharedWith({ namespace, address, port }: Instance): readonly InstanceItem[] {
    const place = placeOf(namespace, address, port);
    return (place === undefined ? undefined : this.#at.get(place)) ?? [];
  }

  #take(change: CatalogChange): void {
    for (const { before, after } of change.of(INSTANCE)) {
      if (before) this.#remove(before);
      if (after && after.removedAtMs === undefined) this.#add(after);
    }
  }

  #add(item: InstanceItem): void {
    const { namespace, address, port } = item.instance;
    const place = placeOf(namespace, address, port);
    if (place !== undefined) this.#at.set(place, [...(this.#at.get(place) ?? []), item]);
  }

  #remove({ key, instance: { namespace, address, port } }: InstanceItem): void {
    const place = placeOf(namespace, address, port);
    if (place === undefined) return;
    const rest = this.#at.get(place)?.filter((item) => item.key !== key);
    if (rest && rest.length > 0) this.#at.set(place, rest);
    else this.#at.delete(place);
  }
}

function placeOf(namespace: string, address: string, port: number): string | undefined {
  return port === 0 || isLoopback(address) ? undefined : `${namespace} ${address} ${port}`;
}
