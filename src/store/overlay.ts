import { assert } from '../base/assert.js';
import type { Change, CommitResult, Compare, Entry, Revision, RevisionBatch, Txn } from './store.js';

/**
 * Evaluates transactions one after the other on top of the committed state and collects their writes. Each
 * transaction sees the writes of the earlier ones. An overlay makes nothing durable: its caller commits the writes.
 */
export class Overlay {
  /** The new entry of each written key. `undefined` if the key was deleted. */
  readonly written = new Map<string, Entry | undefined>();
  readonly batches: RevisionBatch[] = [];
  /** The change in the number of records: positive if there are more than before. */
  recordDifference = 0;
  #revision: Revision;

  constructor(
    revision: Revision,
    private readonly committed: (key: string) => Entry | undefined,
  ) {
    this.#revision = revision;
  }

  /** The revision after every transaction evaluated so far. */
  get revision(): Revision {
    return this.#revision;
  }

  read(key: string): Entry | undefined {
    return this.written.has(key) ? this.written.get(key) : this.committed(key);
  }

  /** Evaluates one transaction. */
  commit(txn: Txn): CommitResult {
    return this.commitEach([], [txn])[0]!;
  }

  /** Evaluates many transactions at one revision: all compares come before the first write. */
  commitEach(guard: readonly Compare[], txns: readonly Txn[]): CommitResult[] {
    const before = this.#revision;
    const guarded = guard.every((compare) => this.#holds(compare));
    const passed = txns.map(({ compares }) => guarded && compares.every((compare) => this.#holds(compare)));
    const revision = txns.some(({ writes }, i) => passed[i] && writes.length > 0) ? before + 1n : before;
    const results = txns.map(({ compares }, i): CommitResult =>
      passed[i]
        ? { ok: true, revision }
        : { ok: false, revision: before, found: compares.map(({ key }) => this.read(key)) },
    );
    const changes = this.#writeAll(
      txns.filter((_, i) => passed[i]),
      revision,
    );
    if (revision > before) {
      this.#revision = revision;
      this.batches.push({ revision, changes });
    }
    return results;
  }

  #holds(compare: Compare): boolean {
    const entry = this.read(compare.key);
    if ('modRevision' in compare) return (entry?.modRevision ?? 0n) === compare.modRevision;
    return (entry?.createRevision ?? 0n) === compare.createRevision;
  }

  #writeAll(txns: readonly Txn[], revision: Revision): Change[] {
    const changes: Change[] = [];
    const keys = new Set<string>();
    for (const write of txns.flatMap(({ writes }) => writes)) {
      assert(!keys.has(write.key), `${write.key} is written twice at one revision`);
      keys.add(write.key);
      const change = this.#write(write, revision);
      if (change) changes.push(change);
    }
    return changes;
  }

  /** Returns the change that a write makes. `undefined` if it deletes a key that does not exist. */
  #write(write: Txn['writes'][number], revision: Revision): Change | undefined {
    const before = this.read(write.key);
    if (write.kind === 'delete') {
      if (!before) return undefined;
      this.written.set(write.key, undefined);
      this.recordDifference--;
      return { kind: 'delete', key: write.key };
    }
    const entry = {
      key: write.key,
      value: write.value,
      modRevision: revision,
      createRevision: before?.createRevision ?? revision,
    };
    this.written.set(write.key, entry);
    if (!before) this.recordDifference++;
    return { kind: 'put', entry };
  }
}
