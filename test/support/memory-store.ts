import type { Clock, Timer } from '../../src/base/clock.js';
import { maxOf } from '../../src/base/max.js';
import { Overlay } from '../../src/store/overlay.js';
import { RecentRevisions } from '../../src/store/recent-revisions.js';
import {
  batchesByRevision,
  type CommitResult,
  Compacted,
  type Compare,
  compareKeys,
  type CopyTool,
  type Entry,
  inRange,
  type KeyRange,
  LIST_PAGE_ENTRIES,
  type Listing,
  type Member,
  type Past,
  type Revision,
  type RevisionBatch,
  RolledBack,
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

/** What a store held at one moment. */
export interface Backup {
  readonly era: number;
  readonly revision: Revision;
  readonly entries: ReadonlyMap<string, Entry>;
  /** The epochs of the members that had a lease, by their key. */
  readonly leases: ReadonlyMap<string, Revision>;
}

/** A member key and when its holder was last heard of. */
interface Lease {
  readonly epoch: Revision;
  renewedMs: number;
  readonly check: Timer;
}

/**
 * The store port in memory, for tests and the simulation: deterministic, on a clock that is handed in, with the
 * failures of a real store on request.
 *
 * What the store itself does takes no time: `serve...`. The port is that, with a way there and back. Several processes
 * that share the store each have a way of their own: StoreLink.
 */
export class MemoryStore implements Store {
  readonly kind = 'memory';
  readonly exclusive: boolean;
  /** Told of every revision at the moment it is committed, for whoever checks the history; `by` says whose commit it was. */
  onCommit: (batch: RevisionBatch, by: string) => void = () => undefined;
  /** How long a call takes, in milliseconds: half on the way there, half on the way back. */
  latencyMs: () => number = () => 0;
  readonly #entries = new Map<string, Entry>();
  readonly #leases = new Map<string, Lease>();
  readonly #keeping = new Map<string, { renews: boolean; timer: Timer }>();
  readonly #committedMs = new WeakMap<RevisionBatch, number>();
  #recent = new RecentRevisions(0n);
  /** What was held at the oldest revision that is kept, and every later revision. */
  #oldest = { revision: 0n, entries: new Map<string, Entry>() };
  #log: RevisionBatch[] = [];
  #era = 0;
  /** Of every history but the first: with which one it begins, and up to where. */
  readonly #origins = new Map<number, { readonly era: number; readonly revision: Revision }>();
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

  get outage(): Outage | undefined {
    return this.#outage;
  }

  /** Counts the histories: another number after every restore. */
  get era(): number {
    return this.#era;
  }

  /** True: what a history held up to a revision is a part of the present one. */
  continues(era: number, revision: Revision): boolean {
    const shared = new Map<number, Revision>();
    let upTo = this.#revision;
    for (let at: number | undefined = this.#era; at !== undefined;) {
      shared.set(at, upTo);
      const origin = this.#origins.get(at);
      if (origin && origin.revision < upTo) upTo = origin.revision;
      at = origin?.era;
    }
    let limit = revision;
    for (let at = era; ;) {
      const common = shared.get(at);
      const origin = this.#origins.get(at);
      if (common !== undefined) return limit === revision && (at === this.#era || revision <= common);
      if (!origin) return false;
      if (origin.revision < limit) limit = origin.revision;
      at = origin.era;
    }
  }

  /** Begins or ends an outage. No lease runs out meanwhile, and all have their full time afterwards, as with etcd. */
  setOutage(outage: Outage | undefined): void {
    if (outage && !this.#outage) this.#outageSinceMs = this.clock.now();
    this.#outage = outage;
    if (outage) return;
    for (const lease of this.#leases.values()) lease.renewedMs = this.clock.now();
    for (const over of this.#outageOver.splice(0)) over();
  }

  /** Drops the history up to a revision. */
  compact(revision: Revision): void {
    this.#recent.compact(revision);
    const kept = this.#log.findIndex((batch) => batch.revision > revision);
    for (const { changes } of this.#log.splice(0, kept === -1 ? this.#log.length : kept))
      for (const change of changes)
        if (change.kind === 'put') this.#oldest.entries.set(change.entry.key, change.entry);
        else this.#oldest.entries.delete(change.key);
    this.#oldest.revision = maxOf(this.#oldest.revision, revision);
  }

  /** Drops the whole history, so that every watch that has not seen all of it must list anew. */
  compactAll(): void {
    this.compact(this.#revision);
  }

  /** Drops what a process holds of the history: every open watch must list anew. The store itself still has it. */
  forgetRecent(): void {
    this.#recent.compact(this.#revision);
  }

  /** What the store holds now. */
  backup(): Backup {
    const leases = new Map([...this.#leases].map(([key, { epoch }]) => [key, epoch]));
    return { era: this.#era, revision: this.#revision, entries: new Map(this.#entries), leases };
  }

  /** Goes back to what the store held once: whatever was committed since has never been. Leases have their full time. */
  restore({ era, revision, entries, leases }: Backup): void {
    this.#entries.clear();
    for (const [key, entry] of entries) this.#entries.set(key, entry);
    this.#revision = revision;
    this.#origins.set(++this.#era, { era, revision });
    const past = this.#recent;
    this.#recent = new RecentRevisions(revision);
    past.compact(1n << 62n);
    this.#oldest = { revision, entries: new Map(entries) };
    this.#log = [];
    for (const { check } of this.#leases.values()) check.cancel();
    this.#leases.clear();
    for (const [key, epoch] of leases) this.#grant(key, epoch);
  }

  // What the store does, at once.

  serveList(range: KeyRange, what: 'entries' | 'keys' = 'entries'): Listing {
    const entries = [...this.#entries.values()]
      .filter(({ key }) => inRange(range, key))
      .map((entry) => (what === 'keys' ? { ...entry, value: new Uint8Array(0) } : entry))
      .sort((a, b) => compareKeys(a.key, b.key));
    return { revision: this.#revision, pages: pagesOf(entries, this.#era, () => this.#era) };
  }

  serveGet(key: string): { entry: Entry | undefined; revision: Revision } {
    return { entry: this.#entries.get(key), revision: this.#revision };
  }

  serveCommit(txn: Txn, by = ''): CommitResult {
    return this.#evaluate((overlay) => [overlay.commit(txn)], by)[0]!;
  }

  serveCommitEach(guard: readonly Compare[], txns: readonly Txn[], by = ''): CommitResult[] {
    return this.#evaluate((overlay) => overlay.commitEach(guard, txns), by);
  }

  /** Puts a member key on a lease of its own. Undefined: the key is there already. */
  serveJoin(key: string, value: Uint8Array, also: readonly Write[], by = ''): Revision | undefined {
    const writes: Write[] = [{ kind: 'put', key, value }, ...also];
    const created = this.serveCommit({ writeId: '', compares: [{ key, modRevision: 0n }], writes }, by);
    if (!created.ok) return undefined;
    this.#grant(key, created.revision);
    return created.revision;
  }

  serveRewrite(key: string, epoch: Revision, value: Uint8Array, by = ''): boolean {
    const compares = [{ key, createRevision: epoch }];
    return this.serveCommit({ writeId: '', compares, writes: [{ kind: 'put', key, value }] }, by).ok;
  }

  /** False: the lease is gone. */
  serveRenewal(key: string, epoch: Revision): boolean {
    const lease = this.#leases.get(key);
    if (lease?.epoch !== epoch) return false;
    lease.renewedMs = this.clock.now();
    return true;
  }

  /** Ends a lease, and the key on it. */
  serveRevocation(key: string, epoch: Revision | undefined): void {
    const lease = this.#leases.get(key);
    if (!lease || (epoch !== undefined && lease.epoch !== epoch)) return;
    lease.check.cancel();
    this.#leases.delete(key);
    const compares = [{ key, createRevision: lease.epoch }];
    this.serveCommit({ writeId: '', compares, writes: [{ kind: 'delete', key }] });
  }

  /** The revisions after one, as they come; see Store.watch. */
  async *serveWatch(after: Revision, signal: AbortSignal): AsyncGenerator<RevisionBatch> {
    const era = this.#era;
    try {
      yield* this.#recent.watch(after, signal);
    } catch (error) {
      throw this.#era === era ? error : new RolledBack('the store was restored');
    }
  }

  /** What stood at the oldest revision that is kept, and what came then; see Store.past. */
  servePast(range: KeyRange, until: Revision): Past {
    const { revision: from, entries } = this.#oldest;
    const stood = [...entries.values()].filter(({ key }) => inRange(range, key));
    const since = this.#log.flatMap(({ revision, changes: all }) => {
      const changes = all.filter((one) => inRange(range, one.kind === 'put' ? one.entry.key : one.key));
      return revision > until || changes.length === 0 ? [] : [{ revision, changes }];
    });
    return { from, batches: this.#unlessReplaced([...batchesByRevision(stood), ...since], from) };
  }

  async *#unlessReplaced(batches: readonly RevisionBatch[], from: Revision): AsyncGenerator<RevisionBatch> {
    const era = this.#era;
    for (const batch of batches) {
      if (this.#era !== era) throw new RolledBack('the store was restored');
      if (this.#oldest.revision > from) throw new Compacted(`revision ${from} is older than ${this.#oldest.revision}`);
      yield batch;
    }
  }

  /** How long ago a revision that a watch delivers was committed. */
  ageMs(batch: RevisionBatch): number {
    return this.clock.now() - (this.#committedMs.get(batch) ?? this.clock.now());
  }

  // The port.

  async list(range: KeyRange, what?: 'entries' | 'keys'): Promise<Listing> {
    await this.#reach();
    const listing = this.serveList(range, what);
    await this.#return();
    return listing;
  }

  async get(key: string): Promise<{ entry: Entry | undefined; revision: Revision }> {
    await this.#reach();
    const answer = this.serveGet(key);
    await this.#return();
    return answer;
  }

  async commit(txn: Txn): Promise<CommitResult> {
    return this.#commit(() => this.serveCommit(txn));
  }

  commitEach(guard: readonly Compare[], txns: readonly Txn[]): Promise<CommitResult[]> {
    return this.#commit(() => this.serveCommitEach(guard, txns));
  }

  async *watch(after: Revision, signal: AbortSignal): AsyncGenerator<RevisionBatch> {
    for await (const batch of this.serveWatch(after, signal)) {
      while (this.#outage && !signal.aborted) await this.#outageEnd(signal);
      if (this.#closed || signal.aborted) return;
      yield batch;
    }
  }

  async past(range: KeyRange, until: Revision): Promise<Past> {
    await this.#reach();
    const past = this.servePast(range, until);
    await this.#return();
    return past;
  }

  copy(): Promise<CopyTool> {
    return Promise.resolve({ command: 'none' });
  }

  async join(key: string, value: Uint8Array, also: readonly Write[] = []): Promise<Member> {
    const epoch = await this.#commit(() => this.serveJoin(key, value, also));
    if (epoch === undefined) throw new StoreUnavailable(`the member key ${key} exists already`);
    const lost = new AbortController();
    const lose = (): void => {
      keeping.timer.cancel();
      lost.abort();
    };
    const keep = (): void => {
      if (this.#outage) return;
      if (keeping.renews) this.serveRenewal(key, epoch);
      if (this.#leases.get(key)?.epoch !== epoch) lose();
    };
    const keeping = { renews: true, timer: this.clock.every(this.leaseMs / 3, keep) };
    this.#keeping.set(key, keeping);
    return {
      key,
      epoch,
      lost: lost.signal,
      leave: () => {
        lose();
        return this.#commit(() => this.serveRevocation(key, epoch));
      },
      rewrite: async (bytes) => {
        const ok = await this.#commit(() => this.serveRewrite(key, epoch, bytes));
        if (!ok) lose();
        return ok;
      },
    };
  }

  /** Stops keeping a member alive, as if its process had died. */
  killMember(key: string): void {
    const keeping = this.#keeping.get(key);
    if (keeping) keeping.renews = false;
  }

  /** It listens nowhere. */
  places(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  health(): StoreHealth {
    return { unreachableSinceMs: this.#outage ? this.#outageSinceMs : undefined, writable: true };
  }

  close(): void {
    this.#closed = true;
    for (const { timer } of this.#keeping.values()) timer.cancel();
    for (const { check } of this.#leases.values()) check.cancel();
  }

  async #commit<T>(serve: () => T): Promise<T> {
    await this.#reach();
    const result = serve();
    if (this.#outage === 'lost-reply') throw new StoreUnavailable('the reply was lost');
    await this.#return();
    return result;
  }

  #evaluate(evaluate: (overlay: Overlay) => CommitResult[], by: string): CommitResult[] {
    const overlay = new Overlay(this.#revision, (key) => this.#entries.get(key));
    const results = evaluate(overlay);
    for (const [key, entry] of overlay.written) {
      if (entry) this.#entries.set(key, entry);
      else this.#entries.delete(key);
    }
    this.#revision = overlay.revision;
    for (const batch of overlay.batches) {
      this.onCommit(batch, by);
      this.#log.push(batch);
      const changes = batch.changes.filter((change) =>
        inRange(WATCHED_RANGE, change.kind === 'put' ? change.entry.key : change.key),
      );
      const watched = { revision: batch.revision, changes };
      this.#committedMs.set(watched, this.clock.now());
      this.#recent.append(watched);
    }
    return results;
  }

  #grant(key: string, epoch: Revision): void {
    this.#leases.get(key)?.check.cancel();
    const check = this.clock.every(this.leaseMs / 10, () => this.#checkLease(key, epoch));
    this.#leases.set(key, { epoch, renewedMs: this.clock.now(), check });
  }

  #checkLease(key: string, epoch: Revision): void {
    const lease = this.#leases.get(key);
    if (!lease || lease.epoch !== epoch || this.#outage) return;
    if (this.clock.now() - lease.renewedMs >= this.leaseMs) this.serveRevocation(key, epoch);
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
      const over = (): void => {
        signal?.removeEventListener('abort', over); // what listens keeps all of its world alive
        resolve();
      };
      this.#outageOver.push(over);
      signal?.addEventListener('abort', over);
    });
  }
}

/** A list that is being read when the store is restored must not mix two histories. */
async function* pagesOf(entries: readonly Entry[], begun: number, era: () => number): AsyncGenerator<readonly Entry[]> {
  for (let i = 0; i < entries.length; i += LIST_PAGE_ENTRIES) {
    if (era() !== begun) throw new RolledBack('the store was restored');
    yield entries.slice(i, i + LIST_PAGE_ENTRIES);
  }
}
