import assert from 'node:assert/strict';
import { type Encoded, whole } from '../../src/api/call/message.js';
import type { Sink } from '../../src/api/call/sink.js';
import { sinkOf } from './sink.js';
import { validateRegister } from '../../src/api/registry/validation.js';
import { validateHeartbeats } from '../../src/api/registry/heartbeats.js';
import { type WatchHub } from '../../src/api/watch/hub.js';
import { hubOf } from './hub.js';
import { servicesCodec } from '../../src/api/watch/codecs.js';
import type { Random } from '../../src/base/random.js';
import { HeartbeatItem, type RejectionReason } from '../../src/gen/rollcall/v1/heartbeat.js';
import type { DeepPartial, HealthCheck } from '../../src/gen/rollcall/v1/check.js';
import { HorizonRecord } from '../../src/gen/rollcall/storage/v1/records.js';
import { type Instance, Liveness } from '../../src/gen/rollcall/v1/instance.js';
import { RegisterRequest, WatchServicesResponse } from '../../src/gen/rollcall/v1/registry_service.js';
import { WatchKind } from '../../src/gen/rollcall/v1/watch.js';
import type { SelfBeat } from '../../src/domain/health/liveness-clock.js';
import { ALONE, type Jury } from '../../src/domain/health/peers.js';
import type { Prober } from '../../src/domain/checks/prober.js';
import type { RollcallError } from '../../src/model/errors.js';
import { LIMITS } from '../../src/model/limits.js';
import { serverActor } from '../../src/model/actor.js';
import { deregistered, writeInstance } from '../../src/model/instance.js';
import { matcher } from '../../src/domain/registry/filter.js';
import type { Registered } from '../../src/domain/registry/registrations.js';
import { serviceSelection } from '../../src/domain/registry/watching.js';
import { type Replica, startReplica } from '../../src/domain/replica.js';
import type { CommitResult, Store, Write } from '../../src/store/store.js';
import { addressFor } from './addresses.js';
import { MemoryStore } from './memory-store.js';
import { type Flat, flat } from './progress.js';
import { PROTECTION, SimProcess, tallyingTelemetry } from '../sim/process.js';
import { World } from '../sim/world.js';

/** The fields of an instance that a test cares for. */
export interface Given {
  readonly namespace?: string;
  readonly weight?: number;
  readonly service?: string;
  readonly id?: string;
  readonly incarnation?: string;
  readonly replacesRevision?: bigint;
  readonly ttlS?: number;
  readonly version?: string;
  readonly metadata?: Map<string, string>;
  readonly address?: string;
  /** Checks, as HealthCheck.fromPartial takes them. */
  readonly checks?: DeepPartial<HealthCheck>[];
  readonly static?: boolean;
  readonly reported?: { readonly state: number; readonly note: string };
}

/** One replica on a virtual clock and a store in memory, with a hand on everything around it. */
export class Stage {
  readonly world = new World();
  readonly store: MemoryStore;
  readonly counts = new Map<string, number>();
  /** How far the wall clock is off. */
  wallOffMs = 0;
  /** True: what this process sends to itself does not come back. */
  selfBeatLate = false;
  /** Why no heartbeat may be acknowledged. */
  fencedBecause: string | undefined;
  /** Whom a judge must ask. */
  peers: Jury['others'] = [];
  protectionTimes = PROTECTION;
  /** False: another member probes every instance. Takes effect with `membersChanged`. */
  checksAll = true;
  /** Tells the replica that members came or left. */
  membersChanged: () => void = () => undefined;
  /** Probes the targets of checks. `undefined`: this server does not probe. */
  prober: Prober | undefined;
  process = new SimProcess(this.world);
  replica!: Replica;
  hub!: WatchHub;
  #watchHeld: Promise<void> = Promise.resolve();
  #nextId = 1;

  constructor() {
    this.store = new MemoryStore(new SimProcess(this.world).clock);
  }

  /** A stage whose replica has read its store. */
  static async ready(): Promise<Stage> {
    const stage = new Stage();
    await stage.start();
    return stage;
  }

  /** Starts a replica; a second one takes the place of the first, whose process has died. */
  async start(): Promise<void> {
    this.process.kill();
    this.process = new SimProcess(this.world);
    const own = this.process.clock;
    const clock = { ...own, wall: () => own.wall() + this.wallOffMs };
    const random: Random = { id: () => `id${this.#nextId++}`, fraction: () => 0.5 };
    const telemetry = tallyingTelemetry(this.counts);
    this.replica = startReplica({
      ...{ store: this.#storeView(), clock, random, telemetry, selfBeat: this.#selfBeat() },
      ...{ protectionTimes: this.protectionTimes, node: 'stage', cluster: undefined },
      ...(this.prober && { prober: this.prober }),
      members: {
        ...ALONE,
        jury: () => ({ guard: [], others: this.peers }),
        fenced: () => this.fencedBecause,
        checks: () => this.checksAll,
        onMembers: (listener) => {
          const before = this.membersChanged;
          this.membersChanged = () => (before(), listener());
        },
      },
    });
    this.hub = hubOf({
      catalog: this.replica.catalog,
      freshness: this.replica.freshness,
      clock,
      random,
      telemetry,
      partBytes: LIMITS.WATCH_PART_BYTES.value,
    });
    this.hub.start();
    await this.until(this.replica.ready);
  }

  /** Lets time pass. */
  async pass(ms: number): Promise<void> {
    await this.world.run(this.world.now + ms);
  }

  /** Lets everything happen that takes no time: the hub serves its streams in turns of the event loop. */
  async turns(): Promise<void> {
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Lets time pass until a promise is settled, for 20 s at most. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const settle = (): void => void (settled = true);
    promise.then(settle, settle);
    for (let ms = 0; ms < 20_000; ms++) {
      await this.pass(1);
      if (settled) return this.turns().then(() => promise);
    }
    throw new Error('not settled within 20 s');
  }

  /** Lets time pass until a condition holds, for `withinMs` at most; returns how long it took. */
  async untilTrue(condition: () => boolean, withinMs: number): Promise<number> {
    const from = this.world.now;
    while (!condition()) {
      assert.ok(this.world.now - from < withinMs, `not within ${withinMs} ms: ${condition.toString()}`);
      await this.pass(1);
    }
    return this.world.now - from;
  }

  /** Holds back what the store's watch delivers to the replica, until the function returned is called. */
  holdWatch(): () => void {
    let release = (): void => undefined;
    this.#watchHeld = new Promise((resolve) => (release = resolve));
    return () => release();
  }

  // The calls of clients.

  register({ ttlS = 5, incarnation, replacesRevision, static: isStatic, ...given }: Given = {}): Promise<Registered> {
    const liveness = isStatic ? Liveness.LIVENESS_STATIC : Liveness.LIVENESS_UNSPECIFIED;
    const request = RegisterRequest.fromPartial({
      instance: { service: 'pay', id: 'p1', port: 80, liveness, ...given, ttl: { seconds: BigInt(ttlS), nanos: 0 } },
      ...(incarnation !== undefined && { incarnation }),
      ...(replacesRevision !== undefined && { replacesRevision }),
    });
    return this.replica.registrations.register(validateRegister(request, addressFor(given.id ?? 'p1')).registration);
  }

  deregister({ service = 'pay', id = 'p1', incarnation }: Given = {}): Promise<bigint> {
    return this.replica.registrations.deregister({ namespace: 'default', service, id, incarnation });
  }

  /** Undefined: the beat counts. */
  async beat({ service = 'pay', id = 'p1', ...given }: Given = {}): Promise<RejectionReason | undefined> {
    const item = HeartbeatItem.fromPartial({ service, id, ...given });
    const { rejected } = await this.replica.heartbeats.receive(validateHeartbeats([item]).items);
    return rejected[0]?.reason;
  }

  /** Opens a watch of all services. */
  watch(resumeToken = '', reader?: Reader): Reader {
    const filter = matcher(undefined);
    const read = reader ?? new Reader();
    const request = {
      collection: this.replica.catalog.instances,
      selection: serviceSelection('default', undefined, filter),
      codec: servicesCodec(filter),
      resumeToken,
      reader: NO_READER,
    };
    this.hub.open(request, read.sink);
    return read;
  }

  /** What others write into the store, behind the back of the replica. */
  write(...writes: readonly Write[]): Promise<CommitResult> {
    return this.store.commit({ writeId: 'foreign', compares: [], writes });
  }

  /** The record of a removal, as another replica would write it. */
  removalOf(id: string, service = 'pay'): Uint8Array {
    const item = this.replica.catalog.instances.get('default', service, id)!;
    const stamp = { writeId: 'elsewhere', wallMs: this.world.now, node: 'elsewhere' };
    return writeInstance(deregistered(item, serverActor(stamp), '', stamp));
  }

  /** The record of a horizon, as another replica would write it. */
  horizonAt(revision: bigint): Uint8Array {
    return HorizonRecord.encode(HorizonRecord.fromPartial({ writeId: 'elsewhere', revision })).finish();
  }

  instance(id = 'p1', service = 'pay'): Instance | undefined {
    const item = this.replica.catalog.instances.get('default', service, id);
    return item && item.removedAtMs === undefined ? item.instance : undefined;
  }

  /** True: declared silent. */
  isSilent(id = 'p1'): boolean {
    return this.replica.catalog.instances.get('default', 'pay', id)?.record.silent === true;
  }

  count(name: string): number {
    return this.counts.get(name) ?? 0;
  }

  #selfBeat(): SelfBeat {
    const own = this.process.selfBeat();
    const late = (): boolean => this.selfBeatLate;
    return {
      send: () => own.send(),
      get inFlight() {
        return late() || own.inFlight;
      },
    };
  }

  #storeView(): Store {
    const view = this.process.storeView(this.store);
    const held = (): Promise<void> => this.#watchHeld;
    return {
      ...view,
      watch: async function* (after, signal) {
        for await (const batch of view.watch(after, signal)) {
          await held();
          yield batch;
        }
      },
    };
  }
}

/** Says nothing about who reads. */
export const NO_READER = { identity: undefined, principal: '', address: '' };

/** The client's end of a watch. What was written arrives at once; the network takes it when it is told to. */
export class Reader {
  readonly messages: Flat<WatchServicesResponse>[] = [];
  /** True: the network takes nothing more. */
  stuck = false;
  error: RollcallError | undefined;
  unsentBytes = 0;
  readonly sink: Sink;
  /** Ends the stream, as a client or the network does. What a stuck reader has not taken stays until the release. */
  close = (): void => undefined;
  /** The network drops what was not taken. */
  release = (): void => undefined;
  readonly #unsent: (() => void)[] = [];

  constructor() {
    const write = (message: Encoded, sent: () => void): number => {
      const bytes = whole(message);
      this.messages.push(flat(WatchServicesResponse.decode(bytes)));
      this.unsentBytes += bytes.length;
      const take = (): void => {
        this.unsentBytes -= bytes.length;
        sent();
      };
      if (this.stuck) this.#unsent.push(take);
      else setImmediate(take);
      return bytes.length;
    };
    const end = (): void => this.close();
    const onClosed = (listener: () => void): void =>
      void (this.close = () => {
        listener();
        if (!this.stuck) this.release();
      });
    const onReleased = (listener: () => void): void => void (this.release = listener);
    this.sink = sinkOf({ write, end, onClosed, onReleased }, (error) => {
      this.error = error as RollcallError;
      return error as never;
    });
  }

  /** The network takes everything from here on. */
  async go(): Promise<void> {
    this.stuck = false;
    for (const take of this.#unsent.splice(0)) take();
    await new Promise((resolve) => setImmediate(resolve));
  }

  get last(): Flat<WatchServicesResponse> {
    return this.messages.at(-1)!;
  }

  get token(): string {
    return this.messages.findLast(({ resumeToken }) => resumeToken !== '')!.resumeToken;
  }

  /** The view of what arrived; see `viewOf`. */
  get view(): Map<string, string> {
    return viewOf(this.messages);
  }
}

/** The view by the one rule of the contract: staged until a revision, a snapshot begins from empty. Id -> version. */
export function viewOf(messages: readonly Flat<WatchServicesResponse>[]): Map<string, string> {
  let view = new Map<string, string>();
  let staged: Flat<WatchServicesResponse>[] = [];
  for (const message of messages) {
    staged.push(message);
    if (message.revision === 0n) continue;
    if (staged.some(({ kind }) => kind === WatchKind.WATCH_KIND_SNAPSHOT)) view = new Map();
    for (const { upserted, removed } of staged) {
      for (const { id } of removed) view.delete(id);
      for (const { id, version } of upserted) view.set(id, version);
    }
    staged = [];
  }
  return view;
}
