import { EpochRecord } from '../../../src/gen/rollcall/storage/v1/records.js';
import { endedWith, EPOCH_KEY } from '../../../src/model/store-facts.js';
import type { Outage } from '../../support/memory-store.js';
import { type Network, NOTICED_MS } from './network.js';
import type { ClusterScene } from './checker.js';
import type { Server, Servers } from './servers.js';

/** No more replicas than this run at once. */
const RUNNING_MAX = 5;

/** A server that runs and can reach the store sees within this that it was restored. */
const SPARED_MS = 20_000;
/** Nothing is on time for so long after a restore. */
const RESTORE_FELT_MS = 15_000;

type Fault = (typeof FAULTS)[number];
export const FAULTS = [
  'crash',
  'leave',
  'pause',
  'suspend',
  'cut from store',
  'cut to store',
  'cut both ways',
  'isolated',
  'cut between members',
  'cut from clients',
  'outage',
  'compaction',
  'lag',
  'hang',
  'slow network',
  'eviction',
  'join',
  'restore',
] as const;
/** These begin a grace, during which nobody judges. */
const DISTURBING: readonly Fault[] = [
  'crash',
  'isolated',
  'compaction',
  'hang',
  'eviction',
  'suspend',
  'cut both ways',
  'restore',
];

/** Breaks things, at random moments or at the wish of the adversary, and mends them. */
export class Trouble {
  /** What mends what is broken now. */
  readonly #broken = new Set<() => void>();
  #nodes = 0;
  #sparedUntil = -Infinity;

  constructor(
    private readonly scene: ClusterScene,
    private readonly network: Network,
    private readonly servers: Servers,
  ) {}

  /** A replica on a node that nobody has run on. */
  startNew(): Server | undefined {
    if (this.servers.running.length >= RUNNING_MAX) return undefined;
    return this.servers.start(`n${++this.#nodes}`);
  }

  /** One fault after the other, until a moment. */
  async random(until: number, pauseMaxMs: number, disturbs: number): Promise<void> {
    const { world, dice } = this.scene;
    for (;;) {
      await world.sleep(dice.between(300, pauseMaxMs));
      if (world.now >= until) return;
      const fault = dice.pick(FAULTS);
      if (DISTURBING.includes(fault) && !dice.chance(disturbs)) continue;
      const running = this.servers.running.filter(({ leaving }) => !leaving);
      if (running.length === 0) continue;
      this.#begin(fault, dice.pick(running));
    }
  }

  /** Mends everything at once. */
  mendAll(): void {
    for (const mend of [...this.#broken]) mend();
    for (const node of [...this.servers.byNode.keys()].slice(0, 3)) this.#restart(node);
    this.servers.watchLagMs.clear();
    this.servers.wakeHungWatches();
  }

  // The faults, each for a while.

  crash(server: Server, awayMs: number): void {
    if (this.#spares) return;
    this.servers.crash(server);
    this.#for(awayMs, 'crash', () => this.#restart(server.node));
  }

  leave(server: Server, awayMs: number): void {
    if (this.#spares) return;
    const left = this.servers.leave(server);
    this.scene.spawn(left.then(() => this.#for(awayMs, 'leave', () => this.#restart(server.node))));
  }

  pause(server: Server, ms: number): void {
    if (server.process.paused || this.#spares) return;
    server.process.pause();
    this.scene.note(`${server.name} is paused for ${ms.toFixed(0)} ms`);
    this.#for(ms, 'pause', () => this.#resume(server));
  }

  suspend(server: Server, ms: number): void {
    if (server.process.paused || this.#spares) return;
    server.process.suspend();
    this.scene.note(`${server.name} is suspended for ${ms.toFixed(0)} ms`);
    this.#for(ms, 'suspend', () => this.#resume(server));
  }

  cut(from: string, to: string, ms: number): void {
    if (this.#spares) return;
    this.scene.note(`no way from ${from} to ${to} for ${ms.toFixed(0)} ms`);
    this.#for(ms, 'cut', this.network.cut(from, to));
  }

  /** Clients reach it, and it reaches nobody. */
  isolate({ node }: Server, ms: number): void {
    for (const other of ['store', ...this.servers.byNode.keys()]) {
      if (other === node) continue;
      this.cut(node, other, ms);
      this.cut(other, node, ms);
    }
  }

  evict(server: Server): void {
    const member = [...this.scene.checker.members].find(([, { by }]) => by === server.name);
    if (!member) return;
    this.scene.note(`the lease of ${server.name} is revoked`);
    this.scene.count('evicted');
    this.#mark(1);
    this.servers.store.serveRevocation(member[0], undefined);
  }

  lag({ node, name }: Server, lagMs: number, ms: number): void {
    this.scene.note(`the watch of ${name} lags ${lagMs.toFixed(0)} ms for ${ms.toFixed(0)} ms`);
    this.servers.watchLagMs.set(node, lagMs);
    this.#for(ms, 'lag', () => this.servers.watchLagMs.delete(node));
  }

  hang({ node }: Server): void {
    this.servers.hang(node);
    this.#mark(15_000);
  }

  outage(outage: Outage, ms: number): void {
    if (this.servers.store.outage) return;
    this.scene.note(`the store: ${outage} for ${ms.toFixed(0)} ms`);
    this.scene.count(`outage ${outage}`);
    this.servers.store.setOutage(outage);
    this.#for(ms, 'outage', () => this.servers.store.setOutage(undefined));
  }

  /**
   * The store goes back to what it is now, after a while and an outage. Where nobody may live to notice it, an operator
   * gives it a new epoch, as is written in docs/guides/operations.md.
   */
  restore(afterMs: number, outageMs: number): void {
    const { store } = this.servers;
    const { checker } = this.scene;
    const backup = store.backup();
    const past = checker.past();
    this.scene.world.in(afterMs, () => {
      if (this.scene.calm || store.outage) return;
      this.outage('refuse', outageMs);
      this.scene.world.in(outageMs / 2, () => {
        if (this.scene.calm) return;
        this.scene.note(`the store goes back from ${store.revision} to ${backup.revision}`);
        this.scene.count('restored');
        store.restore(backup);
        this.servers.wakeHungWatches();
        checker.restored(past);
        checker.memberKeysRestored(backup.leases);
        this.#mark(RESTORE_FELT_MS);
        if (this.#hasWitness(backup.revision) && this.scene.dice.chance(0.5))
          this.#sparedUntil = this.scene.world.now + SPARED_MS;
        else {
          this.scene.count('restored with a new epoch');
          const { entry } = store.serveGet(EPOCH_KEY);
          const value = EpochRecord.encode({
            ...{ writeId: '', epoch: `operator${this.scene.number()}` },
            ended: endedWith(entry, ''),
          }).finish();
          store.serveCommit({ writeId: '', compares: [], writes: [{ kind: 'put', key: EPOCH_KEY, value }] });
        }
      });
    });
  }

  /** True: somebody has seen what the store has forgotten, and reaches it once its outage is over. */
  #hasWitness(forgottenFrom: bigint): boolean {
    return this.servers.running.some(
      ({ node, process, leaving, replica: { catalog } }) =>
        catalog.ready &&
        catalog.revision > forgottenFrom &&
        !process.paused &&
        !leaving &&
        !this.network.isCut('store', node) &&
        !this.network.isCut(node, 'store'),
    );
  }

  /** True: whoever runs must live to notice that the store was restored. */
  get #spares(): boolean {
    return this.scene.world.now < this.#sparedUntil;
  }

  #begin(fault: Fault, server: Server): void {
    const { dice, world } = this.scene;
    const others = this.servers.running.filter((other) => other !== server);
    const ms = dice.pick([300, 1_500, 4_000, 9_000]) * dice.between(0.5, 1.5);
    const longMs = dice.chance(0.2) ? dice.between(10_000, 45_000) : ms;
    this.scene.count(fault);
    switch (fault) {
      case 'crash':
        return this.crash(server, dice.between(10, 20_000));
      case 'leave':
        return this.leave(server, dice.between(10, 10_000));
      case 'pause':
        return this.pause(server, longMs);
      case 'suspend':
        return this.suspend(server, longMs);
      case 'cut from store':
        return this.cut('store', server.node, longMs);
      case 'cut to store':
        return this.cut(server.node, 'store', longMs);
      case 'cut both ways':
        this.cut('store', server.node, longMs);
        return this.cut(server.node, 'store', longMs);
      case 'isolated':
        return this.isolate(server, dice.between(20_000, 70_000));
      case 'cut between members': {
        if (others.length === 0) return;
        const { node } = dice.pick(others);
        this.cut(server.node, node, longMs);
        return dice.chance(0.5) ? undefined : this.cut(node, server.node, longMs);
      }
      case 'cut from clients':
        this.cut('clients', server.node, longMs);
        return dice.chance(0.5) ? undefined : this.cut(server.node, 'clients', longMs);
      case 'outage':
        return this.outage(dice.pick<Outage>(['refuse', 'hang', 'lost-reply']), longMs);
      case 'compaction':
        this.lag(server, dice.between(500, 3_000), 1_000);
        world.in(1_000, () => this.servers.store.compactAll());
        return this.#mark(5_000);
      case 'lag':
        return this.lag(server, dice.between(50, 5_000), dice.between(1_000, 15_000));
      case 'hang':
        return this.hang(server);
      case 'slow network':
        this.network.slowness = dice.between(5, 50);
        return this.#for(longMs, 'slow network', () => (this.network.slowness = 1));
      case 'eviction':
        return this.evict(server);
      case 'join':
        return void this.startNew();
      case 'restore':
        return this.restore(dice.between(100, 20_000), dice.between(100, 6_000));
    }
  }

  /** Mends after a while, or when all is mended. */
  #for(ms: number, what: string, mend: () => void): void {
    const from = this.scene.world.now;
    const over = (): void => {
      if (!this.#broken.delete(over)) return;
      mend();
      this.scene.checker.fault(from, this.scene.world.now + NOTICED_MS);
      if (what !== 'crash' && what !== 'leave')
        this.scene.note(`${what} is over, after ${(this.scene.world.now - from).toFixed(0)} ms`);
    };
    this.#broken.add(over);
    if (this.scene.calm) over();
    else this.scene.world.in(ms, over);
  }

  #resume(server: Server): void {
    server.process.resume();
    if (!server.process.dead) this.servers.onlooker?.resumed(server);
  }

  #mark(ms: number): void {
    const { now } = this.scene.world;
    this.scene.checker.fault(now, now + ms);
  }

  #restart(node: string): void {
    const running = this.servers.byNode.get(node);
    if (running && !running.process.dead) return;
    if (!this.scene.calm && this.servers.running.length >= RUNNING_MAX) return;
    this.servers.start(node);
  }
}
