import type { IRangeRequest } from 'etcd3';
import type { Clock, Timer } from '../../base/clock.js';
import { UNWATCHED_ROOT } from '../../model/keys.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Random } from '../../base/random.js';
import {
  type CommitResult,
  Compacted,
  type Compare,
  type Entry,
  type KeyRange,
  LEASE_MS,
  LIST_PAGE_ENTRIES,
  type Listing,
  type Member,
  type Revision,
  type RevisionBatch,
  RolledBack,
  type Store,
  type StoreHealth,
  StoreUnavailable,
  type Txn,
  WATCHED_RANGE,
  type Write,
} from '../store.js';
import { type EtcdConnection, Endpoints } from './endpoints.js';
import { failureOf } from './failures.js';
import { GroupCommit } from './group-commit.js';
import { KeySpace } from './keys.js';
import { Kv, PAGE_PATIENCE } from './kv.js';
import { type EtcdMember, joinMember } from './member.js';
import { checkEtcd } from './start-check.js';
import { type Listed, watchRange } from './watch.js';

/** How often etcd is asked for a sign of life: what an answer to a read says of its age is as exact as this. */
const PROBE_MS = 3_000;
/** How often a full etcd is asked whether it has room again. */
const FULL_RETRY_MS = 5_000;
/** A key of no meaning, outside the watched range. */
const PROBE_KEY = `${UNWATCHED_ROOT}write-probe`;

/** What the store is made from. */
export interface EtcdOptions {
  readonly connection: EtcdConnection;
  /** What all keys begin with. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
  readonly leaseTtlS?: number;
}

/** Opens the store; does not wait for etcd. */
export function openEtcdStore(options: EtcdOptions): EtcdStore {
  const store = new EtcdStore(options);
  store.start();
  return store;
}

/** The store port on etcd, by its raw stubs alone. */
export class EtcdStore implements Store {
  readonly kind = 'etcd';
  readonly exclusive = false;
  readonly #endpoints: Endpoints;
  readonly #keys: KeySpace;
  readonly #kv: Kv;
  readonly #commits: GroupCommit;
  readonly #members = new Set<EtcdMember>();
  #probing: Timer | undefined;
  #checked = false;
  readonly #telemetry: Telemetry;
  /** What the last list came from. */
  #listed: Listed;
  #full: Timer | undefined;

  constructor(private readonly options: EtcdOptions) {
    const { connection, prefix, clock, telemetry } = options;
    this.#telemetry = { ...telemetry, log: telemetry.log.child('store') };
    this.#endpoints = new Endpoints(connection, clock);
    this.#keys = new KeySpace(prefix);
    this.#kv = new Kv(this.#endpoints, this.#keys.key(PROBE_KEY), this.#telemetry.log);
    this.#listed = { history: this.#kv.history, newest: undefined };
    this.#commits = new GroupCommit(this.#kv, this.#keys, () => this.#becomeFull());
  }

  /** Begins to look for signs of life. */
  start(): void {
    this.#telemetry.log.info({ endpoints: this.#endpoints.urls }, 'connecting to etcd');
    this.#probing ??= this.options.clock.every(PROBE_MS, () => void this.#probe());
    void this.#probe();
  }

  async list(range: KeyRange, what: 'entries' | 'keys' = 'entries'): Promise<Listing> {
    const listed: Listed = { history: this.#kv.history, newest: undefined };
    if (what === 'entries') this.#listed = listed;
    const { key, range_end } = this.#keys.range(range);
    const request = { key, range_end, limit: LIST_PAGE_ENTRIES, keys_only: what === 'keys' };
    const first = await this.#page(request);
    return { revision: first.revision, pages: this.#pages(first, request, listed) };
  }

  async get(key: string): Promise<{ entry: Entry | undefined; revision: Revision }> {
    const { kvs, header } = await this.#told(this.#kv.range({ key: this.#keys.key(key) }));
    return { entry: kvs[0] && this.#keys.entry(kvs[0]), revision: BigInt(header.revision) };
  }

  async commit(txn: Txn): Promise<CommitResult> {
    this.#endpoints.assertOpen();
    return this.#commits.commit(txn);
  }

  async commitEach(guard: readonly Compare[], txns: readonly Txn[]): Promise<CommitResult[]> {
    this.#endpoints.assertOpen();
    return this.#commits.commitEach(guard, txns);
  }

  watch(after: Revision, signal: AbortSignal): AsyncIterable<RevisionBatch> {
    const { clock, random } = this.options;
    const parts = {
      endpoints: this.#endpoints,
      kv: this.#kv,
      keys: this.#keys,
      clock,
      random,
      telemetry: this.#telemetry,
    };
    return watchRange(parts, WATCHED_RANGE, after, this.#listed, signal);
  }

  async join(key: string, value: Uint8Array, also: readonly Write[] = []): Promise<Member> {
    const { clock, leaseTtlS = LEASE_MS / 1_000 } = this.options;
    const parts = {
      endpoints: this.#endpoints,
      kv: this.#kv,
      keys: this.#keys,
      clock,
      log: this.#telemetry.log,
    };
    const member = await this.#told(joinMember(parts, key, value, also, leaseTtlS));
    this.#members.add(member);
    member.lost.addEventListener('abort', () => this.#members.delete(member));
    return member;
  }

  health(): StoreHealth {
    return { outOfReachSinceMs: this.#endpoints.outOfReachSinceMs, writable: this.#full === undefined };
  }

  close(): void {
    this.#probing?.cancel();
    this.#full?.cancel();
    for (const member of this.#members) member.stop();
    this.#endpoints.close();
    this.#commits.close();
  }

  /** Reads a page: at the newest revision, or at the one that the request names. */
  async #page(request: IRangeRequest): Promise<Page> {
    const { kvs, header, more } = await this.#told(this.#kv.range(request, PAGE_PATIENCE));
    const last = kvs.at(-1)?.key;
    return {
      revision: BigInt(request.revision ?? header.revision),
      entries: kvs.map((kv) => this.#keys.entry(kv)),
      next: more && last ? Buffer.concat([last, Buffer.alloc(1)]) : undefined,
    };
  }

  async *#pages(first: Page, request: IRangeRequest, listed: Listed): AsyncGenerator<readonly Entry[]> {
    for (let page = first; ;) {
      if (listed.history.aborted) throw new RolledBack('etcd has another history than before');
      for (const entry of page.entries)
        if (entry.modRevision > (listed.newest?.modRevision ?? 0n)) listed.newest = entry;
      if (page.entries.length > 0) yield page.entries;
      if (!page.next) return;
      page = await this.#page({ ...request, key: page.next, revision: String(first.revision) });
    }
  }

  /** Tells failures in the words of the port. */
  async #told<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      if (error instanceof StoreUnavailable) throw error;
      const { kind, message } = failureOf(error);
      if (kind === 'COMPACTED') throw new Compacted(message);
      throw new StoreUnavailable(message, { cause: error });
    }
  }

  /** Says that etcd is away, or refuses us, when it begins and when it is over. */
  async #probe(): Promise<void> {
    const { alarms } = this.#telemetry;
    try {
      await this.#kv.probe();
      alarms.clear('STORE_UNAVAILABLE');
      alarms.clear('STORE_DENIED');
      if (this.#checked) return;
      this.#checked = true;
      await checkEtcd(this.#endpoints, this.#kv, this.options.connection, this.#telemetry.log);
    } catch (error) {
      if (error instanceof StoreUnavailable) return;
      const { kind, message } = failureOf(error);
      if (kind === 'DENIED' || kind === 'TOKEN') alarms.raise('STORE_DENIED', `etcd refuses this server: ${message}`);
      else alarms.raise('STORE_UNAVAILABLE', `etcd does not answer: ${message}`);
    }
  }

  #becomeFull(): void {
    if (this.#full) return;
    this.#telemetry.alarms.raise(
      'STORE_FULL',
      'the database of etcd is full: compact, defragment and disarm its alarm',
    );
    this.#full = this.options.clock.every(FULL_RETRY_MS, () => void this.#tryAgain());
  }

  /** A put of nothing is refused while there is no room. */
  async #tryAgain(): Promise<void> {
    try {
      await this.#kv.txn({ success: [this.#keys.write({ kind: 'put', key: PROBE_KEY, value: new Uint8Array() })] });
    } catch {
      return; // still full, or out of reach, which the probe says
    }
    this.#full?.cancel();
    this.#full = undefined;
    this.#telemetry.alarms.clear('STORE_FULL');
  }
}

interface Page {
  readonly revision: Revision;
  readonly entries: readonly Entry[];
  /** Where the next page begins. Undefined: there is none. */
  readonly next: Buffer | undefined;
}
