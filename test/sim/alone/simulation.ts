import { validateHeartbeats } from '../../../src/api/registry/heartbeats.js';
import { hubOf } from '../../support/hub.js';
import type { Random } from '../../../src/base/random.js';
import { HeartbeatItem } from '../../../src/gen/rollcall/v1/heartbeat.js';
import { RollcallError } from '../../../src/model/errors.js';
import { type Replica, startReplica } from '../../../src/domain/replica.js';
import type { Dice } from '../../support/dice.js';
import { MemoryStore, type Outage } from '../../support/memory-store.js';
import { changesOf, type Death } from '../checker.js';
import { SHORT_PROTECTION, SimProcess, tallyingTelemetry } from '../process.js';
import { encode } from '../records.js';
import { registrationOf } from '../requests.js';
import { Scene, type Tally } from '../scene.js';
import { PART_BYTES, type WatchedServer, Watchers } from '../watchers.js';
import type { World } from '../world.js';
import { AloneChecker } from './checker.js';

/** How long a run lasts, in simulated time: room for a start grace, a silence, and five more ttl until the removal. */
const RUN_MS = 150_000;
/** No new fault after this, so that the end shows whether everything found back. */
const CALM_FROM_MS = 90_000;
const SERVICES = ['pay', 'cart'];
const TTLS_MS = [2_000, 3_000, 5_000];
/** The client's own deadline for a call. */
const CALL_MS = 3_000;
const REJECTED = { NOT_REGISTERED: 1, SUPERSEDED: 2, RETRY: 3, DEREGISTERED: 4 };

/** One replica on one store, with clients, watchers and faults, all from one seed. Throws Broken. */
export class Simulation {
  readonly #scene: Scene<AloneChecker>;
  readonly #world: World;
  readonly #dice: Dice;
  readonly #checker: AloneChecker;
  readonly #store: MemoryStore;
  readonly #deaths: Death[] = [];
  #server: WatchedServer | undefined;
  /** True: something is wrong, and the checker does not know it yet. */
  #inTrouble = false;

  constructor(seed: number) {
    this.#scene = new Scene(seed, (now) => new AloneChecker(now));
    const { world, dice, checker } = this.#scene;
    this.#world = world;
    this.#dice = dice;
    this.#checker = checker;
    this.#store = new MemoryStore(new SimProcess(world).clock);
    this.#store.latencyMs = () => dice.between(0.2, dice.chance(0.02) ? 400 : 4);
    this.#store.onCommit = (batch) => this.#scene.guard(() => checker.committed(batch.revision, changesOf(batch)));
  }

  async run(): Promise<Tally> {
    const scene = this.#scene;
    this.#start();
    for (let i = 0; i < 6; i++) scene.spawn(this.#life(`w/i/default/${this.#dice.pick(SERVICES)}/n${i % 4}`));
    const watchers = new Watchers(scene, () => (this.#server ? [this.#server] : []), SERVICES);
    for (let i = 0; i < 2; i++) scene.spawn(watchers.watch());
    scene.spawn(this.#trouble());
    this.#checker.tallied = (name) => scene.count(name);
    this.#checker.seenBy = () => this.#server?.replica.catalog.revision ?? 0n;
    for (let time = 1_000; time <= RUN_MS && !scene.failure; time += 1_000) {
      await this.#world.run(time);
      if (!this.#inTrouble) scene.guard(() => this.#checker.sample(SERVICES));
    }
    if (scene.failure) throw scene.failure;
    scene.count('detections', this.#checker.checkDetection(this.#deaths));
    return scene.tally;
  }

  // The server.

  #start(): void {
    const process = new SimProcess(this.#world);
    const { clock } = process;
    const dice = this.#dice;
    const random: Random = { id: () => `id${this.#scene.number()}`, fraction: () => dice.fraction() };
    const telemetry = tallyingTelemetry(this.#scene.tally);
    const replica = startReplica({
      store: process.storeView(this.#store),
      clock,
      random,
      telemetry,
      selfBeat: process.selfBeat(),
      protectionTimes: SHORT_PROTECTION,
      node: 'alone',
      cluster: undefined,
    });
    replica.ready.catch(() => undefined);
    void replica.catalog.whenReady().then(() => process === this.#server?.process && this.#checker.ready());
    const { catalog, freshness } = replica;
    const hub = hubOf({
      catalog,
      freshness,
      clock,
      random,
      telemetry,
      partBytes: PART_BYTES,
    });
    hub.start();
    this.#server = { name: `run${this.#scene.number()}`, process, replica, hub };
    this.#checker.started();
    this.#checker.grace();
  }

  async #trouble(): Promise<void> {
    const dice = this.#dice;
    while (this.#world.now < CALM_FROM_MS) {
      await this.#world.sleep(dice.between(500, 15_000));
      const kind = dice.pick(['crash', 'stall', 'outage', 'compaction'] as const);
      this.#scene.count(kind);
      const from = this.#world.now;
      this.#inTrouble = true;
      if (kind === 'crash') {
        this.#server?.process.kill();
        this.#server = undefined;
        await this.#world.sleep(dice.between(10, 8_000));
        this.#start();
      } else if (kind === 'stall') {
        const { process } = this.#server!;
        process.pause();
        await this.#world.sleep(dice.pick([300, 1_500, 4_000, 12_000]) * dice.between(0.5, 1.5));
        process.resume();
      } else if (kind === 'outage') {
        const outage = dice.pick<Outage>(['refuse', 'hang', 'lost-reply']);
        this.#scene.count(`outage ${outage}`);
        this.#store.setOutage(outage);
        await this.#world.sleep(dice.between(50, 9_000));
        this.#store.setOutage(undefined);
      } else {
        // The watch falls behind what is kept: the catalog must list anew.
        const { process } = this.#server!;
        process.pause();
        await this.#world.sleep(dice.between(100, 3_000));
        await this.#removeElsewhere();
        this.#store.compactAll();
        process.resume();
      }
      this.#checker.fault(from, this.#world.now + 2_000);
      this.#inTrouble = false;
      if (kind === 'compaction') this.#checker.grace();
    }
  }

  /**
   * What another replica would write meanwhile: it deregisters up to two instances. A write of no meaning goes before
   * them, because the first of several revisions is delivered all the same.
   */
  async #removeElsewhere(): Promise<void> {
    const put = (key: string, value: Uint8Array, modRevision?: bigint): ReturnType<MemoryStore['commit']> =>
      this.#store.commit({
        writeId: '',
        compares: modRevision === undefined ? [] : [{ key, modRevision }],
        writes: [{ kind: 'put', key, value }],
      });
    await put('barrier', new Uint8Array());
    let left = 2;
    for (const [key, states] of this.#checker.history) {
      const standing = states[states.length - 1]!;
      if (left === 0 || standing.removal !== undefined || this.#dice.chance(0.5)) continue;
      left--;
      const { service, id, incarnation, revision } = standing;
      const call = this.#checker.began('deregister', key, '');
      const tombstone = encode('rollcall.storage.v1.InstanceRecord', {
        writeId: `elsewhere${this.#scene.number()}`,
        instance: { namespace: 'default', service, id, incarnation },
        tombstone: { reason: 1, time: { seconds: 1n, nanos: 0 } },
      });
      await put(key, tombstone, revision).catch(() => undefined);
      call.to = this.#world.now;
      this.#scene.count('deregister elsewhere');
    }
  }

  /** A call over the network. Rejects when the server is away or does not answer in time. */
  #call<T>(serve: (replica: Replica, received: number) => T | Promise<T>): Promise<{ answer: T; received: number }> {
    const server = this.#server;
    return new Promise((resolve, reject) => {
      this.#world.in(CALL_MS, () => reject(new Error('deadline')));
      if (!server || this.#dice.chance(0.02)) return; // lost on the way
      this.#world.in(this.#latency(), () =>
        server.process.deliver(() => {
          const received = this.#world.now;
          Promise.resolve()
            .then(() => serve(server.replica, received))
            .then(
              (answer) => server.process.dead || this.#world.in(this.#latency(), () => resolve({ answer, received })),
              (error: Error) => {
                if (!(error instanceof RollcallError)) this.#scene.failed(error);
                this.#world.in(this.#latency(), () => reject(error));
              },
            );
        }),
      );
    });
  }

  #latency(): number {
    return this.#dice.between(0.1, this.#dice.chance(0.05) ? 900 : 5);
  }

  // The clients.

  /** One id over the whole run: processes come, beat, and die or leave, sometimes beside one another. */
  async #life(key: string): Promise<void> {
    await this.#world.sleep(this.#dice.between(0, 5_000));
    while (this.#world.now < CALM_FROM_MS) {
      const process = this.#process(key, `run${this.#scene.number()}`);
      if (this.#dice.chance(0.25)) {
        // The next process comes while this one still runs.
        this.#scene.count('takeover');
        this.#scene.spawn(process);
        await this.#world.sleep(this.#dice.between(500, 10_000));
      } else {
        await process;
        await this.#world.sleep(
          this.#dice.chance(0.5) ? this.#dice.between(0, 3_000) : this.#dice.between(5_000, 40_000),
        );
      }
    }
  }

  async #process(key: string, incarnation: string): Promise<void> {
    const dice = this.#dice;
    let ttlMs = dice.pick(TTLS_MS);
    const until = this.#world.now + dice.between(1_000, 40_000);
    let lastReceived = -Infinity;
    const heard = (received: number): void => void (lastReceived = Math.max(lastReceived, received));
    if (!(await this.#register(key, incarnation, ttlMs, heard))) return;
    while (this.#world.now < until) {
      if (dice.chance(0.05)) {
        ttlMs = dice.pick(TTLS_MS);
        this.#scene.count('ttl changed');
        if (!(await this.#register(key, incarnation, ttlMs, heard))) return;
      }
      const verdict = await this.#beat(key, incarnation, heard);
      if (verdict === REJECTED.SUPERSEDED || verdict === REJECTED.DEREGISTERED) return;
      if (verdict === REJECTED.NOT_REGISTERED && !(await this.#register(key, incarnation, ttlMs, heard))) return;
      await this.#world.sleep(verdict === REJECTED.RETRY ? ttlMs / 12 : (ttlMs / 3) * dice.between(0.8, 1.05));
      // A hiccup of the process, short or longer than its ttl.
      if (dice.chance(0.04)) await this.#world.sleep(ttlMs * dice.between(0.5, 2.5));
    }
    if (dice.chance(0.4)) await this.#deregister(key, incarnation);
    else this.#deaths.push({ key, incarnation, lastReceived });
  }

  /** False: give up. */
  async #register(
    key: string,
    incarnation: string,
    ttlMs: number,
    heard: (received: number) => void,
  ): Promise<boolean> {
    for (let tries = 0; tries < 8; tries++) {
      const call = this.#checker.began('register', key, incarnation, ttlMs);
      try {
        await this.#call(async (replica, received) => {
          heard(received);
          const { revision } = await replica.registrations.register(registrationOf(key, incarnation, ttlMs));
          this.#scene.guard(() => this.#checker.registered(call, revision, received));
        });
        this.#scene.count('register');
        return true;
      } catch (error) {
        if (error instanceof RollcallError && error.reason === 'DEREGISTERED') {
          this.#scene.count('register DEREGISTERED');
          return false;
        }
        this.#scene.count('register failed');
        await this.#world.sleep(this.#dice.between(100, 1_500));
        if (this.#checker.isSuperseded(key, incarnation)) return false;
      }
    }
    return false;
  }

  async #beat(key: string, incarnation: string, heard: (received: number) => void): Promise<number> {
    const [, , , service, id] = key.split('/');
    const reported = this.#dice.chance(0.03) ? { state: this.#dice.pick([1, 3, 4, 5]), note: '' } : undefined;
    const beat = (): Promise<number> =>
      this.#call(async (replica, received) => {
        heard(received);
        const { items } = validateHeartbeats([
          HeartbeatItem.fromPartial({ service: service!, id: id!, incarnation, ...(reported && { reported }) }),
        ]);
        const { rejected } = await replica.heartbeats.receive(items);
        const reason: number = rejected[0]?.reason ?? 0;
        this.#scene.guard(() => {
          if (reason === 0) this.#checker.beatAcknowledged(key, incarnation, received);
          else if (reason !== REJECTED.RETRY) {
            const said = Object.keys(REJECTED)[reason - 1] as Exclude<keyof typeof REJECTED, 'RETRY'>;
            this.#checker.rejected(said, key, incarnation, received);
          }
        });
        return reason;
      }).then(
        ({ answer }) => {
          this.#scene.count(answer === 0 ? 'beat' : `beat ${Object.keys(REJECTED)[answer - 1]}`);
          return answer;
        },
        () => {
          this.#scene.count('beat failed');
          return REJECTED.RETRY;
        },
      );
    const first = beat();
    if (!this.#dice.chance(0.1)) return first;
    this.#scene.count('overlapping beat');
    await this.#world.sleep(this.#dice.between(0, 50));
    const second = await beat();
    return Math.min(await first, second);
  }

  async #deregister(key: string, incarnation: string): Promise<void> {
    const [, , namespace, service, id] = key.split('/');
    for (let tries = 0; tries < 3; tries++) {
      const call = this.#checker.began('deregister', key, incarnation);
      try {
        await this.#call(async (replica) => {
          const revision = await replica.registrations.deregister({
            namespace: namespace!,
            service: service!,
            id: id!,
            incarnation,
          });
          this.#scene.guard(() => this.#checker.deregistered(call, revision));
        });
        this.#scene.count('deregister');
        return;
      } catch (error) {
        if (error instanceof RollcallError && ['INSTANCE_NOT_FOUND', 'INCARNATION_MISMATCH'].includes(error.reason))
          return;
        await this.#world.sleep(this.#dice.between(100, 1_000));
      }
    }
  }
}
