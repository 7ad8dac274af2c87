import { Dice } from '../../support/dice.js';
import { Scene, type Tally } from '../scene.js';
import { Watchers } from '../watchers.js';
import { Adversary } from './adversary.js';
import { ClusterChecker, type ClusterScene } from './checker.js';
import { Calamities } from './calamities.js';
import { Checks } from './checks.js';
import { Clients } from './clients.js';
import { Operators } from './operators.js';
import { checkHistory } from './history-check.js';
import { Network } from './network.js';
import { type Plot, Plots, PLOTS } from './plots.js';
import { Servers } from './servers.js';
import { Targets } from './targets.js';
import { Trouble } from './trouble.js';

/** How long a run lasts, in simulated time. */
const RUN_MS = 175_000;
/** No new fault after this, so that the end shows whether everything found back: a lease, a grace, a ttl. */
const CALM_FROM_MS = 100_000;
/** No new process after this, so that the last deaths are seen. */
const LIFE_UNTIL_MS = 168_000;
/** Whatever was broken: after this everybody sees the store as it is. */
const ALL_SEEN_MS = 20_000;
const SERVICES = ['pay', 'cart', 'mail'];

/** In one world of this many instances have checks. */
const CHECKED_WORLDS = 2;

/** How a world is: the pauses between its faults, and how often a fault is one that makes everybody wait for a grace. */
const CLIMATES = [
  { pauseMaxMs: 60_000, disturbs: 0.1 },
  { pauseMaxMs: 20_000, disturbs: 0.15 },
  { pauseMaxMs: 10_000, disturbs: 0.3 },
  { pauseMaxMs: 8_000, disturbs: 1 },
];

/** Several replicas on one store, with clients, watchers, faults and an adversary, all from one seed. */
export class ClusterSimulation {
  readonly scene: ClusterScene;

  /** `plot`: this one is played, whatever the seed says. */
  constructor(
    private readonly seed: number,
    private readonly plot?: Plot,
  ) {
    this.scene = new Scene(seed, (now) => new ClusterChecker(now));
  }

  /** Throws what was broken. */
  async run(): Promise<Tally> {
    const { scene } = this;
    const { world, dice, checker } = scene;
    const network = new Network(scene);
    // What befalls checks has dice of its own: a world without them is the same as if there were none in any.
    const checkDice = new Dice(this.seed ^ 0x0c4ec125);
    const targets = this.seed % CHECKED_WORLDS === 0 ? new Targets(scene, checkDice) : undefined;
    const checks = targets && new Checks(scene, checkDice, targets);
    const servers = new Servers(scene, network, targets);
    const clients = new Clients(scene, network, servers, checks);
    const trouble = new Trouble(scene, network, servers);
    servers.onlooker = new Adversary(scene, servers, trouble, clients, targets);
    const services = SERVICES.slice(0, dice.pick([2, 3]));
    checker.tallied = (name) => scene.count(name);
    checker.sawAt = (name, revision) => servers.named(name)?.sawAt(revision) ?? 0;
    checker.seenBy = (name) => servers.named(name)?.replica.catalog.revision ?? 0n;

    const replicas = dice.pick([2, 2, 3, 3, 4]);
    for (let i = 0; i < replicas; i++) world.in(i === 0 ? 0 : dice.between(0, 3_000), () => void trouble.startNew());
    const calamities = dice.chance(0.4);
    const keys = Array.from(
      { length: dice.pick(calamities ? [8, 10, 12] : [4, 5, 6, 8]) },
      (_, i) => `w/i/default/${dice.pick(services)}/n${i}`,
    );
    while (keys.length > 0) scene.spawn(clients.life(keys.splice(0, dice.pick([1, 1, 2, 3])), LIFE_UNTIL_MS));
    if (calamities) scene.spawn(new Calamities(scene, clients, services).run(LIFE_UNTIL_MS - 20_000));
    scene.spawn(new Operators(scene, clients, this.seed).run(LIFE_UNTIL_MS - 20_000));
    if (checks && targets) {
      checker.fateOf = (key) => targets.fateOf(key);
      checker.isOff = (node) => targets.isOff(node);
      checker.isInTrouble = (name) => targets.isInTrouble(servers.named(name)!.node);
      scene.spawn(checks.run(servers, clients, trouble, services, CALM_FROM_MS));
      world.at(CALM_FROM_MS, () => checks.calm());
    }
    const watchers = new Watchers(scene, () => servers.running, services);
    for (let i = 0; i < 2; i++) scene.spawn(watchers.watch());
    const plot = this.plot ?? (dice.chance(0.5) ? dice.pick(PLOTS) : undefined);
    const climate = plot ? CLIMATES[0]! : dice.pick(CLIMATES);
    if (plot) scene.spawn(new Plots(scene, servers, trouble, clients, services).play(plot));
    scene.spawn(trouble.random(CALM_FROM_MS, climate.pauseMaxMs, climate.disturbs));
    world.at(CALM_FROM_MS, () => {
      scene.note('all is mended');
      scene.calm = true;
      trouble.mendAll();
      checker.fault(CALM_FROM_MS, CALM_FROM_MS + 15_000);
    });

    world.at(CALM_FROM_MS + ALL_SEEN_MS, () => checker.allMended());

    for (let time = 1_000; time <= RUN_MS && !scene.failure; time += 1_000) {
      await world.run(time);
      // Before that, something may be wrong that the checker will learn only when it is over.
      const running = servers.running.map(({ name }) => name);
      if (scene.calm) scene.guard(() => checker.sample(services, running));
    }
    // A history that was restored is not the one that replicas remember.
    if (!scene.tally.get('restored'))
      for (const server of servers.running)
        if (server.replica.catalog.ready) scene.guard(() => checkHistory(scene, server));
    servers.close();
    scene.guard(() => {
      const { prompt, late } = checker.checkDetection(clients.deaths);
      scene.count('detections', prompt);
      scene.count('detections after faults', late);
    });
    if (scene.failure) throw scene.failure;
    return scene.tally;
  }
}
