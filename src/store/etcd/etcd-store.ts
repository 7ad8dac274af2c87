import type { IRangeRequest } from 'etcd3';
import type { Clock, Timer } from '../../base/clock.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Random } from '../../base/random.js';
import { UNWATCHED_ROOT } from '../../model/keys.js';
import { FullDisk } from '../full-disk.js';
import {
  type CommitResult,
  Compacted,
  type Compare,
  type CopyTool,
  type Entry,
  type KeyRange,
  LEASE_MS,
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
} from '../store.js';
import { type EtcdConnection, Endpoints } from './endpoints.js';
import { failureOf } from './failures.js';
import { GroupCommit } from './group-commit.js';
import { KeySpace } from './keys.js';
import { HISTORY_REPLACED, Kv, PAGE_TIMEOUTS } from './kv.js';
import { type EtcdMember, joinMember } from './member.js';
import { checkEtcd } from './start-check.js';
import { pastOf } from './past.js';
import { type Listed, watchRange } from './watch.js';
import { ALARMS, HISTOGRAMS } from '../instruments.js';

/** How often etcd is probed for a sign of life. Answers to reads report an age, which is as exact as this interval. */
const PROBE_MS = 3_000;
/** How long each endpoint has to name the members of etcd. */
const ASK_PLACES_MS = 2_000;
/** A key without a meaning, outside the watched range. */
const PROBE_KEY = `${UNWATCHED_ROOT}write-probe`;

/** The options of the store on etcd. */
export interface EtcdOptions {
  readonly connection: EtcdConnection;
  /** The prefix of all keys. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
  /** The time to live of member leases, in seconds as etcd counts it. Default: LEASE_MS. */
  readonly leaseTtlS?: number;
}

/** Opens the store. Does not wait for etcd: calls fail with StoreUnavailable until it answers. */
export function openEtcdStore(options: EtcdOptions): EtcdStore {
  const store = new EtcdStore(options);
  store.start();
  return store;
}

/** The store port on etcd, over the raw stubs of its client library. */
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
  readonly #disk: FullDisk;
  /** The origin of the last list of entries. The next watch continues it. */
  #listed: Listed;

  constructor(private readonly options: EtcdOptions) {
    const { connection, prefix, clock, telemetry } = options;
    this.#telemetry = { ...telemetry, log: telemetry.log.child('store') };
    this.#endpoints = new Endpoints(connection, clock);
    this.#keys = new KeySpace(prefix);
    this.#kv = new Kv(this.#endpoints, this.#keys.key(PROBE_KEY), this.#telemetry.log);
    this.#listed = { historyEnded: this.#kv.historyEnded, newest: undefined };
    this.#disk = new FullDisk({
      clock,
      alarms: telemetry.alarms,
      alarmText: 'the database of etcd is full: compact and defragment it, and disarm its alarm NOSPACE',
      tryWrite: () => this.#tryWrite(),
    });
    this.#commits = new GroupCommit(
      this.#kv,
      this.#keys,
      () => this.#disk.reportFull(),
      (txns) => telemetry.histograms.observe(HISTOGRAMS.group, txns),
    );
  }

  /** Begins to probe etcd. */
  start(): void {
    this.#telemetry.log.info({ endpoints: this.#endpoints.urls }, 'connecting to etcd');
    this.#probing ??= this.options.clock.every(PROBE_MS, () => void this.#probe());
    void this.#probe();
  }

  async list(range: KeyRange, content: 'entries' | 'keys' = 'entries'): Promise<Listing> {
    const listed: Listed = { historyEnded: this.#kv.historyEnded, newest: undefined };
    if (range === WATCHED_RANGE && content === 'entries') this.#listed = listed; // a watch goes on from a whole listing
    const { key, range_end } = this.#keys.range(range);
    const request = { key, range_end, limit: LIST_PAGE_ENTRIES, keys_only: content === 'keys' };
    const first = await this.#page(request);
    return { revision: first.revision, pages: this.#pages(first, request, listed) };
  }

  async get(key: string): Promise<{ entry: Entry | undefined; revision: Revision }> {
    const { kvs, header } = await orStoreError(this.#kv.range({ key: this.#keys.key(key) }));
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
      range: WATCHED_RANGE,
    };
    return watchRange(parts, after, this.#listed, signal);
  }

  async past(range: KeyRange, until: Revision, signal: AbortSignal): Promise<Past> {
    const { key, range_end } = this.#keys.range(range);
    const listed: Listed = { historyEnded: this.#kv.historyEnded, newest: undefined };
    const parts = {
      ...{ endpoints: this.#endpoints, kv: this.#kv, keys: this.#keys, clock: this.options.clock, range },
      listAt: (at: Revision) => this.#listAt(at, { key, range_end, limit: LIST_PAGE_ENTRIES }, listed),
    };
    return orStoreError(pastOf(parts, until, AbortSignal.any([signal, listed.historyEnded])));
  }

  copy(): Promise<CopyTool> {
    const { endpoints } = this.options.connection;
    const [endpoint] = endpoints;
    const tls = endpoint!.startsWith('https:') ? ' --cacert CA_FILE --cert CERT_FILE --key KEY_FILE' : '';
    return Promise.resolve({ command: `etcdctl --endpoints ${endpoint}${tls} snapshot save FILE` });
  }

  async places(): Promise<readonly string[]> {
    const answers = await this.#endpoints.each(
      (etcd, _, options) => etcd.cluster.memberList({}, options),
      ASK_PLACES_MS,
    );
    const members = answers.find((answer) => answer !== undefined)?.members ?? [];
    const urls = members.flatMap(({ clientURLs, peerURLs }) => [...clientURLs, ...peerURLs]);
    return [...new Set([...this.#endpoints.urls, ...urls])];
  }

  async join(key: string, value: Uint8Array, also: readonly Write[] = []): Promise<Member> {
    const { clock, leaseTtlS = LEASE_MS / 1_000 } = this.options;
    const parts = {
      endpoints: this.#endpoints,
      kv: this.#kv,
      keys: this.#keys,
      clock,
      log: this.#telemetry.log,
      leaseTtlS,
    };
    const member = await orStoreError(joinMember(parts, key, value, also));
    this.#members.add(member);
    member.lost.addEventListener('abort', () => this.#members.delete(member));
    return member;
  }

  health(): StoreHealth {
    return { unreachableSinceMs: this.#endpoints.unreachableSinceMs, writable: !this.#disk.isFull };
  }

  async close(): Promise<void> {
    this.#probing?.cancel();
    for (const member of this.#members) member.stop();
    this.#endpoints.close();
    this.#commits.close();
    await this.#disk.close();
  }

  /** Reads a page at the newest revision, or at the one that the request names. */
  async #page(request: IRangeRequest): Promise<Page> {
    const { kvs, header, more } = await orStoreError(this.#kv.range(request, PAGE_TIMEOUTS));
    const last = kvs.at(-1)?.key;
    return {
      revision: BigInt(request.revision ?? header.revision),
      entries: kvs.map((kv) => this.#keys.entry(kv)),
      next: more && last ? Buffer.concat([last, Buffer.alloc(1)]) : undefined,
    };
  }

  async *#listAt(revision: Revision, request: IRangeRequest, listed: Listed): AsyncGenerator<readonly Entry[]> {
    const atRevision = { ...request, revision: String(revision) };
    yield* this.#pages(await this.#page(atRevision), atRevision, listed);
  }

  async *#pages(first: Page, request: IRangeRequest, listed: Listed): AsyncGenerator<readonly Entry[]> {
    for (let page = first; ;) {
      if (listed.historyEnded.aborted) throw new RolledBack(HISTORY_REPLACED);
      for (const entry of page.entries)
        if (entry.modRevision > (listed.newest?.modRevision ?? 0n)) listed.newest = entry;
      if (page.entries.length > 0) yield page.entries;
      if (!page.next) return;
      page = await this.#page({ ...request, key: page.next, revision: String(first.revision) });
    }
  }

  /** Probes etcd, and raises or clears the alarms that say whether it answers and accepts this server. */
  async #probe(): Promise<void> {
    const { alarms } = this.#telemetry;
    try {
      await this.#kv.probe();
      alarms.clear(ALARMS.STORE_UNAVAILABLE);
      alarms.clear(ALARMS.STORE_DENIED);
      if (this.#checked) return;
      this.#checked = true;
      await checkEtcd(this.#endpoints, this.#kv, this.options.connection, this.#telemetry.log);
    } catch (error) {
      if (error instanceof StoreUnavailable) return;
      const { kind, message } = failureOf(error);
      if (kind === 'DENIED' || kind === 'TOKEN')
        alarms.raise(ALARMS.STORE_DENIED, `etcd refuses this server, check its user and password: ${message}`);
      else alarms.raise(ALARMS.STORE_UNAVAILABLE, `etcd does not answer: ${message}`);
    }
  }

  /** Puts an empty value: etcd refuses it as long as its database is full. */
  async #tryWrite(): Promise<void> {
    await this.#kv.txn({ success: [this.#keys.write({ kind: 'put', key: PROBE_KEY, value: new Uint8Array() })] });
  }
}

/** Waits for an answer. Throws the error of the port if the call fails. */
async function orStoreError<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw toStoreError(error);
  }
}

function toStoreError(error: unknown): Error {
  if (error instanceof StoreUnavailable) return error;
  const { kind, message } = failureOf(error);
  return kind === 'COMPACTED' ? new Compacted(message) : new StoreUnavailable(message, { cause: error });
}

/** One page of a list. */
interface Page {
  readonly revision: Revision;
  readonly entries: readonly Entry[];
  /** The first key of the next page. `undefined` if this page is the last. */
  readonly next: Buffer | undefined;
}
