import type { InstanceOrder, Place } from '../../catalog/instance-order.js';
import type { Health, Instance } from '../../gen/rollcall/v1/instance.js';
import type { InstanceItem } from '../../model/instance.js';
import { LIMITS } from '../../model/limits.js';
import type { Matcher } from './filter.js';

/** A search for instances over services and namespaces. */
export interface Search {
  /** `undefined`: all namespaces. */
  readonly namespace: string | undefined;
  /** `undefined`: all services. */
  readonly service: string | undefined;
  /** Empty: any address. */
  readonly address: string;
  readonly filter: Matcher;
  /** Empty: every health. */
  readonly healthStates: ReadonlySet<Health>;
  readonly size: number;
  /** The place behind which the page begins. `undefined`: at the first instance. */
  readonly after: Place | undefined;
}

/** One page of a search. */
export interface Found {
  readonly instances: readonly Instance[];
  /** The place behind which the next page begins. `undefined`: this is the last page. */
  readonly next: Place | undefined;
}

/**
 * Finds instances, page by page. A page looks at LISTED_INSTANCES at most, all of services that the caller sees: the place behind
 * which the next page begins is in its token, and must not name another one.
 */
export class Lookup {
  constructor(private readonly order: InstanceOrder) {}

  find(search: Search, sees: (namespace: string, service: string) => boolean): Found {
    const { namespace, service, size, after } = search;
    const instances: Instance[] = [];
    let bytes = 0;
    let looked = 0;
    let last: Place | undefined;
    for (const item of this.order.after(after ?? firstOf(namespace, service), sees)) {
      if (after && item.namespace === after[0] && item.scope === after[1] && item.name === after[2]) continue;
      if (namespace !== undefined && item.namespace !== namespace) break;
      if (service !== undefined && item.scope !== service) break;
      if (looked >= LIMITS.LISTED_INSTANCES.value) return { instances, next: last };
      looked++;
      if (isWanted(item, search)) {
        if (instances.length >= size || (instances.length > 0 && bytes + item.bytes > LIMITS.PAGE_BYTES.value))
          return { instances, next: last };
        bytes += item.bytes;
        instances.push(item.instance);
      }
      last = [item.namespace, item.scope, item.name];
    }
    return { instances, next: undefined };
  }
}

function firstOf(namespace: string | undefined, service: string | undefined): Place {
  if (namespace === undefined) return [''];
  return service === undefined ? [namespace, ''] : [namespace, service, ''];
}

function isWanted({ instance }: InstanceItem, { address, filter, healthStates }: Search): boolean {
  if (address !== '' && !hasAddress(instance, address)) return false;
  if (healthStates.size > 0 && !healthStates.has(instance.health)) return false;
  return filter.matches(instance);
}

const hasAddress = (instance: Instance, address: string): boolean =>
  instance.address === address || instance.endpoints.some((endpoint) => endpoint.address === address);
