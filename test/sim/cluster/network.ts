import type { ClusterScene } from './checker.js';

/** Where messages come from and go to: a node by its name, 'store', or 'clients'. */
export type Place = string;

/** How a message is sent. */
export interface Sending {
  /** Called when the way is refused, such as a connection that is reset. */
  readonly refuse?: () => void;
  /** The message comes after the last one that was sent with the same object. */
  readonly queue?: Queue;
  /** How much later than the network would have it. */
  readonly extraMs?: number;
}

/** Messages that come in the order in which they were sent. */
export class Queue {
  lastArrival = 0;
}

/** A way that is cut, in one direction. */
interface Cut {
  readonly from: Place;
  readonly to: Place;
  readonly held: (() => void)[];
}

const QUICK_MS = 4;
const LOSS = 0.003;
const SLOW = 0.02;
/** A message that is lost is noticed by who waits for it within this. */
export const NOTICED_MS = 6_000;

/** Carries messages: late, out of order, or never. A cut holds some messages until it heals, and loses the others. */
export class Network {
  readonly #cuts = new Set<Cut>();
  /** How many times slower than usual. */
  slowness = 1;

  constructor(private readonly scene: ClusterScene) {}

  isCut(from: Place, to: Place): boolean {
    return this.#cutOf(from, to) !== undefined;
  }

  /** Cuts the way from one place to another, in that direction only; returns the way to heal it. */
  cut(from: Place, to: Place): () => void {
    const cut: Cut = { from, to, held: [] };
    this.#cuts.add(cut);
    return () => {
      if (!this.#cuts.delete(cut)) return;
      for (const go of cut.held) go();
    };
  }

  send(from: Place, to: Place, arrive: () => void, { refuse, queue, extraMs = 0 }: Sending = {}): void {
    const { dice, world, calm } = this.scene;
    const cut = this.#cutOf(from, to);
    if (cut) {
      const fate = dice.fraction();
      if (fate < 0.4)
        cut.held.push(() =>
          this.send(from, to, arrive, { ...(refuse && { refuse }), ...(queue && { queue }), extraMs }),
        );
      else if (fate < 0.6 && refuse) world.in(dice.between(1, 500), refuse);
      return;
    }
    if (!calm && dice.chance(LOSS)) {
      this.scene.checker.fault(world.now, world.now + NOTICED_MS);
      if (refuse && dice.chance(0.5)) world.in(dice.between(1, 50), refuse);
      return;
    }
    let arrival = world.now + this.latency() + extraMs;
    if (queue) arrival = queue.lastArrival = Math.max(queue.lastArrival, arrival);
    world.at(arrival, arrive);
  }

  /** How long something is on its way from now on. */
  latency(): number {
    const { checker, dice, calm, world } = this.scene;
    if (calm) return dice.between(0.2, QUICK_MS);
    const ms = this.slowness * dice.between(0.2, dice.chance(SLOW) ? 600 : QUICK_MS);
    if (ms > QUICK_MS) checker.fault(world.now, world.now + ms);
    return ms;
  }

  #cutOf(from: Place, to: Place): Cut | undefined {
    if (this.#cuts.size === 0) return undefined;
    for (const cut of this.#cuts) if (cut.from === from && cut.to === to) return cut;
    return undefined;
  }
}
