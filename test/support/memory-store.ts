import type { Clock, Timer } from '../../src/base/clock.js';
import { Overlay } from '../../src/store/overlay.js';
import { History } from '../../src/store/history.js';
import {
  type CommitResult,
  type Compare,
  type Entry,
  inRange,
  type KeyRange,
  LIST_PAGE_ENTRIES,
  type Listing,
  type Member,
  type Revision,
  type RevisionBatch,
  type Store,
  type StoreHealth,
  StoreUnavailable,
  type Txn,
  WATCHED_RANGE,
  type Write,
} from '../../src/store/store.js';

/** What a call meets during an outage. */
export type Outage =
  /** Calls fail before anything happens. */
  | 'refuse'
  /** Calls hang until the outage ends, and then fail without effect. */
  | 'hang'
  /** Commits happen, and their reply is lost. */
  | 'lost-reply';

/**
 * The store port in memory, for tests and the simulation: deterministic, on a clock that is handed in, with the
 * failures of a real store on request.
 */
export class MemoryStore implements Store {
  readonly kind = 'memory';
  readonly exclusive: boolean;
  /** Told of every revision at the moment it is committed, for whoever checks the history. */
  onCommit: (batch: RevisionBatch) => void = () => undefined;
  /** How long a call takes, in milliseconds: half on the way there, half on the way back. */
  latencyMs: () => number = () => 0;
  readonly #entries = new Map<string, Entry>();
  readonly #members = new Map<string, { alive: boolean; stopKeeping: () => void }>();
  #history = new History(0n);
  #revision: Revision = 0n;
  #outage: Outage | undefined;
  #outageSinceMs = 0;
  #outageOver: (() => void)[] = [];
  #closed = false;

  constructor(
    private readonly clock: Clock,
    { exclusive = true, leaseMs = 10_000 }: { exclusive?: boolean; leaseMs?: number } = {},
  ) {
    this.exclusive = exclusive;
    this.leaseMs = leaseMs;
  }

  readonly leaseMs: number;

  /** The newest revision. */
  get revision(): Revision {
    return this.#revision;
  }

  /** Begins or ends an outage. */
  setOutage(outage: Outage | undefined): void {
    if (outage && !this.#outage) this.#outageSinceMs = this.clock.now();
    this.#outage = outage;
    if (!outage) for (const over of this.#outageOver.splice(0)) over();
  }

  /** Drops the history up to a revision. */
  compact(revision: Revision): void {
    this.#history.compact(revision);
  }

  /** Drops the whole history, so that every watch that has not seen all of it must list anew. */
  compactAll(): void {
    this.#history.compact(this.#revision);
  }

  async list(range: KeyRange): Promise<Listing> {
    await this.#reach();
    const revision = this.#revision;
    const entries = [...this.#entries.values()]
      .filter(({ key }) => inRange(range, key))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    await this.#return();
    return { revision, pages: pagesOf(entries) };
  }

  async get(key: string): Promise<{ entry: Entry | undefined; revision: Revision }> {
    await this.#reach();
    const answer = { entry: this.#entries.get(key), revision: this.#revision };
    await this.#return();
    return answer;
  }

  async commit(txn: Txn): Promise<CommitResult> {
    return (await this.#apply((overlay) => [overlay.commit(txn)]))[0]!;
  }

  commitEach(guard: readonly Compare[], txns: readonly Txn[]): Promise<CommitResult[]> {
    return this.#apply((overlay) => overlay.commitEach(guard, txns));
  }

  async *watch(after: Revision, signal: AbortSignal): AsyncGenerator<RevisionBatch> {
    for await (const batch of this.#history.watch(after, signal)) {
      while (this.#outage && !signal.aborted) await this.#outageEnd(signal);
      if (this.#closed || signal.aborted) return;
      yield batch;
    }
  }

  async join(key: string, value: Uint8Array, also: readonly Write[] = []): Promise<Member> {
    const put = (compares: Compare[], bytes: Uint8Array, others: readonly Write[] = []): Promise<CommitResult> =>
      this.commit({ writeId: '', compares, writes: [{ kind: 'put', key, value: bytes }, ...others] });
    const created = await put([{ key, modRevision: 0n }], value, also);
    if (!created.ok) throw new StoreUnavailable(`the member key ${key} exists already`);
    const epoch = created.revision;
    const lost = new AbortController();
    const member = { alive: true, stopKeeping: () => keeping.cancel() };
    this.#members.set(key, member);
    let keptMs = this.clock.now();
    const keeping: Timer = this.clock.every(this.leaseMs / 3, () => {
      // While the store is out its own time stands still, too.
      if (member.alive || this.#outage) keptMs = this.clock.now();
      if (this.clock.now() - keptMs < this.leaseMs) return;
      keeping.cancel();
      lost.abort();
      this.#deleteNow(key, epoch);
    });
    const leave = async (): Promise<void> => {
      keeping.cancel();
      lost.abort();
      await this.commit({ writeId: '', compares: [{ key, createRevision: epoch }], writes: [{ kind: 'delete', key }] });
    };
    return {
      key,
      epoch,
      lost: lost.signal,
      leave,
      rewrite: async (bytes) => (await put([{ key, createRevision: epoch }], bytes)).ok,
    };
  }

  /** Stops keeping a member alive, as if its process had died. */
  killMember(key: string): void {
    const member = this.#members.get(key);
    if (member) member.alive = false;
  }

  health(): StoreHealth {
    return { outOfReachSinceMs: this.#outage ? this.#outageSinceMs : undefined, writable: true };
  }

  close(): void {
    this.#closed = true;
    for (const { stopKeeping } of this.#members.values()) stopKeeping();
  }

  async #apply(evaluate: (overlay: Overlay) => CommitResult[]): Promise<CommitResult[]> {
    await this.#reach();
    const overlay = new Overlay(this.#revision, (key) => this.#entries.get(key));
    const results = evaluate(overlay);
    for (const [key, entry] of overlay.written) {
      if (entry) this.#entries.set(key, entry);
      else this.#entries.delete(key);
    }
    this.#revision = overlay.revision;
    for (const batch of overlay.batches) {
      this.onCommit(batch);
      const changes = batch.changes.filter((change) =>
        inRange(WATCHED_RANGE, change.kind === 'put' ? change.entry.key : change.key),
      );
      this.#history.append({ revision: batch.revision, changes });
    }
    if (this.#outage === 'lost-reply') throw new StoreUnavailable('the reply was lost');
    await this.#return();
    return results;
  }

  #deleteNow(key: string, epoch: Revision): void {
    if (this.#entries.get(key)?.createRevision !== epoch) return;
    const overlay = new Overlay(this.#revision, (other) => this.#entries.get(other));
    overlay.commit({ writeId: '', compares: [], writes: [{ kind: 'delete', key }] });
    this.#entries.delete(key);
    this.#revision = overlay.revision;
    for (const batch of overlay.batches) {
      this.onCommit(batch);
      this.#history.append(batch);
    }
  }

  /** The way to the store. */
  async #reach(): Promise<void> {
    if (this.#closed) throw new StoreUnavailable('the store is closed');
    await this.#travel();
    if (this.#outage === 'refuse') throw new StoreUnavailable('the store refuses');
    if (this.#outage !== 'hang') return;
    await this.#outageEnd();
    throw new StoreUnavailable('the store did not answer');
  }

  /** The way back: an outage that began meanwhile takes the reply. */
  async #return(): Promise<void> {
    await this.#travel();
    if (this.#outage) throw new StoreUnavailable('the reply was lost');
  }

  #travel(): Promise<void> {
    const ms = this.latencyMs() / 2;
    return ms === 0 ? Promise.resolve() : new Promise((resolve) => void this.clock.after(ms, resolve));
  }

  #outageEnd(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#outageOver.push(resolve);
      signal?.addEventListener('abort', () => resolve());
    });
  }
}

async function* pagesOf(entries: readonly Entry[]): AsyncGenerator<readonly Entry[]> {
  for (let i = 0; i < entries.length; i += LIST_PAGE_ENTRIES) yield entries.slice(i, i + LIST_PAGE_ENTRIES);
}
