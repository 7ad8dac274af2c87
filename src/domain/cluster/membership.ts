import { Backoff } from '../../base/backoff.js';
import { type Clock, delay, type Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import { Listeners } from '../../base/listeners.js';
import type { Random } from '../../base/random.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import { MemberRecord, MembergenRecord } from '../../gen/rollcall/storage/v1/records.js';
import { memberKey, type MemberItem } from '../../model/member.js';
import { MEMBERGEN_KEY } from '../../model/store-facts.js';
import { type Member, type Store, StoreUnavailable } from '../../store/store.js';
import type { HeardNote } from '../health/liveness-table.js';
import type { Cluster, Jury, MemberRef, PeerConnector, PeerStoreStatus } from '../health/peers.js';
import type { FenceReason } from './fence.js';
import { Members } from './members.js';
import { NodeHistory } from './node-history.js';
import { PeerLinks } from './peer-links.js';
import { Propagation } from './propagation.js';
import { LOOK_MS, Rewrites, type Rewritten } from './rewrites.js';
import type { ClusterView } from './view.js';
import { COUNTERS } from './instruments.js';

/** How often peers are probed, so that unreachable peers are known before a verdict depends on them. */
const PEER_CHECK_MS = 10_000;
/** How long a leaving member waits for the others to take over. */
const HAND_OVER_MAX_MS = 1_000;
/** The waits between attempts to join. */
const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 3_000;
/** The version of PeerService that this program answers. */
const PROTOCOL_VERSION = 1;

/**
 * The state of a membership.
 *
 * - OUT: the member key does not exist yet, or no longer. No heartbeat is acknowledged. Beats and promises are kept.
 * - WAITING: as OUT, until a wait is over. Memberships of this node ended uncleanly soon after they began, and each
 *   such end postpones every verdict of the others.
 * - IN: the member key exists, as far as this process knows.
 * - LEAVING: the others take over. No heartbeat is acknowledged.
 * - GONE: this process does not join again.
 */
type State =
  | { readonly name: 'OUT' }
  | { readonly name: 'WAITING'; readonly untilMs: number }
  | ({ readonly name: 'IN' | 'LEAVING'; readonly epoch: bigint } & Rewritten)
  | { readonly name: 'GONE' };

/** The dependencies of a Membership. */
export interface MembershipParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
  /** The name of the node: the same after a restart. */
  readonly node: string;
  /** The address at which the PeerService of this process listens. */
  readonly address: string;
  readonly connect: PeerConnector;
  /** The port for HTTP of this process. `undefined`: it has none. */
  readonly httpPort: number | undefined;
  /** True if this process probes health checks. */
  readonly probes: boolean;
  /** A short name for the text of the access file in force; empty without access control. */
  readonly accessHash: () => string;
  /** The beats within their TTL. */
  readonly recent: () => readonly HeardNote[];
  /** Lists everything again, on a new watch. */
  readonly relist: () => void;
}

/** This process as a member of the cluster: a key on a lease, which is rewritten every 3 s. */
export class Membership implements Cluster, Closeable {
  readonly id: string;
  readonly #backoff: Backoff;
  readonly #links: PeerLinks;
  readonly #members: Members;
  readonly #rewrites: Rewrites;
  readonly #nodeHistory: NodeHistory;
  readonly #serving = new Listeners<[boolean]>();
  readonly #rewritten = new Listeners<[reachedWatches: () => void]>();
  readonly #stop = new AbortController();
  /** Aborted after `#stop`: a member that leaves still follows the others. */
  readonly #closed = new AbortController();
  #state: State = { name: 'OUT' };
  #checking: Timer | undefined;
  #running: Promise<void> | undefined;
  /** Ends the wait of `#run`: the membership is lost, or this process stops. */
  #over: () => void = () => undefined;
  #joined: (() => void)[] = [];
  #hasJoined = false;

  constructor(private readonly parts: MembershipParts) {
    const { clock, random, store, telemetry, connect, catalog, node, relist } = parts;
    const id = random.id();
    this.id = id;
    this.#backoff = new Backoff(random, RETRY_BASE_MS, RETRY_MAX_MS);
    const propagation = new Propagation(clock, telemetry.histograms);
    this.#links = new PeerLinks({ id, connect, clock, log: telemetry.log, propagation });
    this.#nodeHistory = new NodeHistory(store, node, random);
    const links = this.#links;
    this.#rewrites = new Rewrites({
      clock,
      telemetry,
      links,
      propagation,
      relist,
      record: () => this.#record([]),
      onRewrite: (ageMs) => {
        if (ageMs >= NodeHistory.SETTLED_MS) this.#nodeHistory.settle();
      },
    });
    this.#members = new Members({
      id,
      catalog,
      clock,
      telemetry,
      links,
      own: () => ('epoch' in this.#state ? this.#state : undefined),
      onOwnKey: (writeId) => {
        this.#rewrites.seen(writeId);
        this.#rewritten.call(() => propagation.reached('watch', writeId));
      },
    });
  }

  start(): void {
    const { clock } = this.parts;
    this.#members.start(this.#closed.signal);
    this.#rewrites.start();
    this.#running ??= this.#run();
    this.#checking = clock.every(PEER_CHECK_MS, () => void (this.#state.name === 'IN' && this.#links.anyHasStore()));
  }

  /**
   * Calls `listener` with false when WAITING begins, because clients should call other servers, and with true when IN
   * begins.
   */
  onServing(listener: (serving: boolean) => void, signal: AbortSignal): void {
    this.#serving.add(listener, signal);
  }

  /**
   * Calls `listener` when a rewrite of this member has arrived in the catalog. The listener calls back when its watches
   * have been served.
   */
  onRewrite(listener: (reachedWatches: () => void) => void, signal: AbortSignal): void {
    this.#rewritten.add(listener, signal);
  }

  /** Resolves once this process has been a member. */
  whenJoined(): Promise<void> {
    return this.#hasJoined ? Promise.resolve() : new Promise((resolve) => this.#joined.push(resolve));
  }

  // For the judge and the heartbeats.

  jury(): Jury | undefined {
    const { catalog } = this.parts;
    const own = this.#own();
    if (this.#state.name !== 'IN' || !own) return undefined;
    const others = catalog.members.filter(({ name }) => name !== this.id);
    return {
      guard: [
        { key: memberKey(this.id), createRevision: own.epoch },
        { key: MEMBERGEN_KEY, modRevision: catalog.membergen },
      ],
      others: others.map((member) => this.#links.to(member)),
    };
  }

  judges(namespace: string, service: string): boolean {
    return this.#members.judgeOf(namespace, service) === this.id;
  }

  checks(key: string): boolean {
    return this.#members.checkerOf(key) === this.id;
  }

  fenced(): FenceReason | undefined {
    if (this.#state.name === 'LEAVING' || this.#state.name === 'GONE') return 'LEAVING';
    if (!this.#own()) return 'NOT_A_MEMBER';
    return this.#rewrites.fenced();
  }

  /** True if the membership may end soon or may have ended, so that silence must not count. */
  get unconfirmed(): boolean {
    return this.#rewrites.unconfirmed;
  }

  /** True if the store works for this member. */
  get storeWorks(): boolean {
    return this.#rewrites.storeWorks;
  }

  onMembers(listener: () => void, signal: AbortSignal): void {
    this.#members.changed.add(listener, signal);
  }

  onDisturbance(listener: () => void, signal: AbortSignal): void {
    this.#members.disturbed.add(listener, signal);
  }

  /** The last rewrite of a member that the watch of this one has shown. */
  seenOf(id: string): PeerStoreStatus['seen'] {
    return this.#members.seenOf(id);
  }

  /** This membership; without one its epoch is 0n. */
  get ref(): MemberRef {
    return { id: this.id, epoch: 'epoch' in this.#state ? this.#state.epoch : 0n };
  }

  /** Returns true if `to` names this membership. */
  isAddressed(to: MemberRef): boolean {
    return 'epoch' in this.#state && to.id === this.id && to.epoch === this.#state.epoch;
  }

  /** Asks every other member for its part of an answer to an operator. `part` is `undefined` for one that does not answer. */
  async answerParts(method: string, request: Uint8Array): Promise<{ node: string; part: Uint8Array | undefined }[]> {
    const parts = await this.#links.answerParts(method, request);
    return parts.map(({ id, part }) => ({ node: this.parts.catalog.member(id)?.record.node ?? id, part }));
  }

  view(): ClusterView {
    const { catalog, clock } = this.parts;
    return {
      id: this.id,
      state: this.#state.name,
      epoch: this.ref.epoch,
      lagMs: this.#rewrites.lagMs,
      fenced: this.fenced(),
      waitsUntilMs: this.#state.name === 'WAITING' ? clock.wall() + this.#state.untilMs - clock.now() : undefined,
      members: catalog.members,
      unreachable: this.#links.unreachable(),
      judgeOf: (namespace, service) => this.#members.judgeOf(namespace, service),
    };
  }

  // Joining.

  async #run(): Promise<void> {
    const { catalog, clock, telemetry } = this.parts;
    const { signal } = this.#stop;
    signal.addEventListener('abort', () => this.#over());
    const stopped = new Promise<void>((resolve) => (this.#over = resolve));
    await Promise.race([catalog.whenReady(), stopped]);
    while (!signal.aborted) {
      try {
        await this.#waitAfterUncleanEnds();
        if (signal.aborted) return;
        const over = new Promise<void>((resolve) => (this.#over = resolve));
        const member = await this.#join(this.#over);
        await over;
        if (signal.aborted) return;
        // The old lease must not be kept alive beside the next membership.
        await member.leave().catch(() => undefined);
        telemetry.log.warn({ member: this.id }, 'the membership was lost; joining again');
        telemetry.counters.add(COUNTERS.memberships_lost);
        this.#setState({ name: 'OUT' });
      } catch (error) {
        if (!(error instanceof StoreUnavailable))
          telemetry.log.error({ err: error }, 'joining the cluster failed; retrying');
        await delay(clock, this.#backoff.nextMs(), signal);
      }
    }
  }

  async #waitAfterUncleanEnds(): Promise<void> {
    const { clock, node, catalog, telemetry } = this.parts;
    const { ms: waitMs, after } = await this.#nodeHistory.wait();
    if (waitMs === 0) return;
    const untilMs = clock.now() + waitMs;
    const isAlone = (): boolean => catalog.ready && catalog.members.every(({ record }) => record.node === node);
    if (isAlone()) return;
    this.#setState({ name: 'WAITING', untilMs });
    telemetry.log.warn({ waitMs }, 'the last membership of this node ended uncleanly; waiting before the next');
    while (clock.now() < untilMs && !isAlone() && !this.#stop.signal.aborted)
      await delay(clock, LOOK_MS, this.#stop.signal);
    if (clock.now() >= untilMs) this.#nodeHistory.waited(after);
    this.#setState({ name: 'OUT' });
  }

  async #join(lost: () => void): Promise<Member> {
    const { store, clock, catalog, random, telemetry } = this.parts;
    const { entry: membergen } = await store.get(MEMBERGEN_KEY);
    const sentMs = clock.now();
    const writeId = random.id();
    const member = await store.join(memberKey(this.id), MemberRecord.encode(this.#record([])).finish(), [
      { kind: 'put', key: MEMBERGEN_KEY, value: MembergenRecord.encode({ writeId }).finish() },
      this.#nodeHistory.joining(),
    ]);
    this.#backoff.reset();
    member.lost.addEventListener('abort', lost);
    if (member.lost.aborted) lost();
    const state = { name: 'IN', member, epoch: member.epoch, joinedMs: clock.now(), lost } as const;
    this.#rewrites.begin(state, sentMs);
    this.#setState(state);
    telemetry.log.info({ member: this.id, epoch: Number(member.epoch) }, 'joined the cluster');
    // The others may have heard beats that this process has not, unless no process was ever a member.
    this.#members.joined(member.epoch, membergen !== undefined || catalog.instances.liveCount > 0);
    this.#hasJoined = true;
    for (const resolve of this.#joined.splice(0)) resolve();
    return member;
  }

  /** The member key of this process, once the catalog has reached the join. */
  #own(): MemberItem | undefined {
    if (!('epoch' in this.#state)) return undefined;
    const own = this.parts.catalog.member(this.id);
    return own?.epoch === this.#state.epoch ? own : undefined;
  }

  #record(handedOverTo: readonly MemberRef[]): MemberRecord {
    const { random, node, address, httpPort = 0, probes, accessHash } = this.parts;
    return {
      writeId: random.id(),
      id: this.id,
      node,
      address,
      protocolVersion: PROTOCOL_VERSION,
      handedOverTo: [...handedOverTo],
      accessHash: accessHash(),
      httpPort,
      probesNothing: !probes,
    };
  }

  #setState(state: State): void {
    if (this.#state.name === 'GONE') return;
    this.#state = state;
    if (state.name !== 'IN') this.#rewrites.end();
    if (state.name === 'WAITING') this.#serving.call(false);
    else if (state.name === 'IN') this.#serving.call(true);
  }

  // Leaving.

  /**
   * Leaves cleanly: acknowledges nothing from here on, lets the others take over, records which of them did, and removes
   * the key.
   */
  async leave(): Promise<void> {
    const state = this.#state;
    this.#stopTimers();
    if (state.name !== 'IN') return this.#setState({ name: 'GONE' });
    this.#setState({ ...state, name: 'LEAVING' });
    const { clock, telemetry, recent } = this.parts;
    const timeUp = new AbortController();
    const took = await this.#links.handOver(recent(), delay(clock, HAND_OVER_MAX_MS, timeUp.signal));
    timeUp.abort();
    try {
      await state.member.rewrite(MemberRecord.encode(this.#record(took)).finish());
      await this.#nodeHistory.left();
      await state.member.leave();
    } catch (error) {
      telemetry.log.warn({ reason: (error as Error).message }, 'failed to record a clean departure');
    }
    telemetry.log.info({ handedOverTo: took.length }, 'left the cluster');
    this.#setState({ name: 'GONE' });
  }

  async close(): Promise<void> {
    this.#stopTimers();
    await this.#running;
    this.#closed.abort();
    this.#links.close();
    this.#setState({ name: 'GONE' });
  }

  #stopTimers(): void {
    this.#stop.abort();
    this.#rewrites.close();
    this.#checking?.cancel();
  }
}
