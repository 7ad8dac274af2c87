import { validateHeartbeats } from '../../../src/api/registry/heartbeats.js';
import type { Dice } from '../../support/dice.js';
import { HeartbeatItem } from '../../../src/gen/rollcall/v1/heartbeat.js';
import { UNSIGNED } from '../../../src/model/actor.js';
import { RollcallError } from '../../../src/model/errors.js';
import type { Death } from '../checker.js';
import { registrationOf } from '../requests.js';
import type { Network } from './network.js';
import type { ClusterScene } from './checker.js';
import type { Checks } from './checks.js';
import type { Server, Servers } from './servers.js';

const TTLS_MS = [2_000, 3_000, 5_000];
/** The client's own deadline for a call. */
const CALL_MS = 3_000;
const REJECTED = { NOT_REGISTERED: 1, SUPERSEDED: 2, RETRY: 3, DEREGISTERED: 4 };
const OUTCOMES = ['beat', 'beat NOT_REGISTERED', 'beat SUPERSEDED', 'beat RETRY', 'beat DEREGISTERED'];

/** How a client finds a replica. */
type Balancing = 'sticky' | 'round-robin' | 'flapping';

/** Chooses the replica for every call. */
class Balancer {
  /** Where all beats go, whatever comes of it. */
  static readonly lead = new WeakMap<ClusterScene, string>();

  readonly #kind: Balancing;
  #at: number;
  #until = 0;

  constructor(
    private readonly scene: ClusterScene,
    private readonly servers: Servers,
  ) {
    this.#kind = scene.dice.pick(['sticky', 'sticky', 'round-robin', 'flapping']);
    this.#at = Math.floor(scene.dice.between(0, 4));
    scene.count(`balancer ${this.#kind}`);
  }

  /** For a beat. */
  pickForBeat(): Server | undefined {
    const lead = Balancer.lead.get(this.scene);
    return lead === undefined ? this.pick() : this.servers.byNode.get(lead);
  }

  pick(): Server | undefined {
    const { world, dice } = this.scene;
    if (this.#kind === 'round-robin') this.#at++;
    if (this.#kind === 'flapping' && world.now >= this.#until) {
      this.#at += Math.floor(dice.between(0, 4));
      this.#until = world.now + dice.between(500, 8_000);
    }
    const all = [...this.servers.byNode.values()];
    return all[this.#at % all.length];
  }

  /** The replica did not serve: another one is tried. */
  failed(): void {
    this.#at++;
  }
}

/** What a client process does with one id. */
interface Holding {
  readonly key: string;
  ttlMs: number;
}

/** A process that runs, and the way to end it without a word. */
interface Running {
  readonly keys: readonly string[];
  kill(): void;
}

const serviceOf = (key: string): string => key.split('/')[3]!;

/** Processes that register, beat, fall silent, come back, leave and die, through balancers of all kinds. */
export class Clients {
  readonly deaths: Death[] = [];
  /** The ids of each life. */
  readonly #lives: (readonly string[])[] = [];
  /** How to make the process that holds a key beat now, at a server. */
  readonly #living = new Map<string, Set<(server: Server) => void>>();
  /** Until when nothing of the clients of a service arrives anywhere. */
  readonly #cutUntil = new Map<string, number>();
  /** The processes that run. */
  readonly #running = new Set<Running>();

  /** `checks`: what instances say about their checks. `undefined`: they have none. */
  constructor(
    private readonly scene: ClusterScene,
    private readonly network: Network,
    private readonly servers: Servers,
    private readonly checks: Checks | undefined,
  ) {}

  /** From now on all beats go to one node; undefined: where they will. */
  leadTo(node: string | undefined): void {
    if (node === undefined) Balancer.lead.delete(this.scene);
    else Balancer.lead.set(this.scene, node);
  }

  /** Another process takes over every id, beside the one that holds it. */
  takeOverAll(): void {
    for (const keys of this.#lives) this.scene.spawn(this.#process(keys, `run${this.scene.number()}`));
  }

  /** Another process takes over the id of an instance, and all others that its process holds. */
  takeOver(key: string): void {
    const keys = this.#lives.find((one) => one.includes(key));
    if (keys) this.scene.spawn(this.#process(keys, `run${this.scene.number()}`));
  }

  /** An operator ends the protection of a service, if it has one. */
  async release(service: string): Promise<void> {
    const { running } = this.servers;
    if (running.length === 0) return;
    try {
      await this.#call(this.scene.dice.pick(running), ({ replica }) =>
        replica.protection.release('default', service, { ...UNSIGNED, author: 'operator' }),
      );
      this.scene.count('released by hand');
    } catch {
      this.scene.count('not released by hand');
    }
  }

  /** An operator sets or ends an override of some instance. */
  async override(dice: Dice): Promise<void> {
    const { scene } = this;
    const key = dice.pick(this.#lives.flat());
    if (this.servers.running.length === 0) return;
    const [, , namespace, service, id] = key.split('/') as [string, string, string, string, string];
    const names = { namespace, service, id };
    const state = dice.pick([0, 1, 2]);
    const expireAfterMs = dice.chance(0.7) ? dice.between(1_000, 40_000) : undefined;
    const holder = scene.checker.standing(key)?.incarnation ?? '';
    const incarnation = dice.chance(0.4) ? holder : '';
    scene.checker.operatorAsks(key);
    const work = ({ replica: { overrides } }: Server): Promise<unknown> =>
      dice.chance(0.3)
        ? overrides.clear(names, undefined, UNSIGNED)
        : overrides.set(
            {
              ...names,
              decision: { state, weight: state === 0 ? 7 : undefined, incarnation, expireAfterMs },
              expectedRevision: undefined,
              force: dice.chance(0.7),
            },
            UNSIGNED,
          );
    await this.asOperator(dice, work, 'override refused');
  }

  /** An operator asks some server for something. `refused`: how it is counted that nothing came of it. */
  async asOperator(dice: Dice, work: (server: Server) => Promise<unknown>, refused: string): Promise<void> {
    const { running } = this.servers;
    if (running.length === 0) return;
    try {
      await this.#call(dice.pick(running), work);
    } catch {
      this.scene.count(refused);
    }
  }

  /** Every process that holds a key sends a beat at once. */
  beatNow(key: string, server: Server): boolean {
    const living = this.#living.get(key);
    if (!living?.size) return false;
    for (const beat of living) beat(server);
    return true;
  }

  /** Nothing of the clients of some services arrives for a while. */
  cut(services: readonly string[], ms: number): void {
    for (const service of services) this.#cutUntil.set(service, this.scene.world.now + ms);
  }

  /** Processes of a service die at once; if `replaced`, others under new ids come soon, at old addresses or new ones. */
  kill(service: string, share: number, replaced: boolean): void {
    const { scene } = this;
    const { dice, world } = scene;
    for (const process of [...this.#running]) {
      if (!process.keys.every((key) => serviceOf(key) === service) || !dice.chance(share)) continue;
      process.kill();
      if (!replaced) continue;
      const [key] = process.keys;
      const place = dice.chance(0.5) ? key! : undefined;
      const wait = dice.between(200, 12_000);
      const next = `${key!}-${scene.number()}`;
      scene.count(place ? 'replaced at its address' : 'replaced elsewhere');
      scene.spawn(world.sleep(wait).then(() => this.#process([next], `run${scene.number()}`, place)));
    }
  }

  /** A process starts and dies again and again, each time under a new id. */
  async loop(service: string, until: number): Promise<void> {
    const { scene } = this;
    const { world, dice } = scene;
    const place = dice.chance(0.5) ? `w/i/default/${service}/loop` : undefined;
    const balancer = new Balancer(scene, this.servers);
    while (world.now < until) {
      const key = `w/i/default/${service}/loop${scene.number()}`;
      const incarnation = `run${scene.number()}`;
      let lastReceived = -Infinity;
      const heard = (): void => void (lastReceived = world.now);
      if (await this.#register(balancer, key, incarnation, TTLS_MS[0]!, undefined, heard, false, place))
        this.deaths.push({ key, incarnation, lastReceived });
      await world.sleep(dice.between(1_000, 5_000));
    }
  }

  /** Some ids over the whole run: processes come, hold them all, and die or leave, sometimes beside one another. */
  async life(keys: readonly string[], until: number): Promise<void> {
    const { world, dice } = this.scene;
    this.#lives.push(keys);
    await world.sleep(dice.between(0, 8_000));
    while (world.now < until) {
      const process = this.#process(keys, `run${this.scene.number()}`);
      if (dice.chance(0.15)) {
        // The next process comes while this one still runs.
        this.scene.count('takeover');
        this.scene.spawn(process);
        await world.sleep(dice.between(500, 10_000));
      } else {
        await process;
        await world.sleep(dice.chance(0.5) ? dice.between(0, 3_000) : dice.between(5_000, 50_000));
      }
    }
  }

  async #process(keys: readonly string[], incarnation: string, place?: string): Promise<void> {
    const { world, dice } = this.scene;
    const balancer = new Balancer(this.scene, this.servers);
    const ttlMs = dice.pick(TTLS_MS);
    const careful = dice.chance(0.5);
    const until = world.now + dice.between(5_000, 90_000);
    const lastReceived = new Map<string, number>();
    const heard = (key: string): void => void lastReceived.set(key, world.now);
    const holdings = new Map<string, Holding>();
    let killed = false;
    const running: Running = { keys, kill: () => (killed = true) };
    this.#running.add(running);
    const living = (server: Server): void =>
      void this.#send(server, incarnation, [...holdings.keys()], heard).catch(() => undefined);
    for (const key of keys) {
      const replaces = careful ? 0n : undefined;
      if (!(await this.#register(balancer, key, incarnation, ttlMs, replaces, heard, false, place))) continue;
      holdings.set(key, { key, ttlMs });
      const set = this.#living.get(key) ?? new Set();
      this.#living.set(key, set.add(living));
    }
    const drop = (key: string): void => {
      holdings.delete(key);
      this.#living.get(key)?.delete(living);
    };
    let open = [...holdings.keys()];
    while (world.now < until && holdings.size > 0 && !killed) {
      await this.#changeTtl(balancer, [...holdings.values()], incarnation, heard, place);
      if (dice.chance(0.003)) await this.#removeByHand(balancer, dice.pick([...holdings.keys()]), incarnation);
      const outcomes = await this.#beat(balancer, incarnation, open, heard);
      const again: string[] = [];
      for (const [key, outcome] of outcomes) {
        const holding = holdings.get(key)!;
        if (outcome === REJECTED.RETRY) again.push(key);
        else if (outcome === REJECTED.SUPERSEDED || outcome === REJECTED.DEREGISTERED) drop(key);
        else if (outcome === REJECTED.NOT_REGISTERED) {
          const registered = await this.#register(
            balancer,
            key,
            incarnation,
            holding.ttlMs,
            careful ? 0n : undefined,
            heard,
            true,
            place,
          );
          if (!registered) drop(key);
        }
      }
      const intervalMs = Math.min(...[...holdings.values()].map((one) => one.ttlMs)) / 3;
      if (again.length > 0) await world.sleep(intervalMs / 4);
      else await world.sleep(intervalMs * dice.between(0.8, 1.05));
      open = again.length > 0 ? again : [...holdings.keys()];
      // A hiccup of the process, mostly about as long as its ttl: the beat that ends it meets the verdict.
      if (dice.chance(0.12))
        await world.sleep(intervalMs * 3 * (dice.chance(0.7) ? dice.between(0.6, 1.3) : dice.between(1, 3)));
    }
    this.#running.delete(running);
    const leaves = !killed && dice.chance(0.3);
    for (const key of holdings.keys()) {
      this.#living.get(key)?.delete(living);
      if (leaves) await this.#deregister(balancer, key, incarnation);
      else this.deaths.push({ key, incarnation, lastReceived: lastReceived.get(key)! });
    }
  }

  async #changeTtl(
    balancer: Balancer,
    holdings: readonly Holding[],
    incarnation: string,
    heard: (key: string) => void,
    place?: string,
  ): Promise<void> {
    const { dice } = this.scene;
    for (const holding of holdings) {
      if (!dice.chance(0.02)) continue;
      holding.ttlMs = dice.pick(TTLS_MS);
      this.scene.count('ttl changed');
      await this.#register(balancer, holding.key, incarnation, holding.ttlMs, undefined, heard, false, place);
    }
  }

  /** A call over the network. Rejects when the replica is away or does not answer in time. */
  #call<T>(server: Server | undefined, serve: (server: Server) => T | Promise<T>): Promise<T> {
    const { scene, network } = this;
    return new Promise((resolve, reject) => {
      const cancel = scene.world.in(CALL_MS, () => reject(new Error('deadline')));
      if (!server) return;
      const back = (read: () => void): void =>
        network.send(server.node, 'clients', () => {
          cancel();
          read();
        });
      const refuse = (): void => reject(new Error('refused'));
      const arrive = (): void => {
        const running = this.servers.byNode.get(server.node)!;
        if (running.process.dead) return void (scene.dice.chance(0.7) && back(refuse));
        running.process.deliver(() => {
          Promise.resolve()
            .then(() => serve(running))
            .then(
              (answer) => running.process.send(() => back(() => resolve(answer))),
              (error: Error) => {
                if (!(error instanceof RollcallError)) scene.failed(error);
                else scene.count(`refused ${error.reason}`);
                running.process.send(() => back(() => reject(error)));
              },
            );
        });
      };
      network.send('clients', server.node, arrive, { refuse });
    });
  }

  /** False: give up. */
  async #register(
    balancer: Balancer,
    key: string,
    incarnation: string,
    ttlMs: number,
    replaces: bigint | undefined,
    heard: (key: string) => void,
    tombstonesOnly = false,
    place = key,
  ): Promise<boolean> {
    const { scene } = this;
    for (let tries = 0; tries < 10; tries++) {
      const call = scene.checker.began('register', key, incarnation, ttlMs, replaces);
      // A call that is late carries what was sent, whatever has been learned since.
      const registration = registrationOf(key, incarnation, ttlMs, replaces, place, this.checks?.partsOf(key));
      try {
        this.#assertNotCut([key]);
        await this.#call(balancer.pick(), async ({ name, process, replica }) => {
          heard(key);
          const received = scene.world.now;
          const { revision } = await replica.registrations.register(registration);
          if (process.dead) return;
          scene.note(`${name} acknowledges Register of ${key} ${incarnation}, received at ${received.toFixed(2)}`);
          scene.guard(() => scene.checker.registered(name, call, revision, received));
        });
        scene.count('register');
        return true;
      } catch (error) {
        if (error instanceof RollcallError && error.reason === 'REVISION_MISMATCH') {
          scene.count('register REVISION_MISMATCH');
          const { revision, state } = error.metadata;
          if (tombstonesOnly && state !== 'REMOVED') return false;
          replaces = BigInt(revision!);
          continue;
        }
        if (error instanceof RollcallError && error.reason === 'DEREGISTERED') {
          scene.count('register DEREGISTERED');
          return false;
        }
        scene.count('register failed');
        balancer.failed();
        await scene.world.sleep(scene.dice.between(50, 800));
        if (this.scene.checker.isSuperseded(key, incarnation)) return false;
      }
    }
    return false;
  }

  /** Beats, at another replica where one fails; what came of each id. */
  async #beat(
    balancer: Balancer,
    incarnation: string,
    keys: readonly string[],
    heard: (key: string) => void,
  ): Promise<ReadonlyMap<string, number>> {
    const { scene } = this;
    const { world, dice } = scene;
    const send = async (): Promise<ReadonlyMap<string, number>> => {
      for (let tries = 0; tries < 3; tries++) {
        const server = balancer.pickForBeat();
        if (!server) break;
        try {
          return await this.#send(server, incarnation, keys, heard);
        } catch {
          scene.count('beat failed');
          balancer.failed();
          await world.sleep(dice.between(20, 300));
        }
      }
      return new Map(keys.map((key) => [key, REJECTED.RETRY]));
    };
    const first = send();
    if (!dice.chance(0.1)) return first;
    scene.count('overlapping beat');
    await world.sleep(dice.between(0, 50));
    const second = await send();
    await first;
    return second;
  }

  async #send(
    server: Server,
    incarnation: string,
    keys: readonly string[],
    heard: (key: string) => void,
  ): Promise<ReadonlyMap<string, number>> {
    const { scene } = this;
    const { dice } = scene;
    this.#assertNotCut(keys);
    if (keys.length > 1) scene.count('beat of many');
    const reported = dice.chance(0.02) ? { state: dice.pick([1, 3, 4, 5]), note: '' } : undefined;
    return this.#call(server, async ({ name, process, replica }) => {
      for (const key of keys) heard(key);
      const received = scene.world.now;
      const items = keys.map((key) => {
        const [, , , service, id] = key.split('/');
        return HeartbeatItem.fromPartial({ service: service!, id: id!, incarnation, ...(reported && { reported }) });
      });
      const report = replica.heartbeats.receive(validateHeartbeats(items).items);
      const { rejected } = report instanceof Promise ? await report : report;
      const outcomes = new Map(keys.map((key) => [key, 0]));
      for (const { index, reason } of rejected) outcomes.set(keys[index]!, reason);
      if (process.dead) return outcomes;
      for (const [key, outcome] of outcomes) this.#answered(name, key, incarnation, received, outcome);
      return outcomes;
    });
  }

  #answered(name: string, key: string, incarnation: string, received: number, outcome: number): void {
    const { scene } = this;
    scene.count(OUTCOMES[outcome]!);
    const what = outcome === 0 ? 'acknowledges' : `says ${OUTCOMES[outcome]!.slice(5)} to`;
    scene.note(`${name} ${what} a beat of ${key} ${incarnation}, received at ${received.toFixed(2)}`);
    scene.guard(() => {
      if (outcome === 0) scene.checker.beatAcknowledged(name, key, incarnation, received);
      else if (outcome === REJECTED.SUPERSEDED) scene.checker.rejected('SUPERSEDED', key, incarnation, received);
      else if (outcome === REJECTED.DEREGISTERED) scene.checker.rejected('DEREGISTERED', key, incarnation, received);
      else if (outcome === REJECTED.NOT_REGISTERED)
        scene.checker.rejected('NOT_REGISTERED', key, incarnation, received);
    });
  }

  /** An operator deregisters an instance whose process lives; mostly it learns so from a beat, sometimes from a Register. */
  async #removeByHand(balancer: Balancer, key: string, incarnation: string): Promise<void> {
    this.scene.count('deregister by hand');
    await this.#deregister(balancer, key, incarnation, false);
    if (this.scene.dice.chance(0.3))
      await this.#register(balancer, key, incarnation, TTLS_MS[0]!, undefined, () => undefined);
  }

  #assertNotCut(keys: readonly string[]): void {
    const isCut = keys.some((key) => (this.#cutUntil.get(serviceOf(key)) ?? 0) > this.scene.world.now);
    if (isCut) throw new Error('cut');
  }

  async #deregister(balancer: Balancer, key: string, incarnation: string, named = true): Promise<void> {
    const { scene } = this;
    const [, , namespace, service, id] = key.split('/');
    for (let tries = 0; tries < 4; tries++) {
      const call = scene.checker.began('deregister', key, incarnation);
      try {
        await this.#call(balancer.pick(), async ({ name, process, replica }) => {
          const run = named ? incarnation : undefined;
          const ref = { namespace: namespace!, service: service!, id: id!, incarnation: run };
          const revision = await replica.registrations.deregister(ref);
          if (process.dead) return;
          scene.note(`${name} acknowledges Deregister of ${key} ${incarnation}`);
          scene.guard(() => scene.checker.deregistered(call, revision));
        });
        scene.count('deregister');
        return;
      } catch (error) {
        const reasons = ['INSTANCE_NOT_FOUND', 'INCARNATION_MISMATCH'];
        if (error instanceof RollcallError && reasons.includes(error.reason)) return;
        balancer.failed();
        await scene.world.sleep(scene.dice.between(100, 1_000));
      }
    }
  }
}
