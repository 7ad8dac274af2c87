import { HealthCheck } from '../../../src/gen/rollcall/v1/check.js';
import type { Endpoint } from '../../../src/gen/rollcall/v1/instance.js';
import { UNSIGNED } from '../../../src/model/actor.js';
import { toDuration } from '../../../src/model/time.js';
import type { Dice } from '../../support/dice.js';
import type { Clients } from './clients.js';
import type { ClusterScene } from './checker.js';
import type { Servers } from './servers.js';
import { CONDITIONS, OWN_FAULTS, type Targets } from './targets.js';
import type { Trouble } from './trouble.js';

/** Several faults at once, of which each looks harmless. A world has one of them, or none. */
export const CHECK_PLOTS = [
  'deploy-while-nobody-can-probe',
  'restart-while-half-has-failed',
  'much-dies-at-once',
  'all-flap',
  'most-servers-cut-from-targets',
] as const;
type CheckPlot = (typeof CHECK_PLOTS)[number];

const PAUSE_MAX_MS = 6_000;
/** A plot begins when the first instances have passed. */
const BEGINS_MS = [36_000, 50_000] as const;
/** After the last fault, some targets die that were well: their end is seen from a state of calm. */
const LAST_DEATHS_MS = 20_000;
const OPERATOR = { ...UNSIGNED, author: 'operator', comment: 'simulated' };

/** What a Register says about the checks of an instance. */
export interface CheckedParts {
  readonly endpoints: readonly Partial<Endpoint>[];
  readonly checks: readonly HealthCheck[];
}

/** The checks of a world: which instances have which, what becomes of their targets, and what operators do about them. */
export class Checks {
  readonly #own = new Map<string, readonly HealthCheck[]>();
  /** What ends what goes on now. */
  readonly #ends = new Set<() => void>();

  constructor(
    private readonly scene: ClusterScene,
    private readonly dice: Dice,
    readonly targets: Targets,
  ) {}

  /** What an instance says about its checks. Now and then it says something else than before. */
  partsOf(key: string): CheckedParts {
    const { dice, targets } = this;
    let checks = this.#own.get(key);
    if (!checks || dice.chance(0.03)) {
      if (checks) this.scene.count('checks changed');
      checks = dice.chance(0.4) ? [] : dice.chance(0.8) ? [this.#definition('a')] : this.#two();
      this.#own.set(key, checks);
    }
    return { endpoints: [{ name: 'health', port: targets.portOf(key) }], checks };
  }

  /** Things happen until a moment. */
  async run(
    servers: Servers,
    clients: Clients,
    trouble: Trouble,
    services: readonly string[],
    until: number,
  ): Promise<void> {
    const { world } = this.scene;
    const { dice } = this;
    if (dice.chance(0.7)) this.#set(clients, dice.pick(services));
    if (dice.chance(0.5)) this.scene.spawn(this.#plot(dice.pick(CHECK_PLOTS), servers, clients, trouble));
    for (;;) {
      await world.sleep(dice.between(200, PAUSE_MAX_MS));
      if (world.now >= until) return;
      this.#happen(servers, clients, services);
    }
  }

  /** Every fault is over. Some targets are dead, and some die once more. */
  calm(): void {
    const { dice, targets, scene } = this;
    for (const end of [...this.#ends]) end();
    for (const key of targets.keys) targets.make(key, dice.chance(0.25) ? dice.pick(['refused', 'silent']) : 'up');
    scene.world.in(LAST_DEATHS_MS, () => {
      for (const key of targets.keys) if (dice.chance(0.2)) targets.make(key, dice.pick(['refused', 'silent']));
    });
  }

  #happen(servers: Servers, clients: Clients, services: readonly string[]): void {
    const { dice, targets, scene } = this;
    const { keys } = targets;
    const nodes = servers.running.map(({ node }) => node);
    if (keys.length === 0 || nodes.length === 0) return;
    const service = dice.pick(services);
    switch (
      dice.pick(['one', 'one', 'one', 'up', 'up', 'dependency', 'no way', 'own fault', 'release', 'set', 'clear'])
    ) {
      case 'one':
        return targets.make(dice.pick(keys), dice.pick(CONDITIONS));
      case 'up':
        return targets.make(dice.pick(keys), 'up');
      case 'dependency': {
        scene.count('dependency dies');
        const those = keys.filter((key) => key.split('/')[3] === service);
        for (const key of those) targets.make(key, 'refused');
        return this.#for(dice.between(4_000, 30_000), () => those.forEach((key) => targets.make(key, 'up')));
      }
      case 'no way': {
        scene.count('no way to targets');
        const share = dice.pick([0.2, 0.5, 1]);
        for (const node of nodes.slice(0, dice.pick([1, 1, 2])))
          this.#for(
            dice.between(3_000, 30_000),
            targets.cut(
              node,
              keys.filter(() => dice.chance(share)),
            ),
          );
        return;
      }
      case 'own fault': {
        const fault = dice.pick(OWN_FAULTS);
        scene.count(`own fault: ${fault}`);
        return this.#for(dice.between(2_000, 45_000), targets.fault(dice.pick(nodes), fault));
      }
      case 'release':
        return this.#operate(clients, service, ({ replica }) => {
          const id = dice.chance(0.5) ? '' : dice.pick(keys).split('/')[4]!;
          return replica.serviceChecks.release({ namespace: 'default', service, id }, OPERATOR);
        });
      case 'set':
        return this.#set(clients, service);
      case 'clear':
        return this.#operate(clients, service, ({ replica }) =>
          replica.serviceChecks.set({ namespace: 'default', service }, [], OPERATOR),
        );
    }
  }

  async #plot(plot: CheckPlot, servers: Servers, clients: Clients, trouble: Trouble): Promise<void> {
    const { dice, targets, scene } = this;
    await scene.world.sleep(dice.between(...BEGINS_MS));
    const { running } = servers;
    if (running.length === 0) return;
    scene.note(`plot: ${plot}`);
    scene.count(`plot: ${plot}`);
    const { keys } = targets;
    switch (plot) {
      case 'deploy-while-nobody-can-probe':
        for (const { node } of running) this.#for(45_000, targets.fault(node, 'INCONCLUSIVE'));
        await scene.world.sleep(dice.between(500, 3_000));
        return clients.takeOverAll();
      case 'restart-while-half-has-failed':
        for (const key of keys) if (dice.chance(0.5)) targets.make(key, 'refused');
        await scene.world.sleep(dice.between(10_000, 25_000));
        for (const server of servers.running) trouble.crash(server, dice.between(50, 3_000));
        return;
      case 'much-dies-at-once':
        return keys.forEach((key) => void (dice.chance(0.4) && targets.make(key, 'silent')));
      case 'all-flap':
        for (const key of keys) targets.make(key, 'flapping');
        return this.#for(30_000, () => keys.forEach((key) => targets.make(key, 'up')));
      case 'most-servers-cut-from-targets':
        for (const { node } of running.slice(1)) this.#for(40_000, targets.cut(node, keys));
    }
  }

  #set(clients: Clients, service: string): void {
    const checks = this.dice.chance(0.8) ? [this.#definition('a')] : this.#two();
    this.#operate(clients, service, ({ replica }) =>
      replica.serviceChecks.set({ namespace: 'default', service }, checks, OPERATOR),
    );
  }

  #operate(clients: Clients, service: string, work: Parameters<Clients['asOperator']>[1]): void {
    this.scene.checker.operatorAsksOfChecks(service);
    this.scene.spawn(clients.asOperator(this.dice, work, 'checks not changed'));
  }

  #two(): HealthCheck[] {
    return [this.#definition('a'), this.#definition('b')];
  }

  #definition(name: string): HealthCheck {
    const { dice } = this;
    return HealthCheck.fromPartial({
      ...{ name, endpoint: 'health', probe: { $case: 'tcp', value: {} } },
      interval: toDuration(dice.pick([2_000, 2_000, 3_000, 4_000])),
      timeout: toDuration(dice.pick([500, 1_000, 1_500])),
      unhealthyThreshold: dice.pick([1, 2, 3]),
      healthyThreshold: dice.pick([1, 2]),
      deregisterAfter: dice.chance(0.25) ? toDuration(60_000) : undefined,
    });
  }

  #for(ms: number, end: () => void): void {
    const over = (): void => {
      if (this.#ends.delete(over)) end();
    };
    this.#ends.add(over);
    if (this.scene.calm) over();
    else this.scene.world.in(ms, over);
  }
}
