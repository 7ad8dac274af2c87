import type { Clients } from './clients.js';
import type { ClusterScene } from './checker.js';

/** What befalls many instances at once. */
const KINDS = ['cut of one', 'cut of all', 'death', 'death and replacement', 'loop'] as const;

/**
 * Lets many instances fall silent together, for a while or for good: cuts between clients and all replicas, deaths with
 * and without replacement, and processes that start and die in a loop.
 */
export class Calamities {
  constructor(
    private readonly scene: ClusterScene,
    private readonly clients: Clients,
    private readonly services: readonly string[],
  ) {}

  async run(until: number): Promise<void> {
    const { scene, clients, services } = this;
    const { world, dice } = scene;
    await world.sleep(dice.between(15_000, 35_000));
    while (world.now < until) {
      const kind = dice.pick(KINDS);
      scene.count(`calamity: ${kind}`);
      scene.note(`calamity: ${kind}`);
      const service = dice.pick(services);
      switch (kind) {
        case 'cut of one':
          clients.cut([service], dice.between(4_000, 45_000));
          break;
        case 'cut of all':
          for (const each of services) {
            clients.cut([each], dice.between(6_000, 45_000));
            if (dice.chance(0.3)) await world.sleep(dice.between(0, 5_000));
          }
          break;
        case 'death':
          clients.kill(service, dice.pick([0.6, 1]), false);
          break;
        case 'death and replacement':
          clients.kill(service, dice.pick([0.6, 1]), true);
          break;
        case 'loop':
          scene.spawn(clients.loop(service, world.now + dice.between(10_000, 30_000)));
          break;
      }
      await world.sleep(dice.between(5_000, 40_000));
    }
  }
}
