import type { ITxnRequest, ITxnResponse } from 'etcd3';
import {
  type CommitResult,
  type Compare,
  type Entry,
  OutcomeLost,
  StoreRefused,
  StoreUnavailable,
  type Txn,
} from '../store.js';
import { EtcdFailure } from './failures.js';
import type { KeySpace } from './keys.js';
import type { Kv } from './kv.js';

/** etcd takes 128 operations in a transaction, those of a nested one added to the number of its siblings. */
const OPERATIONS_MAX = 128;
/** The most commits in a group: more gain nothing, and a group waits for its slowest part. */
const GROUP_TXNS_MAX = 100;
/** The most bytes in a group, unless one commit alone is larger: well under the 1.5 MiB that etcd takes. */
const GROUP_BYTES_MAX = 512 * 1_024;
/** Groups on their way at a time: the next is filled and sent while etcd flushes the one before. */
const GROUPS_MAX = 2;
/** How far down the queue a group is filled from: beyond, looking costs more than it finds. */
const LOOK_AHEAD = 1_000;

/** What is committed together or not at all: one commit, or the commits of one commitEach under their guard. */
interface Unit {
  readonly guard: readonly Compare[];
  readonly txns: readonly Txn[];
  /** True: shares a transaction of etcd with nothing else. */
  readonly alone: boolean;
  readonly reads: ReadonlySet<string>;
  readonly writes: ReadonlySet<string>;
  readonly bytes: number;
  readonly operations: number;
  settle(results: CommitResult[]): void;
  fail(error: Error): void;
}

/**
 * Commits through etcd: concurrent commits share one transaction of nested ones, which etcd applies at once.
 *
 * etcd looks at the compares of all nested transactions before any of them writes, so a group must not hold two that
 * touch one another: reads may overlap reads, but a key that one writes no other may read or write. What must wait
 * for that keeps its turn, so that commits of one key happen in order.
 *
 * A transaction whose reply was lost is sent again with the same compares: either it happens now, or the write id in
 * what stands there tells that it had happened.
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
  ) {}

  commit(txn: Txn): Promise<CommitResult> {
    return this.#enqueue([], [txn], false).then(([result]) => result!);
  }

  /** Each part of up to GROUP_TXNS_MAX transactions is one transaction of etcd, under the guard. */
  async commitEach(guard: readonly Compare[], txns: readonly Txn[]): Promise<CommitResult[]> {
    const parts: Promise<CommitResult[]>[] = [];
    for (const part of partsOf(txns)) parts.push(this.#enqueue(guard, part, true));
    return (await Promise.all(parts)).flat();
  }

  /** Fails everything that still waits. */
  close(): void {
    for (const unit of this.#queue.splice(0)) unit.fail(new StoreUnavailable('the store is closed'));
  }

  #enqueue(guard: readonly Compare[], txns: readonly Txn[], alone: boolean): Promise<CommitResult[]> {
    return new Promise((settle, fail) => {
      this.#queue.push({
        guard,
        txns,
        alone,
        reads: new Set([...guard, ...txns.flatMap(({ compares }) => compares)].map(({ key }) => key)),
        writes: new Set(txns.flatMap(({ writes }) => writes.map(({ key }) => key))),
        bytes: txns.reduce((sum, txn) => sum + bytesOf(txn), 0),
        operations: Math.max(...txns.map(operationsOf)),
        settle,
        fail,
      });
      this.#turn();
    });
  }

  /** Whatever is handed in in this turn of the event loop shares the first group. */
  #turn(): void {
    if (this.#turnIsDue || this.#groups >= GROUPS_MAX || this.#queue.length === 0) return;
    this.#turnIsDue = true;
    setImmediate(() => {
      this.#turnIsDue = false;
      while (this.#groups < GROUPS_MAX) {
        const group = this.#takeGroup();
        if (group.length === 0) return;
        void this.#send(group);
      }
    });
  }

  /** The longest run of units that may go together now. A unit that must wait makes those behind it on its keys wait. */
  #takeGroup(): Unit[] {
    const group: Unit[] = [];
    const taken = new KeyUse();
    const waiting = new KeyUse();
    let bytes = 0;
    let operations = 0;
    let looked = 0;
    for (const unit of this.#queue) {
      if (looked++ >= LOOK_AHEAD) break;
      const mayGo = !this.#inFlight.conflicts(unit) && !waiting.conflicts(unit) && !taken.conflicts(unit);
      const fits =
        group.length === 0 ||
        (!unit.alone &&
          !group[0]!.alone &&
          group.length < GROUP_TXNS_MAX &&
          bytes + unit.bytes <= GROUP_BYTES_MAX &&
          group.length + 1 + Math.max(operations, unit.operations) <= OPERATIONS_MAX);
      if (!mayGo || !fits) {
        waiting.add(unit);
        continue;
      }
      group.push(unit);
      taken.add(unit);
      bytes += unit.bytes;
      operations = Math.max(operations, unit.operations);
    }
    if (group.length > 0) {
      const chosen = new Set(group);
      this.#queue.splice(0, looked, ...this.#queue.slice(0, looked).filter((unit) => !chosen.has(unit)));
    }
    return group;
  }

  async #send(group: readonly Unit[]): Promise<void> {
    this.#groups++;
    for (const unit of group) this.#inFlight.add(unit);
    try {
      await this.#settle(group);
    } finally {
      for (const unit of group) this.#inFlight.remove(unit);
      this.#groups--;
      this.#turn();
    }
  }

  /** Settles a group; when etcd refuses it as a whole, its halves, so that only what is at fault fails. */
  async #settle(group: readonly Unit[]): Promise<void> {
    try {
      const { answer, attempts } = await this.kv.txn(this.#request(group));
      this.#answer(group, answer, attempts > 1);
    } catch (error) {
      const failure = error instanceof EtcdFailure ? error : undefined;
      const isDefinite = failure !== undefined && failure.kind !== 'UNREACHABLE' && failure.attempts === 1;
      if (isDefinite && failure.kind !== 'FULL' && group.length > 1) {
        const half = group.length >> 1;
        await this.#settle(group.slice(0, half));
        await this.#settle(group.slice(half));
        return;
      }
      if (failure?.kind === 'FULL') this.onFull();
      for (const unit of group) unit.fail(isDefinite ? refusalOf(failure) : unknownOutcome(error));
    }
  }

  #request(group: readonly Unit[]): ITxnRequest {
    const [{ guard } = { guard: [] }] = group;
    const nested = group.flatMap(({ txns }) => txns).map((txn) => ({ request_txn: this.#nested(txn) }));
    return {
      compare: guard.map((compare) => this.keys.compare(compare)),
      success: nested,
      // Without a guard this branch never runs, and a put in it makes etcd look at its quota, which it does not do for
      // puts in nested transactions. A guard that does not hold refuses everything; what stands there is told all the same.
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
      failure: lookedAt(txn).map((key) => this.keys.read(key)),
    };
  }

  #answer(group: readonly Unit[], { header, succeeded, responses }: ITxnResponse, mayHaveHappened: boolean): void {
    const revision = BigInt(header.revision);
    let next = 0;
    /** What a range of one key answered. */
    const entryOf = (response: ITxnResponse['responses'][number] | undefined): Entry | undefined => {
      const [kv] = response?.response_range.kvs ?? [];
      return kv && this.keys.entry(kv);
    };
    for (const unit of group) {
      const results = unit.txns.map((txn): CommitResult | 'lost' => {
        if (!succeeded) {
          const found = txn.compares.map(() => entryOf(responses[next++]));
          return { ok: false, revision, found };
        }
        const { response_txn: nested } = responses[next++]!;
        if (nested.succeeded) return { ok: true, revision };
        const found = nested.responses.map(entryOf);
        const ours = mayHaveHappened ? writtenBy(txn, found) : undefined;
        if (ours) return { ok: true, revision: ours.modRevision };
        if (mayHaveHappened && !unit.alone && txn.writes.length > 0) return 'lost';
        return { ok: false, revision, found: found.slice(0, txn.compares.length) };
      });
      if (results.includes('lost')) unit.fail(new OutcomeLost('the reply was lost, and others have written since'));
      else unit.settle(results as CommitResult[]);
    }
  }
}

/** The keys in use by some units, to see what another one must wait for. */
class KeyUse {
  readonly #reads = new Map<string, number>();
  readonly #writes = new Map<string, number>();

  conflicts({ reads, writes }: Unit): boolean {
    for (const key of writes) if (this.#reads.has(key) || this.#writes.has(key)) return true;
    for (const key of reads) if (this.#writes.has(key)) return true;
    return false;
  }

  add({ reads, writes }: Unit): void {
    for (const key of reads) this.#reads.set(key, (this.#reads.get(key) ?? 0) + 1);
    for (const key of writes) this.#writes.set(key, (this.#writes.get(key) ?? 0) + 1);
  }

  remove({ reads, writes }: Unit): void {
    for (const key of reads) decrement(this.#reads, key);
    for (const key of writes) decrement(this.#writes, key);
  }
}

function decrement(counts: Map<string, number>, key: string): void {
  const count = counts.get(key)! - 1;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}

/** What a refused transaction looks at: the keys it compares, in order, and behind them those that it writes besides. */
function lookedAt({ compares, writes }: Txn): string[] {
  const compared = compares.map(({ key }) => key);
  return [...compared, ...writes.map(({ key }) => key).filter((key) => !compared.includes(key))];
}

/** The entry that a transaction has written, if its write id stands in one of those it may write. */
function writtenBy(txn: Txn, found: readonly (Entry | undefined)[]): Entry | undefined {
  if (txn.writeId === '') return undefined;
  const written = new Set(txn.writes.map(({ key }) => key));
  return found.find((entry) => entry && written.has(entry.key) && Buffer.from(entry.value).includes(txn.writeId));
}

function operationsOf(txn: Txn): number {
  return Math.max(txn.compares.length, txn.writes.length, lookedAt(txn).length);
}

const bytesOf = ({ writes }: Txn): number =>
  writes.reduce((sum, write) => sum + (write.kind === 'put' ? write.value.length : 0) + write.key.length, 0);

/** Parts that each fit into one transaction of etcd. */
function* partsOf(txns: readonly Txn[]): Generator<readonly Txn[]> {
  let part: Txn[] = [];
  let bytes = 0;
  let looked = 0;
  for (const txn of txns) {
    const isFull =
      part.length >= GROUP_TXNS_MAX ||
      bytes + bytesOf(txn) > GROUP_BYTES_MAX ||
      looked + txn.compares.length > OPERATIONS_MAX ||
      part.length + 1 + Math.max(...part.map(operationsOf), operationsOf(txn)) > OPERATIONS_MAX;
    if (part.length > 0 && isFull) {
      yield part;
      part = [];
      bytes = 0;
      looked = 0;
    }
    part.push(txn);
    bytes += bytesOf(txn);
    looked += txn.compares.length;
  }
  if (part.length > 0) yield part;
}

function refusalOf({ kind, message }: EtcdFailure): Error {
  if (kind === 'FULL') return new StoreRefused('FULL', message);
  if (kind === 'TOO_LARGE') return new StoreRefused('TOO_LARGE', message);
  return new StoreUnavailable(message);
}

function unknownOutcome(error: unknown): Error {
  return error instanceof StoreUnavailable ? error : new StoreUnavailable((error as Error).message, { cause: error });
}
