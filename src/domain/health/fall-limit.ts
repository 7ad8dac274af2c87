import type { Catalog } from '../../catalog/catalog.js';
import { recordedProtection } from '../../catalog/kinds.js';
import { canFall, type InstanceItem } from '../../model/instance.js';

/**
 * Limits the verdicts that one service gets at once, to as many as leave fewer than half of its instances up. That is
 * where a protection begins. The rest are recorded afterwards, and a protection shows them: so no view of the service is
 * ever empty because many instances fell ill in the same moment.
 *
 * A service that is not protected then loses the others a moment later.
 */
export class FallLimit {
  /** The verdicts that are on their way, by service. */
  readonly #falling = new Map<string, number>();

  constructor(private readonly catalog: Catalog) {}

  /**
   * Chooses those cases whose verdicts may be recorded now. Call `done` with them when their outcome is visible. `partOf`: the
   * part of the limit that this member has, if others record falls of the same service too.
   */
  choose<C extends { readonly item: InstanceItem }>(
    cases: readonly C[],
    partOf: (limit: number, one: C) => number = (limit) => limit,
  ): readonly C[] {
    const limits = new Map<string, number>();
    return cases.filter((one) => {
      const { item } = one;
      if (!item.isUp) return true; // it is left out of the default view already
      const key = serviceOf(item);
      let whole = limits.get(key);
      if (whole === undefined) limits.set(key, (whole = this.#limitOf(item)));
      const limit = partOf(whole, one);
      const falling = this.#falling.get(key) ?? 0;
      if (falling >= limit) return false;
      this.#falling.set(key, falling + 1);
      return true;
    });
  }

  /** Notes that the outcome of chosen cases is visible, or that they came to nothing. */
  done(chosen: readonly { readonly item: InstanceItem }[]): void {
    for (const { item } of chosen) {
      if (!item.isUp) continue;
      const key = serviceOf(item);
      const left = (this.#falling.get(key) ?? 0) - 1;
      if (left > 0) this.#falling.set(key, left);
      else this.#falling.delete(key);
    }
  }

  /** The number of instances of a service that may be falling at once. */
  #limitOf({ namespace, scope: name }: InstanceItem): number {
    const scope = this.catalog.instances.scope(namespace, name);
    if (!scope || recordedProtection(scope)?.record.active) return Infinity;
    let up = 0;
    for (const item of scope.live()) if (item.isUp && canFall(item)) up++;
    // One more than leaves exactly half.
    return Math.floor(up / 2) + 1;
  }
}

const serviceOf = ({ namespace, scope }: InstanceItem): string => `${namespace}/${scope}`;
