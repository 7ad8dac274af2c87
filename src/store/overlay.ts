import { assert } from '../base/assert.js';
import type { Change, CommitResult, Compare, Entry, Revision, RevisionBatch, Txn } from './store.js';

/**
 * Evaluates transactions one after the other on top of what is committed, each seeing the earlier ones, and
 * collects what is to be written. Nothing is durable yet: that is the business of whoever commits the overlay.
 */
export class Overlay {
  readonly written = new Map<string, Entry | undefined>();
  readonly batches: RevisionBatch[] = [];
  /** How many more records there are than before. */
  recordDifference = 0;
  #revision: Revision;

  constructor(
    revision: Revision,
    private readonly committed: (key: string) => Entry | undefined,
  ) {
    this.#revision = revision;
  }

  /** The revision after everything evaluated so far. */
  get revision(): Revision {
    return this.#revision;
  }

  read(key: string): Entry | undefined {
    return this.written.has(key) ? this.written.get(key) : this.committed(key);
  }

  /** One transaction. */
  commit(txn: Txn): CommitResult {
    return this.commitEach([], [txn])[0]!;
  }

  /** Many transactions at one revision: all compares are looked at before anything is written. */
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
    const changes: Change[] = [];
    const keys = new Set<string>();
    txns.forEach(({ writes }, i) => {
      if (!passed[i]) return;
      for (const write of writes) {
        assert(!keys.has(write.key), `${write.key} is written twice at one revision`);
        keys.add(write.key);
        const change = this.#write(write, revision);
        if (change) changes.push(change);
      }
    });
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
