import type { ITxnRequest, ITxnResponse } from 'etcd3';
import { type CommitResult, type Compare, OutcomeLost, StoreUnavailable, type Txn } from '../store.js';
import { EtcdFailure } from './failures.js';
import { KeyUse, keysReadOnRefusal, partsOf, takeGroup, type Unit, unitOf } from './grouping.js';
import type { KeySpace } from './keys.js';
import type { Kv } from './kv.js';
import { definiteFailure, outcomesOf, refusalOf, unknownOutcome } from './outcome.js';

/** The most groups in flight: the next group is filled and sent while etcd flushes the one before. */
const GROUPS_MAX = 2;

/**
 * Commits through etcd: concurrent commits share one transaction of nested ones, which etcd applies at once.
 *
 * etcd evaluates the compares of all nested transactions before any of them writes. So two units of a group must not
 * conflict: they may read the same key, but a key that one of them writes no other may read or write. A unit that must
 * wait for such a conflict keeps its turn, so commits of one key happen in order.
 *
 * A transaction whose reply was lost is sent again with the same compares. Either it happens now, or the write id in
 * the current value shows that it happened before.
 */
export class GroupCommit {
  readonly #queue: Unit[] = [];
  readonly #inFlight = new KeyUse();
  #groups = 0;
  #turnIsDue = false;

  constructor(
    private readonly kv: Kv,
    private readonly keys: KeySpace,
    private readonly onFull: () => void,
    private readonly onGroup: (txns: number) => void,
  ) {}

  commit(txn: Txn): Promise<CommitResult> {
    return this.#enqueue([], [txn], false).then(([result]) => result!);
  }

  /** Sends each part of up to GROUP_TXNS_MAX transactions as one transaction of etcd, under the guard. */
  async commitEach(guard: readonly Compare[], txns: readonly Txn[]): Promise<CommitResult[]> {
    const parts: Promise<CommitResult[]>[] = [];
    for (const part of partsOf(txns)) parts.push(this.#enqueue(guard, part, true));
    return (await Promise.all(parts)).flat();
  }

  /** Fails every commit that has not been sent. */
  close(): void {
    for (const unit of this.#queue.splice(0)) unit.fail(new StoreUnavailable('the store is closed'));
  }

  #enqueue(guard: readonly Compare[], txns: readonly Txn[], alone: boolean): Promise<CommitResult[]> {
    return new Promise((settle, fail) => {
      this.#queue.push(unitOf({ guard, txns, alone, settle, fail }));
      this.#scheduleTurn();
    });
  }

  /** Sends groups later in this turn of the event loop, so that all commits of the turn share the first group. */
  #scheduleTurn(): void {
    if (this.#turnIsDue || this.#groups >= GROUPS_MAX || this.#queue.length === 0) return;
    this.#turnIsDue = true;
    setImmediate(() => {
      this.#turnIsDue = false;
      while (this.#groups < GROUPS_MAX) {
        const group = takeGroup(this.#queue, this.#inFlight);
        if (group.length === 0) return;
        this.#removeFromQueue(group);
        void this.#send(group);
      }
    });
  }

  #removeFromQueue(group: readonly Unit[]): void {
    const taken = new Set(group);
    const searched = this.#queue.indexOf(group.at(-1)!) + 1;
    this.#queue.splice(0, searched, ...this.#queue.slice(0, searched).filter((unit) => !taken.has(unit)));
  }

  async #send(group: readonly Unit[]): Promise<void> {
    this.#groups++;
    this.onGroup(group.reduce((sum, { txns }) => sum + txns.length, 0));
    for (const unit of group) this.#inFlight.add(unit);
    try {
      await this.#settle(group);
    } finally {
      for (const unit of group) this.#inFlight.remove(unit);
      this.#groups--;
      this.#scheduleTurn();
    }
  }

  /** Sends a group and settles it. If etcd refuses the whole group, sends its halves, so only the culprit fails. */
  async #settle(group: readonly Unit[]): Promise<void> {
    try {
      const { answer, attempts } = await this.kv.txn(this.#request(group));
      this.#settleWith(group, answer, attempts > 1);
    } catch (error) {
      const definite = definiteFailure(error);
      if (definite && definite.kind !== 'FULL' && group.length > 1) {
        const half = group.length >> 1;
        await this.#settle(group.slice(0, half));
        await this.#settle(group.slice(half));
        return;
      }
      if (error instanceof EtcdFailure && error.kind === 'FULL') this.onFull();
      for (const unit of group) unit.fail(definite ? refusalOf(definite) : unknownOutcome(error));
    }
  }

  #settleWith(group: readonly Unit[], answer: ITxnResponse, wasRepeated: boolean): void {
    const outcomes = outcomesOf(group, answer, this.keys, wasRepeated);
    outcomes.forEach((outcome, i) => {
      if (outcome instanceof OutcomeLost) group[i]!.fail(outcome);
      else group[i]!.settle(outcome);
    });
  }

  #request(group: readonly Unit[]): ITxnRequest {
    const [{ guard } = { guard: [] }] = group;
    return {
      compare: guard.map((compare) => this.keys.compare(compare)),
      success: group.flatMap(({ txns }) => txns).map((txn) => ({ request_txn: this.#nested(txn) })),
      // Without a guard this branch never runs. Its put makes etcd check its quota, which etcd does not do for puts in
      // nested transactions. A guard that does not hold refuses all transactions, and this branch reads their keys.
      failure:
        guard.length === 0
          ? [{ request_put: { key: this.kv.probeKey, value: Buffer.alloc(0) } }]
          : group.flatMap(({ txns }) => txns.flatMap(({ compares }) => compares.map(({ key }) => this.keys.read(key)))),
    };
  }

  #nested(txn: Txn): ITxnRequest {
    return {
      compare: txn.compares.map((compare) => this.keys.compare(compare)),
      success: txn.writes.map((write) => this.keys.write(write)),
      failure: keysReadOnRefusal(txn).map((key) => this.keys.read(key)),
    };
  }
}
