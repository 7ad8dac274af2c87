import type { Random } from '../../base/random.js';
import { NodeRecord, NodeState } from '../../gen/rollcall/storage/v1/records.js';
import { decode } from '../../model/item.js';
import { nodeKey } from '../../model/member.js';
import type { Revision, Store, Write } from '../../store/store.js';

/** The wait after the first membership that ended uncleanly and soon. It doubles with each further one in a row. */
const WAIT_FIRST_MS = 60_000;
const WAIT_MAX_MS = 300_000;

/**
 * Records how the memberships of a node end. Each unclean end postpones every verdict of the others by a grace, so a
 * replica that crashes again and again would keep dead instances HEALTHY for ever. It therefore waits before it joins
 * again.
 */
export class NodeHistory {
  /** After a membership has lasted this long, it no longer matters how it ends. */
  static readonly SETTLED_MS = 300_000;

  readonly #key: string;
  /** Unclean ends in a row, before the present membership. */
  #uncleanEnds = 0;
  #settled = false;
  /** The node record whose wait is over. A node waits once for each record, however long the join then takes. */
  #waitedAfter: Revision | undefined;

  constructor(
    private readonly store: Store,
    node: string,
    private readonly random: Random,
  ) {
    this.#key = nodeKey(node);
  }

  /** Reads how the last membership ended: how long to wait before the next join, and for which record. */
  async wait(): Promise<{ ms: number; after: Revision }> {
    const { entry } = await this.store.get(this.#key);
    const after = entry?.modRevision ?? 0n;
    const record = entry && decode(this.#key, entry.value, NodeRecord);
    this.#uncleanEnds = record?.state === NodeState.NODE_STATE_JOINED ? record.uncleanEnds + 1 : 0;
    if (this.#uncleanEnds === 0 || this.#waitedAfter === after) return { ms: 0, after };
    return { ms: Math.min(WAIT_FIRST_MS * 2 ** Math.min(this.#uncleanEnds - 1, 10), WAIT_MAX_MS), after };
  }

  /** The wait for a record is over. */
  waited(after: Revision): void {
    this.#waitedAfter = after;
  }

  /** The write that belongs to a join. If the next start finds it unchanged, the membership ended uncleanly. */
  joining(): Write {
    this.#settled = false;
    return this.#write(NodeState.NODE_STATE_JOINED);
  }

  /** The membership has lasted. If this write fails, the node may wait once without need. */
  settle(): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#uncleanEnds = 0;
    void this.#commit(NodeState.NODE_STATE_SETTLED).catch(() => (this.#settled = false));
  }

  /** The membership ends cleanly. */
  async left(): Promise<void> {
    this.#uncleanEnds = 0;
    await this.#commit(NodeState.NODE_STATE_LEFT);
  }

  async #commit(state: NodeState): Promise<void> {
    await this.store.commit({ writeId: '', compares: [], writes: [this.#write(state)] });
  }

  #write(state: NodeState): Write {
    const record = { writeId: this.random.id(), state, uncleanEnds: this.#uncleanEnds };
    return { kind: 'put', key: this.#key, value: NodeRecord.encode(record).finish() };
  }
}
