import type { Clients } from './clients.js';
import type { ClusterScene } from './checker.js';
import type { Server, Servers } from './servers.js';
import type { Trouble } from './trouble.js';

export const PLOTS = [
  'clung-to-while-isolated',
  'clung-to-while-suspended',
  'evicted-before-it-knows',
  'joins-late-and-lags',
  'two-processes-at-a-lagging-replica',
  'leaves-under-beats',
  'comes-and-goes-unseen',
  'all-fall-silent-at-once',
] as const;
export type Plot = (typeof PLOTS)[number];

/** A plot begins when the graces of the starts are over, and has time to come to its end. */
const BEGINS_MS = [36_000, 48_000] as const;

/**
 * What chance alone would bring about too seldom: several faults at once, of which each looks harmless. A world has one
 * plot or none.
 */
export class Plots {
  constructor(
    private readonly scene: ClusterScene,
    private readonly servers: Servers,
    private readonly trouble: Trouble,
    private readonly clients: Clients,
    private readonly services: readonly string[],
  ) {}

  async play(plot: Plot): Promise<void> {
    const { scene } = this;
    await scene.world.sleep(scene.dice.between(...BEGINS_MS));
    const running = this.servers.running.filter(({ process, leaving }) => !process.paused && !leaving);
    if (running.length < 2) return;
    const server = scene.dice.pick(running);
    scene.note(`plot: ${plot}, with ${server.name}`);
    scene.count(`plot: ${plot}`);
    await this.#play(plot, server);
    this.clients.leadTo(undefined);
  }

  async #play(plot: Plot, server: Server): Promise<void> {
    const { world, dice } = this.scene;
    switch (plot) {
      case 'clung-to-while-isolated': {
        const ms = dice.between(45_000, 60_000);
        this.clients.leadTo(server.node);
        this.trouble.isolate(server, ms);
        return world.sleep(ms);
      }
      case 'evicted-before-it-knows': {
        const ms = dice.between(45_000, 60_000);
        this.clients.leadTo(server.node);
        this.servers.onlooker?.evictAfterRewrite(server, ms);
        return world.sleep(ms + 5_000);
      }
      case 'clung-to-while-suspended': {
        const ms = dice.between(44_000, 54_000);
        this.trouble.suspend(server, ms);
        await world.sleep(ms);
        for (let i = 0; i < 40; i++) {
          this.#beatAll(server);
          await world.sleep(dice.between(0, 30));
        }
        return;
      }
      case 'joins-late-and-lags': {
        for (let i = 0; i < 3; i++) {
          const joiner = this.trouble.startNew();
          if (!joiner) return;
          // Nobody else hears anything meanwhile: when it has joined, the others have declared some of them silent.
          const ms = dice.between(1_000, 4_500);
          if (dice.chance(0.7)) this.clients.leadTo(joiner.node);
          this.servers.onlooker?.delayJoin(joiner, ms);
          this.trouble.lag(joiner, ms + dice.between(1_000, 4_000), ms + 6_000);
          for (let j = 0; j < 60; j++) {
            this.#beatAll(joiner);
            await world.sleep(dice.between(20, 200));
          }
          this.clients.leadTo(undefined);
          await world.sleep(dice.between(0, 3_000));
          this.trouble.leave(joiner, 100_000);
        }
        return;
      }
      case 'two-processes-at-a-lagging-replica': {
        for (let i = 0; i < 3; i++) {
          this.trouble.lag(server, dice.between(4_000, 8_000), 15_000);
          this.clients.leadTo(server.node);
          this.clients.takeOverAll();
          for (let j = 0; j < 60; j++) {
            this.#beatAll(server);
            await world.sleep(dice.between(50, 200));
          }
          this.clients.leadTo(undefined);
          await world.sleep(8_000);
        }
        return;
      }
      case 'leaves-under-beats': {
        this.clients.leadTo(server.node);
        await world.sleep(6_000);
        const others = this.servers.running.filter((one) => one !== server);
        if (others.length === 0) return;
        const other = dice.pick(others);
        if (dice.chance(0.5)) this.trouble.cut(server.node, other.node, 3_000);
        if (dice.chance(0.5)) this.trouble.cut(server.node, 'store', dice.between(100, 3_000));
        this.trouble.leave(server, 20_000);
        for (let j = 0; j < 60; j++) {
          this.#beatAll(server);
          await world.sleep(dice.between(0, 60));
        }
        return;
      }
      case 'comes-and-goes-unseen': {
        for (let i = 0; i < 3; i++) {
          const lookers = this.servers.running.filter(({ process, leaving }) => !process.paused && !leaving);
          // Their watches say nothing until they list anew, and by then the joiner is gone, with all that it heard.
          for (const looker of lookers) this.trouble.hang(looker);
          const joiner = this.trouble.startNew();
          if (!joiner) return;
          this.clients.leadTo(joiner.node);
          this.servers.onlooker?.evictBeforeList(joiner, lookers);
          for (let j = 0; j < 120; j++) {
            this.#beatAll(joiner);
            await world.sleep(dice.between(50, 200));
          }
          this.clients.leadTo(undefined);
          this.trouble.leave(joiner, 100_000);
          await world.sleep(dice.between(2_000, 8_000));
        }
        return;
      }
      case 'all-fall-silent-at-once': {
        for (let i = 0; i < 2; i++) {
          this.clients.leadTo('nowhere');
          await world.sleep(dice.between(6_000, 12_000));
          if (dice.chance(0.4)) await Promise.all(this.services.map((service) => this.clients.release(service)));
          this.clients.leadTo(undefined);
          await world.sleep(dice.between(8_000, 12_000));
        }
      }
    }
  }

  #beatAll(server: Server): void {
    for (const key of this.scene.checker.history.keys())
      if (this.clients.beatNow(key, server)) this.scene.count('adverse beat');
  }
}
