import type { Catalog } from '../../catalog/catalog.js';
import type { Commits } from '../../catalog/commits.js';
import { expired, type InstanceItem } from '../../model/instance.js';
import { overrideKey } from '../../model/override.js';
import { protectionKey } from '../../model/protection.js';
import type { Compare } from '../../store/store.js';
import type { LivenessEntry } from './liveness-table.js';
import type { Outcomes } from './outcomes.js';
import type { Successors } from './successors.js';

/** The dependencies of Expiry. */
export interface ExpiryParts {
  readonly catalog: Catalog;
  readonly commits: Commits;
  readonly outcomes: Outcomes;
  readonly successors: Successors;
}

/** Removes instances that stayed silent. */
export class Expiry {
  constructor(private readonly parts: ExpiryParts) {}

  /** Returns true if an instance whose deadline has passed may be removed now: it is not protected, or was replaced. */
  allows(entry: LivenessEntry): boolean {
    const { catalog, successors } = this.parts;
    const { namespace, scope, name } = entry.item;
    const isProtected = catalog.instances.get(namespace, scope, name)?.shownByProtection === true;
    return !isProtected || successors.hasReplaced(entry);
  }

  /** Commits the tombstones. No member is asked again. */
  async remove(entries: readonly LivenessEntry[]): Promise<void> {
    const { commits, outcomes } = this.parts;
    const cases = entries.map(({ item }) => ({ item, reasons: this.#reasonsNow(item) }));
    try {
      await outcomes.commit(cases, [], 'expiries', ({ item, reasons }) => {
        const record = expired(item, commits.stamp());
        const txn = commits.instanceTxn(record, item.modRevision);
        return { ...txn, compares: [...txn.compares, ...reasons] };
      });
    } catch (error) {
      outcomes.failed(error, 'silent instances could not be removed; retrying');
    }
  }

  /** The protection and the override under which a removal was allowed. A change of either may forbid it. */
  #reasonsNow({ namespace, scope, name }: InstanceItem): Compare[] {
    return this.parts.catalog.unchanged(protectionKey(namespace, scope), overrideKey(namespace, scope, name));
  }
}
