import type { FenceReason } from './fence.js';
import { ifReadable } from '../../model/item.js';
import { type MemberItem, MEMBERS, readMember } from '../../model/member.js';
import { allEntries, prefixRange, type Store } from '../../store/store.js';

/** The names of a membership's states; see `State` in membership.ts. */
export const STATE_NAMES = ['OUT', 'WAITING', 'IN', 'LEAVING', 'GONE'] as const;
export type StateName = (typeof STATE_NAMES)[number];

/** The cluster as this member sees it, for operators. */
export interface ClusterView {
  readonly id: string;
  readonly state: StateName;
  /** The member epoch; 0n without a membership. */
  readonly epoch: bigint;
  /** Milliseconds since this member's watch last showed this member's rewrite. */
  readonly lagMs: number;
  /** The reason why no heartbeat is acknowledged. `undefined` if heartbeats are. */
  readonly fenced: FenceReason | undefined;
  /** Wall-clock end of the wait before the next join. `undefined` if this process does not wait. */
  readonly waitsUntilMs: number | undefined;
  readonly members: readonly MemberItem[];
  /** Ids of the members that did not answer the last question. */
  readonly unreachable: readonly string[];
  /** The id of the member that judges a service. */
  judgeOf(namespace: string, service: string): string | undefined;
}

/** The nodes of all members, as the store holds them now. For a record that cannot be read: its key. */
export async function memberNodes(store: Store): Promise<string[]> {
  const nodes = new Set<string>();
  for (const entry of await allEntries(await store.list(prefixRange(MEMBERS))))
    nodes.add(ifReadable(() => readMember(entry).record.node) ?? entry.key);
  return [...nodes].sort();
}
