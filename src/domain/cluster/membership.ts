import { Backoff } from '../../base/backoff.js';
import { type Clock, delay, type Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import type { Telemetry } from '../../base/observe.js';
import type { Random } from '../../base/random.js';
import type { Catalog } from '../../catalog/catalog.js';
import { MemberRecord, MembergenRecord } from '../../gen/rollcall/storage/v1/records.js';
import type { HeardNote } from '../health/heard.js';
import type { Cluster, Jury, MemberRef, PeerConnector } from '../health/peers.js';
import { MEMBERGEN_KEY, memberKey, MEMBERS } from '../../model/keys.js';
import { ifReadable, type MemberItem, readMember } from '../../model/records.js';
import { type Member, prefixRange, type Store, StoreUnavailable } from '../../store/store.js';
import { Canary } from './canary.js';
import { Fence, REWRITE_MS } from './fence.js';
import { Judges } from './judges.js';
import { NodeHistory } from './node-history.js';
import { PeerLinks } from './peer-links.js';

/** Rewrites on their way at a time: one that hangs must not hold up the next. */
const REWRITES_MAX = 2;
/** How often the other members are asked something, so that who cannot be reached is known before a verdict needs it. */
const PEER_CHECK_MS = 10_000;
/** How often the membership is looked at. */
const LOOK_MS = 250;
/** How long a leaving member waits for the others to take over. */
const HAND_OVER_MAX_MS = 1_000;
const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 3_000;
/** What this program can be asked. */
const PROTOCOL_VERSION = 1;

/**
 * Where a membership stands.
 *
 * - OUT: no key, or none any more. No heartbeat is acknowledged; what was heard and promised is kept.
 * - WAITING: as OUT, for a while: memberships of this node ended uncleanly soon after they began, and each such end
 *   postpones every verdict of the others.
 * - IN: the key stands, as far as is known.
 * - LEAVING: the others take over; nothing is acknowledged any more.
 * - GONE: for good.
 */
type State =
  | { readonly name: 'OUT' }
  | { readonly name: 'WAITING'; readonly untilMs: number }
  | {
      readonly name: 'IN' | 'LEAVING';
      readonly member: Member;
      readonly epoch: bigint;
      readonly joinedMs: number;
      /** Called when the key is known to be gone, however that came to be known. */
      readonly lost: () => void;
    }
  | { readonly name: 'GONE' };

/** What a membership is made from. */
export interface MembershipParts {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
  /** The name of the node: the same after a restart. */
  readonly node: string;
  /** Where the PeerService of this process listens. */
  readonly address: string;
  readonly connect: PeerConnector;
  /** What was heard within its ttl. */
  readonly recent: () => readonly HeardNote[];
  /** Lists everything anew, on a new watch. */
  readonly relist: () => void;
}

/** How the cluster looks from here, for operators. */
export interface ClusterView {
  readonly id: string;
  readonly state: State['name'];
  readonly epoch: bigint;
  /** Since the own rewrite was last seen through the own watch, in milliseconds. */
  readonly lagMs: number;
  readonly fenced: string | undefined;
  /** Until when it waits before it joins, by the wall clock. Undefined: it does not wait. */
  readonly waitsUntilMs: number | undefined;
  readonly members: readonly MemberItem[];
  /** Ids of members that did not answer when they were asked last. */
  readonly unreachable: readonly string[];
  /** The id of the member that judges a service. */
  judgeOf(namespace: string, service: string): string | undefined;
}

/**
 * This process as a member of the cluster: a key on a lease, rewritten every 3 s. The rewrites are fence, canary and lag
 * in one.
 */
export class Membership implements Cluster, Closeable {
  readonly id: string;
  readonly #backoff: Backoff;
  readonly #links: PeerLinks;
  readonly #judges = new Judges();
  readonly #fence: Fence;
  readonly #canary: Canary;
  readonly #nodeHistory: NodeHistory;
  readonly #memberListeners: (() => void)[] = [];
  readonly #disturbanceListeners: (() => void)[] = [];
  readonly #stop = new AbortController();
  #state: State = { name: 'OUT' };
  #rewriting = 0;
  #timers: Timer[] = [];
  #running: Promise<void> | undefined;
  /** Ends what `#run` waits for: the membership is lost, or is to end. */
  #over: () => void = () => undefined;
  #joined: (() => void)[] = [];
  #hasJoined = false;
  #servingListener: (serving: boolean) => void = () => undefined;

  constructor(private readonly parts: MembershipParts) {
    const { catalog, clock, random, store } = parts;
    this.id = random.id();
    this.#backoff = new Backoff(random, RETRY_BASE_MS, RETRY_MAX_MS);
    this.#links = new PeerLinks(parts.connect, clock, parts.telemetry.log);
    this.#fence = new Fence(clock, parts.telemetry, () => this.#rewrite());
    this.#canary = new Canary(clock);
    this.#nodeHistory = new NodeHistory(store, parts.node, random);
    catalog.onMember((before, after) => this.#memberChanged(before, after));
  }

  start(): void {
    const { clock } = this.parts;
    this.#running ??= this.#run();
    this.#timers = [
      clock.every(REWRITE_MS, () => this.#rewrite()),
      clock.every(LOOK_MS, () => this.#look()),
      clock.every(PEER_CHECK_MS, () => void (this.#state.name === 'IN' && this.#links.anyHasStore())),
    ];
  }

  /** Tells `listener` whether calls should come here: not while this process waits to become a member again. */
  onServing(listener: (serving: boolean) => void): void {
    this.#servingListener = listener;
  }

  /** Resolves once this process has been a member. */
  whenJoined(): Promise<void> {
    return this.#hasJoined ? Promise.resolve() : new Promise((resolve) => this.#joined.push(resolve));
  }

  // What the judge and the heartbeats see.

  jury(): Jury | undefined {
    const { catalog } = this.parts;
    const own = this.#own();
    if (this.#state.name !== 'IN' || !own) return undefined;
    const others = [...catalog.members.values()].filter(({ id }) => id !== this.id);
    return {
      guard: [
        { key: memberKey(this.id), createRevision: own.epoch },
        { key: MEMBERGEN_KEY, modRevision: catalog.membergen },
      ],
      others: others.map((member) => this.#links.to(member)),
    };
  }

  judges(namespace: string, service: string): boolean {
    return this.#judges.of(namespace, service) === this.id;
  }

  fenced(): string | undefined {
    if (this.#state.name === 'LEAVING' || this.#state.name === 'GONE') return 'LEAVING';
    if (!this.#own()) return 'NOT_A_MEMBER';
    return this.#fence.reason();
  }

  /** True: the membership may be over soon, or already: silence must not count. */
  get unconfirmed(): boolean {
    return this.#fence.unconfirmed;
  }

  /** True: the store works for this member. */
  get storeWorks(): boolean {
    return this.#fence.storeWorks;
  }

  onMembers(listener: () => void): void {
    this.#memberListeners.push(listener);
  }

  onDisturbance(listener: () => void): void {
    this.#disturbanceListeners.push(listener);
  }

  /** True: `to` is this membership, and it can answer. */
  isAddressed(to: MemberRef): boolean {
    return 'epoch' in this.#state && to.id === this.id && to.epoch === this.#state.epoch;
  }

  view(): ClusterView {
    const { catalog, clock } = this.parts;
    return {
      id: this.id,
      state: this.#state.name,
      epoch: 'epoch' in this.#state ? this.#state.epoch : 0n,
      lagMs: this.#canary.lagMs,
      fenced: this.fenced(),
      waitsUntilMs: this.#state.name === 'WAITING' ? clock.wall() + this.#state.untilMs - clock.now() : undefined,
      members: [...catalog.members.values()],
      unreachable: this.#links.unreachable(),
      judgeOf: (namespace, service) => this.#judges.of(namespace, service),
    };
  }

  // Joining and staying.

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
        // Whatever is left of it must not stand in the way of the next: its lease could be kept alive for ever.
        await member.leave().catch(() => undefined);
        telemetry.log.warn({ member: this.id }, 'the membership was lost; joining again');
        telemetry.counters.add('memberships_lost');
        this.#setState({ name: 'OUT' });
      } catch (error) {
        if (!(error instanceof StoreUnavailable)) telemetry.log.error({ err: error }, 'joining failed');
        await delay(clock, this.#backoff.nextMs(), signal);
      }
    }
  }

  async #waitAfterUncleanEnds(): Promise<void> {
    const { clock, node, catalog, telemetry } = this.parts;
    const { ms: waitMs, after } = await this.#nodeHistory.wait();
    if (waitMs === 0) return;
    const untilMs = clock.now() + waitMs;
    const isAlone = (): boolean =>
      catalog.ready && [...catalog.members.values()].every(({ record }) => record.node === node);
    if (isAlone()) return;
    this.#setState({ name: 'WAITING', untilMs });
    telemetry.log.warn({ waitMs }, 'the last membership of this node ended uncleanly; waiting before the next');
    while (clock.now() < untilMs && !isAlone() && !this.#stop.signal.aborted)
      await delay(clock, LOOK_MS, this.#stop.signal);
    if (clock.now() >= untilMs) this.#nodeHistory.waited(after);
    this.#setState({ name: 'OUT' });
  }

  async #join(lost: () => void): Promise<Member> {
    const { store, clock, catalog, telemetry } = this.parts;
    const { entry: membergen } = await store.get(MEMBERGEN_KEY);
    const sentMs = clock.now();
    const writeId = this.parts.random.id();
    const member = await store.join(memberKey(this.id), this.#record([]), [
      { kind: 'put', key: MEMBERGEN_KEY, value: MembergenRecord.encode({ writeId }).finish() },
      this.#nodeHistory.joining(),
    ]);
    this.#backoff.reset();
    this.#canary.seen();
    this.#confirmed(sentMs);
    member.lost.addEventListener('abort', lost);
    if (member.lost.aborted) lost();
    this.#setState({ name: 'IN', member, epoch: member.epoch, joinedMs: clock.now(), lost });
    telemetry.log.info({ member: this.id, epoch: Number(member.epoch) }, 'joined the cluster');
    // Others may have heard what this process has not; only where nobody was before it nothing was heard.
    if (membergen || catalog.instances.liveCount > 0) this.#disturb();
    if (catalog.has(member.epoch)) this.#membersChanged();
    this.#hasJoined = true;
    for (const resolve of this.#joined.splice(0)) resolve();
    return member;
  }

  #rewrite(): void {
    const state = this.#state;
    if (state.name !== 'IN' || this.#rewriting >= REWRITES_MAX) return;
    const sentMs = this.parts.clock.now();
    this.#rewriting++;
    void state.member
      .rewrite(this.#record([]))
      .then(
        (isOurs) => {
          if (!isOurs) state.lost();
          else if (this.#state === state) this.#confirmed(sentMs);
        },
        () => undefined, // not confirmed: nothing is known of it
      )
      .finally(() => this.#rewriting--);
    if (sentMs - state.joinedMs >= NodeHistory.SETTLED_MS) this.#nodeHistory.settle();
  }

  #confirmed(sentMs: number): void {
    this.#fence.confirmed(sentMs);
    this.#canary.confirmed(sentMs);
  }

  /** Looks at clocks, canary and peers. */
  #look(): void {
    const { relist, telemetry } = this.parts;
    this.#fence.compareClocks();
    if (this.#state.name !== 'IN') return;
    if (this.#canary.isMissed) {
      const lagMs = Math.round(this.#canary.lagMs);
      telemetry.log.warn({ lagMs }, 'the watch does not show our own rewrites');
      telemetry.counters.add('canaries_missed');
      this.#canary.seen(); // what is listed now shows them
      relist();
    }
    if (!this.unconfirmed) {
      this.#fence.othersHaveStore = false;
      return;
    }
    // The store may be back any moment: nobody waits for the next turn then.
    if (this.#rewriting === 0) this.#rewrite();
    void this.#links.anyHasStore().then((has) => (this.#fence.othersHaveStore = has && this.unconfirmed));
  }

  // What the catalog shows of members.

  #memberChanged(before: MemberItem | undefined, after: MemberItem | undefined): void {
    if (after?.id === this.id) this.#canary.seen();
    const isSame = before !== undefined && before.epoch === after?.epoch;
    if (isSame) return;
    if (before) this.#departed(before);
    if (after && after.id !== this.id && this.#hasJoined)
      this.parts.telemetry.log.info({ member: after.id, node: after.record.node }, 'a member has joined');
    this.#membersChanged();
  }

  #departed({ id, epoch: departed, record }: MemberItem): void {
    this.#links.forget(id);
    const state = 'epoch' in this.#state ? this.#state : undefined;
    const epoch = state?.epoch;
    if (id === this.id && departed === epoch) state?.lost();
    const tookOver = record.handedOverTo.some((one) => one.id === this.id && one.epoch === epoch);
    // Whoever is no member cannot have taken over, and knows nothing of how the other left.
    if (id !== this.id)
      this.parts.telemetry.log.info(
        { member: id, node: record.node, ...(epoch !== undefined && { clean: tookOver }) },
        'a member has left',
      );
    if (!tookOver) this.#disturb();
  }

  #membersChanged(): void {
    const { catalog } = this.parts;
    this.#judges.elect([...catalog.members.keys()]);
    for (const member of catalog.members.values()) if (member.id !== this.id) this.#links.to(member);
    for (const listener of this.#memberListeners) listener();
  }

  #disturb(): void {
    this.parts.telemetry.counters.add('disturbances');
    for (const listener of this.#disturbanceListeners) listener();
  }

  /** The own key, once the catalog has reached the join. */
  #own(): MemberItem | undefined {
    if (!('epoch' in this.#state)) return undefined;
    const own = this.parts.catalog.members.get(this.id);
    return own?.epoch === this.#state.epoch ? own : undefined;
  }

  #record(handedOverTo: readonly MemberRef[]): Uint8Array {
    const { random, node, address } = this.parts;
    return MemberRecord.encode({
      writeId: random.id(),
      id: this.id,
      node,
      address,
      protocolVersion: PROTOCOL_VERSION,
      handedOverTo: [...handedOverTo],
    }).finish();
  }

  #setState(state: State): void {
    if (this.#state.name === 'GONE') return;
    this.#state = state;
    if (state.name === 'WAITING') this.#servingListener(false);
    else if (state.name === 'IN') this.#servingListener(true);
  }

  // Leaving.

  /** Leaves cleanly: acknowledges nothing any more, lets the others take over, says who did, and removes the key. */
  async leave(): Promise<void> {
    const state = this.#state;
    this.#stop.abort();
    for (const timer of this.#timers) timer.cancel();
    if (state.name !== 'IN') return this.#setState({ name: 'GONE' });
    this.#setState({ ...state, name: 'LEAVING' });
    const { clock, telemetry, recent } = this.parts;
    const timeUp = new AbortController();
    const took = await this.#links.handOver(recent(), delay(clock, HAND_OVER_MAX_MS, timeUp.signal));
    timeUp.abort();
    try {
      await state.member.rewrite(this.#record(took));
      await this.#nodeHistory.left();
      await state.member.leave();
    } catch (error) {
      telemetry.log.warn({ reason: (error as Error).message }, 'the store did not take the goodbye');
    }
    telemetry.log.info({ handedOverTo: took.length }, 'left the cluster');
    this.#setState({ name: 'GONE' });
  }

  async close(): Promise<void> {
    this.#stop.abort();
    for (const timer of this.#timers) timer.cancel();
    await this.#running;
    this.#links.close();
    this.#setState({ name: 'GONE' });
  }
}

/** The nodes of all members, as the store has them now; of a record that cannot be read, its key. */
export async function memberNodes(store: Store): Promise<string[]> {
  const nodes = new Set<string>();
  const { pages } = await store.list(prefixRange(MEMBERS));
  for await (const page of pages)
    for (const entry of page) nodes.add(ifReadable(() => readMember(entry).record.node) ?? entry.key);
  return [...nodes].sort();
}
