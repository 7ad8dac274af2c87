import { Dice } from '../../support/dice.js';
import type { ClusterScene } from './checker.js';
import type { Clients } from './clients.js';

/** In one world of this many there are operators. */
const WORLDS = 3;
const PAUSE_MAX_MS = 6_000;

/** Operators who drain, disable and weigh instances, and change their minds. They have dice of their own. */
export class Operators {
  readonly #dice: Dice;

  constructor(
    private readonly scene: ClusterScene,
    private readonly clients: Clients,
    private readonly seed: number,
  ) {
    this.#dice = new Dice(seed ^ 0x0be7a7e5);
  }

  async run(until: number): Promise<void> {
    if (this.seed % WORLDS !== 0) return;
    const { world } = this.scene;
    while (world.now < until) {
      await world.sleep(this.#dice.between(100, PAUSE_MAX_MS));
      this.scene.spawn(this.clients.override(this.#dice));
    }
  }
}
