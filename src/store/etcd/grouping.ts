import { COMMIT_EACH_TXNS, type CommitResult, type Compare, type Txn } from '../store.js';

/** The most operations of a transaction of etcd. Those of a nested transaction add to the number of its siblings. */
const OPERATIONS_MAX = 128;
/** The most commits in a group: as many as a part of commitEach has. More bring no gain, and a group waits for its slowest part. */
const GROUP_TXNS_MAX = COMMIT_EACH_TXNS;
/** The most bytes in a group, unless one commit alone is larger: well below the 1.5 MiB that etcd accepts. */
const GROUP_BYTES_MAX = 512 * 1_024;
/** How far down the queue a group is filled from: a longer search costs more than it finds. */
const LOOK_AHEAD = 1_000;

/** Commits that happen together or not at all: one commit, or the commits of one commitEach under their guard. */
export interface Unit {
  readonly guard: readonly Compare[];
  readonly txns: readonly Txn[];
  /** True if the unit shares a transaction of etcd with no other unit. */
  readonly alone: boolean;
  readonly reads: ReadonlySet<string>;
  readonly writes: ReadonlySet<string>;
  readonly bytes: number;
  readonly operations: number;
  settle(results: CommitResult[]): void;
  fail(error: Error): void;
}

/** The keys in use by some units. They show which other units must wait. */
export class KeyUse {
  readonly #reads = new Map<string, number>();
  readonly #writes = new Map<string, number>();

  /** Returns true if a key that one side writes is read or written by the other. Reads may overlap reads. */
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

/** Makes a unit of transactions under a guard. `settle` or `fail` receives its outcome. */
export function unitOf(parts: Pick<Unit, 'guard' | 'txns' | 'alone' | 'settle' | 'fail'>): Unit {
  const { guard, txns } = parts;
  return {
    ...parts,
    reads: new Set([...guard, ...txns.flatMap(({ compares }) => compares)].map(({ key }) => key)),
    writes: new Set(txns.flatMap(({ writes }) => writes.map(({ key }) => key))),
    bytes: txns.reduce((sum, txn) => sum + bytesOf(txn), 0),
    operations: Math.max(...txns.map(operationsOf)),
  };
}

/**
 * Chooses the units at the head of the queue that can share a group now; the queue itself stays unchanged.
 *
 * A unit that must wait also blocks the later units on its keys, which keeps the order of each key. Returns an empty
 * group if every unit within LOOK_AHEAD must wait.
 */
export function takeGroup(queue: readonly Unit[], inFlight: KeyUse): Unit[] {
  const group: Unit[] = [];
  const taken = new KeyUse();
  const waiting = new KeyUse();
  let bytes = 0;
  let operations = 0;
  for (const unit of queue.slice(0, LOOK_AHEAD)) {
    const mayGo = !inFlight.conflicts(unit) && !waiting.conflicts(unit) && !taken.conflicts(unit);
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
  return group;
}

/** Cuts the transactions of a commitEach into parts that each fit into one transaction of etcd. */
export function* partsOf(txns: readonly Txn[]): Generator<readonly Txn[]> {
  let part: Txn[] = [];
  let bytes = 0;
  let compares = 0;
  for (const txn of txns) {
    const nested = Math.max(...part.map(operationsOf), operationsOf(txn));
    const isFull =
      part.length >= GROUP_TXNS_MAX ||
      bytes + bytesOf(txn) > GROUP_BYTES_MAX ||
      // If the guard does not hold, the keys of all compares are read in one branch, and those of a nested transaction add to it.
      compares + txn.compares.length + nested > OPERATIONS_MAX ||
      part.length + 1 + nested > OPERATIONS_MAX;
    if (part.length > 0 && isFull) {
      yield part;
      part = [];
      bytes = 0;
      compares = 0;
    }
    part.push(txn);
    bytes += bytesOf(txn);
    compares += txn.compares.length;
  }
  if (part.length > 0) yield part;
}

/** Returns the keys that a refused transaction reads: its compared keys in order, then the other keys it writes. */
export function keysReadOnRefusal({ compares, writes }: Txn): string[] {
  const compared = compares.map(({ key }) => key);
  return [...compared, ...writes.map(({ key }) => key).filter((key) => !compared.includes(key))];
}

function operationsOf(txn: Txn): number {
  return Math.max(txn.compares.length, txn.writes.length, keysReadOnRefusal(txn).length);
}

function bytesOf({ writes }: Txn): number {
  return writes.reduce(
    (sum, write) => sum + (write.kind === 'put' ? write.value.length : 0) + Buffer.byteLength(write.key),
    0,
  );
}
