import type { Prober } from '../../src/domain/checks/prober.js';
import { once } from 'node:events';
import { addressFor } from './addresses.js';
import { HeartbeatItem, RejectionReason } from '../../src/gen/rollcall/v1/heartbeat.js';
import { RegisterRequest } from '../../src/gen/rollcall/v1/registry_service.js';
import { validateRegister } from '../../src/api/registry/validation.js';
import { validateHeartbeats } from '../../src/api/registry/heartbeats.js';
import type { Random } from '../../src/base/random.js';
import type { Histogram } from '../../src/base/telemetry.js';
import { HISTOGRAMS } from '../../src/domain/cluster/instruments.js';
import type { Query } from '../../src/domain/health/liveness-table.js';
import type { PeerConnector } from '../../src/domain/health/peers.js';
import { type RollcallError } from '../../src/model/errors.js';
import { type Replica, startReplica } from '../../src/domain/replica.js';
import type { RevisionBatch, Store } from '../../src/store/store.js';
import { PROTECTION, SimProcess, tallyingTelemetry } from '../sim/process.js';
import { World } from '../sim/world.js';
import { MemoryStore } from './memory-store.js';

/** One replica of a cluster, in a process of its own. */
export interface Member {
  readonly node: string;
  readonly replica: Replica;
  readonly process: SimProcess;
  readonly counts: Map<string, number>;
  /** What its histograms of propagation have seen. */
  readonly values: Map<Histogram, number[]>;
  /** How far its wall clock is off. */
  wallOffMs: number;
}

/** Some replicas on one store, on a virtual clock. */
export class ClusterStage {
  readonly world = new World();
  readonly store: MemoryStore;
  readonly members: Member[] = [];
  /** Which revisions the store does not deliver, as some versions of etcd have done. */
  loses: (batch: RevisionBatch) => boolean = () => false;
  /** How long a question, or its answer, is on its way. */
  peerLatencyMs: () => number = () => 1;
  /** How much later the store delivers a revision to a replica. */
  watchDelayMs: () => number = () => 0;
  /** Told of every question about silence as it arrives. */
  onAsked: (queries: readonly Query[]) => void = () => undefined;
  /** Nodes that no other can ask. */
  readonly unreachable = new Set<string>();
  #next = 1;

  constructor(leaseMs = 10_000) {
    this.store = new MemoryStore(new SimProcess(this.world).clock, { exclusive: false, leaseMs });
  }

  /** Starts a replica, and waits until it has joined, for `withinMs` at most. */
  async start(node: string, withinMs = 5_000, prober?: Prober): Promise<Member> {
    const member = this.begin(node, prober);
    await this.until(member.replica.ready, withinMs);
    return member;
  }

  /** Starts a replica. Without a prober it does not probe. */
  begin(node: string, prober?: Prober): Member {
    const process = new SimProcess(this.world);
    const random: Random = { id: () => `${node}-${this.#next++}`, fraction: () => 0.5 };
    const counts = new Map<string, number>();
    const values = new Map(Object.values(HISTOGRAMS).map((histogram): [Histogram, number[]] => [histogram, []]));
    const own = process.clock;
    const clock = { ...own, wall: () => own.wall() + member.wallOffMs };
    const replica = startReplica({
      store: this.#storeView(process),
      clock,
      random,
      telemetry: tallyingTelemetry(counts, values),
      selfBeat: process.selfBeat(),
      protectionTimes: PROTECTION,
      node,
      ...(prober && { prober }),
      cluster: { address: node, httpPort: undefined, accessHash: () => '', connect: () => this.#connect },
    });
    const member: Member = { node, replica, process, counts, values, wallOffMs: 0 };
    this.members.push(member);
    return member;
  }

  /** The process dies without a word; its lease runs out. */
  kill(member: Member): void {
    member.process.kill();
    const key = `w/m/${member.replica.membership!.id}`;
    this.store.killMember(key);
  }

  async pass(ms: number): Promise<void> {
    await this.world.run(this.world.now + ms);
  }

  async until<T>(promise: Promise<T>, withinMs = 20_000): Promise<T> {
    let settled = false;
    const settle = (): void => void (settled = true);
    promise.then(settle, settle);
    for (let ms = 0; ms < withinMs && !settled; ms += 5) await this.pass(5);
    if (!settled) throw new Error(`not settled within ${withinMs} ms`);
    return promise;
  }

  async untilTrue(condition: () => boolean, withinMs: number): Promise<number> {
    const from = this.world.now;
    while (!condition()) {
      if (this.world.now - from >= withinMs) throw new Error(`not within ${withinMs} ms: ${condition.toString()}`);
      await this.pass(5);
    }
    return this.world.now - from;
  }

  register({ replica }: Member, id: string, ttlS = 3): Promise<unknown> {
    const request = RegisterRequest.fromPartial({
      instance: { service: 'pay', id, port: 80, ttl: { seconds: BigInt(ttlS), nanos: 0 } },
      incarnation: id,
    });
    return this.until(replica.registrations.register(validateRegister(request, addressFor(id)).registration));
  }

  /** "OK", the rejection, or the reason of the error. */
  async beat({ replica }: Member, id: string): Promise<string> {
    const { items } = validateHeartbeats([HeartbeatItem.fromPartial({ service: 'pay', id, incarnation: id })]);
    try {
      const { rejected } = await this.until(Promise.resolve().then(() => replica.heartbeats.receive(items)));
      return rejected[0] ? RejectionReason[rejected[0].reason] : 'OK';
    } catch (error) {
      return (error as RollcallError).reason;
    }
  }

  isSilent(id: string): boolean {
    const living = this.members.find(({ process }) => !process.dead)!;
    return living.replica.catalog.instances.get('default', 'pay', id)?.record.silent === true;
  }

  /** The store as one process sees it, without the events that are lost on the way. */
  #storeView(process: SimProcess): Store {
    const view = process.storeView(this.store);
    const isLost = (batch: RevisionBatch): boolean => this.loses(batch);
    const delivered = (signal: AbortSignal): Promise<unknown> | undefined => {
      const ms = this.watchDelayMs();
      return ms > 0 ? Promise.race([this.world.sleep(ms), once(signal, 'abort')]) : undefined;
    };
    return {
      ...view,
      watch: async function* (after, signal) {
        for await (const batch of view.watch(after, signal)) {
          await delivered(signal);
          if (signal.aborted) return;
          if (!isLost(batch)) yield batch;
        }
      },
    };
  }

  readonly #connect: PeerConnector = ({ id, epoch, address }) => {
    const to = { id, epoch };
    const ask = <T>(answer: (peer: NonNullable<Replica['peer']>) => T): Promise<T> =>
      new Promise((resolve, reject) => {
        const target = this.members.findLast(({ node }) => node === address);
        if (!target || this.unreachable.has(address)) return; // nobody answers
        const back = (arrive: () => void): void => void this.world.in(this.peerLatencyMs(), arrive);
        this.world.in(this.peerLatencyMs(), () =>
          target.process.deliver(() => {
            Promise.resolve()
              .then(() => answer(target.replica.peer!))
              .then(
                (answered) => back(() => resolve(answered)),
                (error: Error) => back(() => reject(error)),
              );
          }),
        );
      });
    return {
      lastHeard: (queries, promise) =>
        ask((peer) => {
          this.onAsked(queries);
          return peer.lastHeard(to, queries, promise);
        }),
      handOver: (notes) => ask((peer) => peer.handOver(to, notes)),
      storeStatus: (from) => ask((peer) => peer.storeStatus(to, from)),
      probe: (queries) => ask((peer) => peer.probe(to, queries)).then((answered) => answered),
      answerPart: () => Promise.reject(new Error('no operator asks here')),
      close: () => undefined,
    };
  };
}
