import type { Instance } from '../gen/rollcall/v1/instance.js';
import { isLoopback } from '../model/address.js';
import type { InstanceItem } from '../model/instance.js';
import type { Catalog } from './catalog.js';
import type { CatalogChange } from './changes.js';
import { INSTANCE } from './kinds.js';

/** Several instances at one place, by service and key: one address may serve thousands. */
type Group = Map<string, Map<string, InstanceItem>>;

/**
 * The registered instances at each address and port of a namespace. Loopback addresses and port 0 are left out: there,
 * equal addresses do not mean the same process.
 */
export class Addresses {
  /** Most places have one instance, which needs no group. */
  readonly #at = new Map<string, InstanceItem | Group>();

  /** Follows the catalog until `signal` is aborted. Must be called before the first listing. */
  start(catalog: Catalog, signal: AbortSignal): void {
    catalog.subscribe('addresses', (change) => this.#take(change), signal);
  }

  /** The instances at the address and port of an instance, whatever their service. */
  *sharedWith(instance: Instance): Generator<InstanceItem> {
    const found = this.#find(instance);
    if (!(found instanceof Map)) {
      if (found) yield found;
      return;
    }
    for (const ofService of found.values()) yield* ofService.values();
  }

  /** The instances of the same service at the address and port of an instance. */
  *sharedWithin(instance: Instance): Generator<InstanceItem> {
    const found = this.#find(instance);
    if (found instanceof Map) yield* found.get(instance.service)?.values() ?? [];
    else if (found?.scope === instance.service) yield found;
  }

  #find(instance: Instance): InstanceItem | Group | undefined {
    const place = placeOf(instance);
    return place === undefined ? undefined : this.#at.get(place);
  }

  #take(change: CatalogChange): void {
    for (const { before, after } of change.of(INSTANCE)) {
      if (before) this.#remove(before);
      if (after && after.removedAtMs === undefined) this.#add(after);
    }
  }

  #add(item: InstanceItem): void {
    const place = placeOf(item.instance);
    if (place === undefined) return;
    const found = this.#at.get(place);
    if (!found) this.#at.set(place, item);
    else if (found instanceof Map) put(found, item);
    else this.#at.set(place, put(put(new Map(), found), item));
  }

  #remove({ key, scope, instance }: InstanceItem): void {
    const place = placeOf(instance);
    const found = place === undefined ? undefined : this.#at.get(place);
    if (!found) return;
    if (!(found instanceof Map)) {
      if (found.key === key) this.#at.delete(place!);
      return;
    }
    const ofService = found.get(scope);
    ofService?.delete(key);
    if (ofService?.size === 0) found.delete(scope);
    if (found.size === 0) this.#at.delete(place!);
  }
}

function put(group: Group, item: InstanceItem): Group {
  const ofService = group.get(item.scope) ?? new Map<string, InstanceItem>();
  group.set(item.scope, ofService.set(item.key, item));
  return group;
}

function placeOf({ namespace, address, port }: Instance): string | undefined {
  return port === 0 || isLoopback(address) ? undefined : `${namespace} ${address} ${port}`;
}
