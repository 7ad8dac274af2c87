import type { Clock } from '../../src/base/clock.js';
import {
  type CommitResult,
  type Compare,
  type CopyTool,
  type Entry,
  type KeyRange,
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
import type { MemoryStore } from './memory-store.js';

/** A call that got no answer within this fails, as with etcd. */
const PATIENCE_MS = 5_000;
/** A renewal that got no answer within this is given up: the next one is due. */
const RENEW_PATIENCE_MS = 2_000;
const PROBE_MS = 3_000;
/** The wait before a watch that could not be opened is opened again. */
const REOPEN_MS = 200;
const RENEWALS_PER_LEASE = 3;

/** A message on its way between a process and the store. */
export interface Parcel {
  /** A list reads all watched records, as a catalog does that begins; any other read is a get. */
  readonly kind: 'list' | 'get' | 'commit' | 'join' | 'rewrite' | 'renew' | 'leave' | 'probe';
  /** What is committed. */
  readonly txns?: readonly Txn[];
}

/** The way between one process and the store. What is carried may come late, or never. */
export interface StoreWire {
  /** To the store; commits of the same key come in the order in which they were sent. */
  up(parcel: Parcel, arrive: () => void, refuse: () => void): void;
  /** To the process. */
  down(parcel: Parcel, arrive: () => void): void;
  /** To the process, in order, and never lost: a watch that was cut goes on. What comes was committed `ageMs` ago. */
  watch(ageMs: number, watch: object, arrive: () => void): void;
}

/** A store in memory as one of several processes sees it, over a way of its own. */
export class StoreLink implements Store {
  readonly kind = 'memory';
  readonly exclusive = false;
  /** The membership that this process believes it has. */
  member: Member | undefined;
  #unreachableSinceMs: number | undefined;
  /** The newest revision that an answer has shown. An older one means that the store was restored. */
  #newest: Revision = 0n;
  /** Counts how often it was, as far as this process has seen. */
  #histories = 0;
  /** Of the last listing: how often that was until then, and the history it showed. */
  #listed = { histories: 0, era: 0 };
  /** Called when the store is seen to have been restored. */
  #onRolledBack: () => void = () => undefined;

  constructor(
    private readonly store: MemoryStore,
    private readonly wire: StoreWire,
    private readonly clock: Clock,
    private readonly by: string,
  ) {
    clock.every(PROBE_MS, () => void this.#ask({ kind: 'probe' }, () => undefined).catch(() => undefined));
  }

  list(range: KeyRange, what: 'entries' | 'keys' = 'entries'): Promise<Listing> {
    const histories = this.#histories;
    const isWhole = range === WATCHED_RANGE && what === 'entries';
    return this.#ask({ kind: isWhole ? 'list' : 'get' }, () => {
      if (isWhole) this.#listed = { histories, era: this.store.era };
      return this.store.serveList(range, what);
    });
  }

  past(range: KeyRange, until: Revision): Promise<Past> {
    return this.#ask({ kind: 'get' }, () => this.store.servePast(range, until));
  }

  copy(): Promise<CopyTool> {
    return this.store.copy();
  }

  get(key: string): Promise<{ entry: Entry | undefined; revision: Revision }> {
    return this.#ask({ kind: 'get' }, () => this.store.serveGet(key));
  }

  commit(txn: Txn): Promise<CommitResult> {
    return this.#ask({ kind: 'commit', txns: [txn] }, () => this.store.serveCommit(txn, this.by));
  }

  commitEach(guard: readonly Compare[], txns: readonly Txn[]): Promise<CommitResult[]> {
    return this.#ask({ kind: 'commit', txns }, () => this.store.serveCommitEach(guard, txns, this.by));
  }

  /**
   * A store that is restored cuts its streams. A watch goes on behind what it has delivered, if that is a part of the
   * history which it finds there: of what it has seen last, etcd is asked whether it still stands.
   */
  async *watch(after: Revision, signal: AbortSignal): AsyncGenerator<RevisionBatch> {
    const watch = {};
    let abort = (): void => undefined;
    const aborted = new Promise<void>((resolve) => (abort = resolve));
    signal.addEventListener('abort', abort);
    const rolledBack = new Promise<never>((_, reject) => {
      this.#onRolledBack = () => reject(new RolledBack('the store has gone back'));
    });
    rolledBack.catch(() => undefined);
    if (this.#histories !== this.#listed.histories) this.#onRolledBack();
    const arrival = (ageMs: number): Promise<void> =>
      Promise.race([aborted, rolledBack, new Promise<void>((resolve) => this.wire.watch(ageMs, watch, resolve))]);
    let cursor = after;
    let { era } = this.#listed;
    try {
      for (;;) {
        const isSame = await Promise.race([aborted, rolledBack, this.#continues(era, cursor, signal)]);
        if (signal.aborted) return;
        if (!isSame) throw new RolledBack('the store has another history');
        ({ era } = this.store);
        try {
          for await (const batch of this.store.serveWatch(cursor, signal)) {
            await arrival(this.store.ageMs(batch));
            if (signal.aborted) return;
            cursor = batch.revision;
            yield batch;
            if (signal.aborted) return;
          }
        } catch (error) {
          await arrival(0);
          if (signal.aborted) return;
          if (this.store.era === era) throw error;
        }
      }
    } finally {
      signal.removeEventListener('abort', abort); // what listens keeps all of its world alive
    }
  }

  /** Before a watch is opened the history is looked at, as soon as the store answers. */
  async #continues(era: number, cursor: Revision, signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      try {
        return await this.#ask({ kind: 'probe' }, () => this.store.continues(era, cursor));
      } catch {
        await new Promise<void>((resolve) => void this.clock.after(REOPEN_MS, resolve));
      }
    }
    return true;
  }

  async join(key: string, value: Uint8Array, also: readonly Write[] = []): Promise<Member> {
    const epoch = await this.#ask({ kind: 'join' }, () => this.store.serveJoin(key, value, also, this.by));
    if (epoch === undefined) throw new StoreUnavailable(`the member key ${key} exists already`);
    const lost = new AbortController();
    const lose = (): void => {
      keeping.cancel();
      lost.abort();
    };
    const keeping = this.clock.every(this.store.leaseMs / RENEWALS_PER_LEASE, () => {
      const renewed = this.#ask({ kind: 'renew' }, () => this.store.serveRenewal(key, epoch), RENEW_PATIENCE_MS);
      renewed.then(
        (alive) => alive || lose(),
        () => undefined,
      );
    });
    this.member = {
      key,
      epoch,
      lost: lost.signal,
      leave: () => {
        lose();
        return this.#ask({ kind: 'leave' }, () => this.store.serveRevocation(key, epoch));
      },
      rewrite: async (bytes) => {
        const ok = await this.#ask({ kind: 'rewrite' }, () => this.store.serveRewrite(key, epoch, bytes, this.by));
        if (!ok) lose();
        return ok;
      },
    };
    return this.member;
  }

  places(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  health(): StoreHealth {
    return { unreachableSinceMs: this.#unreachableSinceMs, writable: true };
  }

  close(): void {
    // The process ends, and its clock with it.
  }

  #ask<T>(parcel: Parcel, serve: () => T, patienceMs = PATIENCE_MS): Promise<T> {
    const floor = this.#newest;
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => {
        timer.cancel();
        this.#unreachableSinceMs ??= this.clock.now();
        reject(new StoreUnavailable(why));
      };
      const timer = this.clock.after(patienceMs, () => fail('the store did not answer'));
      this.wire.up(
        parcel,
        () => {
          const answer = serve();
          const { revision } = this.store;
          this.wire.down(parcel, () => {
            timer.cancel();
            this.#unreachableSinceMs = undefined;
            this.#seen(revision, floor);
            resolve(answer);
          });
        },
        () => fail('the store refuses'),
      );
    });
  }

  /** An answer shows a revision; when it was asked for, `floor` had been seen. */
  #seen(revision: Revision, floor: Revision): void {
    if (revision < floor) {
      this.#newest = revision;
      this.#histories++;
      this.#onRolledBack();
    } else if (revision > this.#newest) this.#newest = revision;
  }
}
