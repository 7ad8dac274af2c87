import type { CatalogChange } from '../../../src/catalog/changes.js';
import { hubOf } from '../../support/hub.js';
import type { Random } from '../../../src/base/random.js';
import type { Answer, HeardNote, Query } from '../../../src/domain/health/liveness-table.js';
import type { PeerResponder } from '../../../src/domain/cluster/peer-responder.js';
import type { MemberRef, PeerConnector } from '../../../src/domain/health/peers.js';
import { startReplica } from '../../../src/domain/replica.js';
import type { RevisionBatch } from '../../../src/store/store.js';
import { MemoryStore } from '../../support/memory-store.js';
import { type Parcel, StoreLink, type StoreWire } from '../../support/store-link.js';
import { changesOf } from '../checker.js';
import { CHECK_FAILED, decode, readCheckStanding, readStanding } from '../records.js';
import { SHORT_PROTECTION, SimProcess, tallyingTelemetry } from '../process.js';
import { PART_BYTES, type WatchedServer } from '../watchers.js';
import { type Network, Queue } from './network.js';
import type { ClusterScene, Sent } from './checker.js';
import type { Evidence, Outcome } from '../checks-checker.js';
import type { Targets } from './targets.js';
import { ProbeOutcome } from '../../../src/gen/rollcall/v1/check.js';
import type { ProbeQuery, ProbeResult } from '../../../src/model/probe.js';

/** A caller among the members gives up after this. */
const PEER_CALL_MS = 1_000;
/** A watch that was cut finds its way back within this. */
const REWATCH_MS = 1_000;

/** The store itself commits, such as the end of a lease. */
const NOBODY: Sent = { at: 0, epoch: undefined, checks: new Map() };

/** A replica in a process. */
export interface Server extends WatchedServer {
  /** The node it runs on, which is its address too. */
  readonly node: string;
  readonly link: StoreLink;
  leaving: boolean;
  /** When it saw a revision of the history that it follows. Infinity: not yet. */
  sawAt(revision: bigint): number;
}

/** A question that one member asked another. */
export interface Exchange {
  readonly asker: Server;
  readonly asked: Server;
  readonly promise: boolean;
  readonly queries: readonly Query[];
  readonly answers: readonly Answer[];
}

/** A commit on its way to the store, or its reply on the way back. */
export interface Crossing {
  readonly server: Server;
  readonly parcel: Parcel;
  readonly what: ParcelKind;
}

/** What a message to the store is about. */
export type ParcelKind =
  Exclude<Parcel['kind'], 'commit'> | 'verdict' | 'check verdict' | 'touch' | 'heal' | 'other commit';

/** Whoever looks on, and may strike: it is told before the thing happens. */
export interface Onlooker {
  /** A member has answered; called before the answer is sent. */
  answered(exchange: Exchange): void;
  /** An answer is about to be read by the judge. */
  answerArrives(exchange: Exchange): void;
  /** A member is about to probe for another one. */
  askedToProbe(asker: Server, asked: Server): void;
  /** Something is sent to the store; returns how much later it arrives. */
  goesUp(crossing: Crossing): number;
  /** The store has done it, and the reply is sent; returns how much later it arrives, Infinity: never. */
  goesDown(crossing: Crossing): number;
  /** A process goes on after a pause. */
  resumed(server: Server): void;
  /** The next time that a server rewrites its key it is evicted, and isolated for a while before it knows. */
  evictAfterRewrite(server: Server, isolatedMs: number): void;
  /** The join of a server comes late to the store. */
  delayJoin(server: Server, ms: number): void;
  /** A server is evicted when one of the others is about to list what there is. */
  evictBeforeList(joiner: Server, listers: readonly Server[]): void;
  /** A member key was created. */
  joined(key: string): void;
}

/** All replicas of a world, with the one store behind them. */
export class Servers {
  readonly store: MemoryStore;
  /** The process that runs on each node now. */
  readonly byNode = new Map<string, Server>();
  onlooker: Onlooker | undefined;
  readonly #all: Server[] = [];
  /** How much later than the network has it a node sees what the store tells it. Infinity: it hangs until it watches anew. */
  readonly watchLagMs = new Map<string, number>();
  /** Watches that hang, with what has not been delivered to each. */
  readonly #hung = new Map<object, (() => void)[]>();
  /** Of what each process has committed last. */
  readonly #sent = new Map<string, Sent>();

  /** `targets`: what is probed; `undefined`: no server probes. */
  constructor(
    private readonly scene: ClusterScene,
    private readonly network: Network,
    private readonly targets: Targets | undefined,
  ) {
    const { world, checker } = scene;
    this.store = new MemoryStore(new SimProcess(world).clock, { exclusive: false });
    this.store.onCommit = (batch, by) => {
      this.#noteCommit(batch, by);
      scene.guard(() => checker.committed(by, this.#sent.get(by) ?? NOBODY, batch.revision, changesOf(batch)));
      for (const change of batch.changes)
        if (
          change.kind === 'put' &&
          change.entry.key.startsWith('w/m/') &&
          change.entry.createRevision === batch.revision
        )
          this.onlooker?.joined(change.entry.key);
    };
  }

  /** One that runs or ran. */
  named(name: string): Server | undefined {
    return this.#all.find((server) => server.name === name);
  }

  /** Those that run. */
  get running(): Server[] {
    return [...this.byNode.values()].filter(({ process }) => !process.dead);
  }

  start(node: string): Server {
    const { scene } = this;
    const { world, dice, tally } = scene;
    const name = `${node}.${scene.number()}`;
    scene.note(`${name} starts`);
    const process = new SimProcess(world);
    const { clock } = process;
    const random: Random = { id: () => `id${scene.number()}`, fraction: () => dice.fraction() };
    const telemetry = tallyingTelemetry(tally);
    const server = { node, name, process, leaving: false } as { -readonly [K in keyof Server]: Server[K] };
    scene.checker.started(name);
    server.link = new StoreLink(this.store, this.#wire(server), clock, name);
    server.replica = startReplica({
      store: server.link,
      clock,
      random,
      telemetry,
      selfBeat: process.selfBeat(),
      protectionTimes: SHORT_PROTECTION,
      node,
      ...(this.targets && !this.targets.isOff(node) && { prober: this.targets.prober(node, name, process) }),
      cluster: { address: node, httpPort: undefined, accessHash: () => '', connect: () => this.#connector(server) },
    });
    server.replica.ready.catch(() => undefined);
    void server.replica.catalog.whenReady().then(() => scene.checker.ready(name));
    const { catalog, freshness } = server.replica;
    let sights: { revision: bigint; at: number }[] = [];
    const mine = new Set<string>();
    const look = ({ cause, revision }: CatalogChange): void => {
      if (cause === 'RESET') sights = [];
      else sights.push({ revision, at: world.now });
      const { checks, history } = scene.checker;
      checks.saw(name, cause === 'RESET' ? undefined : revision);
      for (const key of history.keys()) {
        // A result that comes while another server is the checker counts neither then nor later.
        const [was, is] = [mine.has(key), server.replica.checker.mine(key) !== undefined];
        if (!was || !is) checks.notMine(name, key);
        if (is) mine.add(key);
        else mine.delete(key);
      }
    };
    catalog.subscribe('other', look, new AbortController().signal);
    server.sawAt = (revision) => sights.find((sight) => sight.revision >= revision)?.at ?? Infinity;
    server.hub = hubOf({
      catalog,
      freshness,
      clock,
      random,
      telemetry,
      partBytes: PART_BYTES,
    });
    server.hub.start();
    this.byNode.set(node, server);
    this.#all.push(server);
    return server;
  }

  /** The world is over. Without this Node keeps every signal that was never aborted, and the world with it. */
  close(): void {
    for (const { replica, hub } of this.#all) {
      hub.close();
      void replica.close();
    }
  }

  /** It dies without a word. */
  crash(server: Server): void {
    if (server.process.dead) return;
    this.scene.note(`${server.name} crashes`);
    server.process.kill();
    this.scene.checker.crashed(server.name);
  }

  /** SIGTERM. */
  async leave(server: Server): Promise<void> {
    this.scene.note(`${server.name} leaves`);
    server.leaving = true;
    await Promise.race([server.replica.leave(), this.scene.world.sleep(8_000)]);
    if (server.process.dead) return;
    this.scene.note(`${server.name} has left`);
    const stillMember = [...this.scene.checker.members.values()].some(({ by }) => by === server.name);
    server.process.kill();
    if (stillMember) this.scene.checker.crashed(server.name);
  }

  /** The watch of a node says nothing any more, until the node watches anew. */
  hang(node: string): void {
    this.watchLagMs.set(node, Infinity);
  }

  /** No watch hangs any more. */
  wakeHungWatches(): void {
    const hung = [...this.#hung.values()];
    this.#hung.clear();
    for (const arrivals of hung) for (const arrive of arrivals) arrive();
  }

  // Messages between members.

  #connector(asker: Server): PeerConnector {
    return ({ id, epoch, address }) => {
      const to: MemberRef = { id, epoch };
      return {
        lastHeard: (queries: readonly Query[], promise: boolean) => this.#ask(asker, to, address, queries, promise),
        probe: (queries, timeoutMs) => this.#askToProbe(asker, to, address, queries, timeoutMs),
        handOver: (notes: readonly HeardNote[]) => {
          const sent = notes.map((note) => ({ ...note }));
          return this.#call(asker, address, (peer) => (peer.handOver(to, sent), this.scene.count('handed over')));
        },
        storeStatus: (from) => this.#call(asker, address, (peer) => peer.storeStatus(to, from)),
        answerPart: () => Promise.reject(new Error('no operator asks here')),
        close: () => undefined,
      };
    };
  }

  #ask(
    asker: Server,
    to: MemberRef,
    address: string,
    queries: readonly Query[],
    promise: boolean,
  ): Promise<readonly Answer[]> {
    const { scene } = this;
    const sent = queries.map((query) => ({ ...query }));
    scene.count(promise ? 'asked for a promise' : 'asked');
    let exchange: Exchange | undefined;
    const serve = (peer: PeerResponder, asked: Server): readonly Answer[] => {
      const answers = peer.lastHeard(to, sent, promise).map((answer) => ({ ...answer }));
      exchange = { asker, asked, promise, queries: sent, answers };
      answers.forEach((answer, i) => {
        scene.count(`answer ${answer.kind}`);
        const { key, revision } = sent[i]!;
        scene.note(
          `${asked.name} tells ${asker.name} ${answer.kind}${promise ? ' with promise' : ''} of ${key} at ${revision}`,
        );
        if (promise && answer.kind === 'SILENT' && answer.promisedRevision >= revision)
          scene.checker.promised(to.id, to.epoch, key, revision);
      });
      this.onlooker?.answered(exchange);
      return answers;
    };
    return this.#call(asker, address, serve, () => exchange && this.onlooker?.answerArrives(exchange));
  }

  /** A member asks another one to probe instances from where it is. */
  #askToProbe(
    asker: Server,
    to: MemberRef,
    address: string,
    queries: readonly ProbeQuery[],
    timeoutMs: number,
  ): Promise<readonly ProbeResult[]> {
    const { scene } = this;
    const { checks } = scene.checker;
    scene.count('asked to probe');
    const about = queries.map(({ namespace, service, id, check }) => {
      const key = `w/i/${namespace}/${service}/${id}`;
      return { key, check, round: checks.asked(asker.name, key, check, to.id, address) };
    });
    let answers: readonly ProbeResult[] = [];
    let from = '';
    const serve = async (peer: PeerResponder, asked: Server): Promise<readonly ProbeResult[]> => {
      from = asked.name;
      scene.note(`${from} probes ${about.map(({ key }) => key).join()} for ${asker.name}`);
      this.onlooker?.askedToProbe(asker, asked);
      return (answers = await this.targets!.asked(() => peer.probe(to, queries)));
    };
    const arrives = (): void =>
      answers.forEach(({ outcome }, i) => {
        const { key, check, round } = about[i]!;
        const name = ProbeOutcome[outcome].replace('PROBE_OUTCOME_', '') as Outcome;
        scene.note(`${asker.name} reads ${name} of ${key} ${check} from ${from}`);
        scene.count(`probed for another: ${name}`);
        scene.guard(() => checks.answered(round, from, key, check, name));
      });
    const ended = (): void => about.forEach(({ round }) => checks.ended(round));
    const answer = this.#call(asker, address, serve, arrives, timeoutMs);
    answer.then(ended, ended);
    return answer;
  }

  /** A call between members: the answer comes in time, or it fails. */
  #call<T>(
    caller: Server,
    address: string,
    serve: (peer: PeerResponder, asked: Server) => T | Promise<T>,
    arrives: () => void = () => undefined,
    timeoutMs = PEER_CALL_MS,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      const timer = caller.process.clock.after(timeoutMs, () => {
        isOver = true;
        reject(new Error('no answer in time'));
      });
      const back = (read: () => void): void =>
        this.network.send(address, caller.node, () => caller.process.deliver(() => (timer.cancel(), read())));
      const refuse = (): void => caller.process.deliver(() => reject(new Error('refused')));
      caller.process.send(() =>
        this.network.send(
          caller.node,
          address,
          () => {
            const asked = this.byNode.get(address);
            if (!asked || asked.process.dead) return back(() => reject(new Error('nobody listens')));
            const answered = (answer: T): void =>
              asked.process.send(() => back(() => (isOver || arrives(), resolve(answer))));
            const refused = (error: Error): void => {
              this.scene.count('peer refused');
              asked.process.send(() => back(() => reject(error)));
            };
            asked.process.deliver(() => {
              try {
                const answer = serve(asked.replica.peer!, asked);
                if (answer instanceof Promise) answer.then(answered, refused);
                else answered(answer);
              } catch (error) {
                refused(error as Error);
              }
            });
          },
          { refuse },
        ),
      );
    });
  }

  // Messages between a replica and the store.

  #wire(server: Server): StoreWire {
    const { scene, network, store } = this;
    const { process, node } = server;
    const queues = new Map<string, Queue>();
    return {
      up: (parcel, arrive, refuse) => {
        const what = this.#kindOf(parcel);
        const crossing = { server, parcel, what };
        const checks = this.#evidence(server, parcel);
        const sent = { at: scene.world.now, epoch: server.link?.member?.epoch, checks };
        const { era } = store;
        const refused = (): void => process.deliver(refuse);
        if (what !== 'probe' && what !== 'renew') scene.count(`sent ${what}`);
        process.send(() => {
          const extraMs = this.onlooker?.goesUp(crossing) ?? 0;
          process.send(() =>
            network.send(
              node,
              'store',
              () => {
                // What was on its way when the store was restored was on a connection that is cut.
                if (store.outage === 'refuse' || store.era !== era) return void scene.world.in(1, refused);
                if (store.outage === 'hang') return;
                this.#sent.set(server.name, sent);
                arrive();
              },
              { refuse: refused, extraMs, ...queueOf(queues, parcel) },
            ),
          );
        });
      },
      down: (parcel, arrive) => {
        if (parcel.kind === 'list') scene.checker.disturbed();
        if (store.outage === 'lost-reply') return;
        const extraMs = this.onlooker?.goesDown({ server, parcel, what: this.#kindOf(parcel) }) ?? 0;
        if (extraMs === Infinity) return;
        network.send('store', node, () => process.deliver(arrive), { extraMs });
      },
      watch: (ageMs, watch, arrive) => this.#watchArrives(server, ageMs, watch, arrive),
    };
  }

  #watchArrives(server: Server, ageMs: number, watch: object, arrive: () => void): void {
    const { world, dice } = this.scene;
    const { node } = server;
    const held = (): void => server.process.deliver(arrive);
    const hung = this.#hung.get(watch);
    if (hung) return void hung.push(held);
    const lag = this.watchLagMs.get(node) ?? 0;
    if (lag === Infinity) {
      this.watchLagMs.delete(node);
      this.#hung.set(watch, [held]);
      this.scene.note(`the watch of ${server.name} hangs`);
      return;
    }
    const tryNow = (): void => {
      const away =
        this.store.outage !== undefined || this.network.isCut('store', node) || this.network.isCut(node, 'store');
      if (away) world.in(100 + dice.between(0, REWATCH_MS), tryNow);
      else server.process.deliver(arrive);
    };
    world.in(Math.max(0, this.network.latency() + lag - ageMs), tryNow);
  }

  /** What a server knows about the verdicts on checks that it sends, and about the removals for them. */
  #evidence({ name }: Server, { kind, txns }: Parcel): ReadonlyMap<string, Evidence> {
    const evidence = new Map<string, Evidence>();
    if (!this.targets || kind !== 'commit') return evidence;
    const { checks } = this.scene.checker;
    for (const { writes } of txns!)
      for (const write of writes) {
        if (write.kind !== 'put') continue;
        const { key, value } = write;
        if (key.startsWith('w/h/')) {
          const instance = key.replace('w/h/', 'w/i/');
          evidence.set(instance, checks.evidence(name, instance, readCheckStanding(value, 0n)));
        } else if (key.startsWith('w/i/') && readStanding(key, value, 0n, 0).removal === CHECK_FAILED)
          evidence.set(key, checks.removalEvidence(name, key));
      }
    return evidence;
  }

  #kindOf({ kind, txns }: Parcel): ParcelKind {
    if (kind !== 'commit') return kind;
    const write = txns![0]!.writes[0];
    if (write?.key.startsWith('w/h/')) return 'check verdict';
    if (!write?.key.startsWith('w/i/') || write.kind !== 'put') return 'other commit';
    const { silent, visibleRevision, tombstone } = decode('rollcall.storage.v1.InstanceRecord', write.value) as {
      silent: boolean;
      visibleRevision: bigint;
      tombstone?: object;
    };
    if (silent) return 'verdict';
    if (tombstone) return 'other commit';
    if (visibleRevision !== 0n) return 'touch';
    return this.scene.checker.standing(write.key)?.silent ? 'heal' : 'other commit';
  }

  #noteCommit({ revision, changes }: RevisionBatch, by: string): void {
    for (const change of changes) {
      if (change.kind === 'delete')
        this.scene.note(`store ${revision}: ${change.key} is deleted${by ? ` by ${by}` : ''}`);
      else this.scene.note(`store ${revision}: ${by} puts ${describe(change.entry.key, change.entry.value)}`);
    }
  }
}

function queueOf(queues: Map<string, Queue>, { kind, txns }: Parcel): { queue?: Queue } {
  if (kind !== 'commit' || txns!.length !== 1) return {};
  const key = txns![0]!.writes[0]?.key ?? '';
  const queue = queues.get(key) ?? new Queue();
  queues.set(key, queue);
  return { queue };
}

/** What a record says, for people. */
function describe(key: string, value: Uint8Array): string {
  if (key.startsWith('w/h/')) {
    const { incarnation, verdict, decider } = readCheckStanding(value, 0n);
    return `${key} ${incarnation} verdict ${verdict} ${decider}`;
  }
  if (!key.startsWith('w/i/')) return key;
  const { silent, visibleRevision, tombstone, instance } = decode('rollcall.storage.v1.InstanceRecord', value) as {
    silent: boolean;
    visibleRevision: bigint;
    tombstone?: { reason: number };
    instance: { incarnation: string };
  };
  const state = tombstone
    ? `REMOVED ${tombstone.reason}`
    : silent
      ? 'SILENT'
      : visibleRevision === 0n
        ? 'live'
        : 'touched';
  return `${key} ${instance.incarnation} ${state}`;
}
