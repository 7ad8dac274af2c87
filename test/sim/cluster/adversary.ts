import type { Clients } from './clients.js';
import type { ClusterScene } from './checker.js';
import type { Crossing, Exchange, Onlooker, Server, Servers } from './servers.js';
import type { Targets } from './targets.js';
import type { Trouble } from './trouble.js';

export const TRICKS = [
  'beat after SILENT',
  'beat elsewhere after SILENT',
  'two beats after SILENT',
  'answerer evicted',
  'answerer crashes',
  'answerer lags',
  'judge paused after the last answer',
  'verdict late',
  'join before the verdict',
  'departure before the verdict',
  'judge evicted before the verdict',
  'beat before the verdict',
  'touch or heal late',
  'reply lost',
  'reply late',
  'joiner lags',
  'beat at the joiner',
  'watch of the joiner hangs',
  'beat after a pause',
] as const;
/** As TRICKS, where instances have checks. */
export const CHECK_TRICKS = [
  'target back before the verdict',
  'target dies before the verdict',
  'verdict on checks late',
  'join before the verdict on checks',
  'departure before the verdict on checks',
  'checker evicted before the verdict on checks',
  'another process before the verdict on checks',
  'checker paused during the question',
  'asked to probe, and evicted',
  'asked to probe, and crashes',
] as const;
type Trick = (typeof TRICKS)[number] | (typeof CHECK_TRICKS)[number];

/** How often a trick is played that the world is prone to; some only now and then, because they stop everything else. */
const CHANCES: Partial<Record<Trick, number>> = {
  'answerer evicted': 0.1,
  'answerer crashes': 0.1,
  'departure before the verdict': 0.2,
  'judge evicted before the verdict': 0.2,
  'join before the verdict': 0.3,
  'reply lost': 0.1,
  'reply late': 0.15,
  'watch of the joiner hangs': 0.2,
  'target back before the verdict': 0.2,
  'verdict on checks late': 0.2,
  'join before the verdict on checks': 0.1,
  'departure before the verdict on checks': 0.05,
  'checker evicted before the verdict on checks': 0.1,
  'another process before the verdict on checks': 0.1,
  'checker paused during the question': 0.1,
  'asked to probe, and evicted': 0.05,
  'asked to probe, and crashes': 0.05,
};
const CHANCE = 0.4;

/**
 * Looks on, and strikes at the moments that matter: between an answer and the commit, when somebody joins or departs, and
 * when a beat that was late needs a commit of its own. Each world is prone to some tricks only, so that they do not hide
 * one another.
 */
export class Adversary implements Onlooker {
  readonly #prone: ReadonlySet<Trick>;
  readonly #evictions = new Map<Server, number>();
  readonly #lateJoins = new Map<Server, number>();
  /** Whom to evict before any of the others lists what there is. */
  readonly #unseen = new Map<Server, Server>();

  constructor(
    private readonly scene: ClusterScene,
    private readonly servers: Servers,
    private readonly trouble: Trouble,
    private readonly clients: Clients,
    private readonly targets: Targets | undefined,
  ) {
    const often = scene.dice.pick([0, 0.2, 0.4, 0.6]);
    const prone: Trick[] = TRICKS.filter(() => scene.dice.chance(often));
    if (targets) prone.push(...CHECK_TRICKS.filter(() => scene.dice.chance(often)));
    this.#prone = new Set(prone);
  }

  answered({ asked, asker, queries, answers, promise }: Exchange): void {
    const { dice } = this.scene;
    const silent = queries.filter((_, i) => answers[i]?.kind === 'SILENT');
    if (silent.length === 0) return;
    for (const { key } of silent) {
      if (this.#plays('beat after SILENT')) this.#beat(key, asked, dice.between(0, 3));
      if (this.#plays('two beats after SILENT')) {
        this.#beat(key, asked, dice.between(0, 3));
        this.#beat(key, asked, dice.between(0, 60));
      }
      if (this.#plays('beat elsewhere after SILENT'))
        this.#beat(key, dice.pick(this.servers.running), dice.between(0, 10));
    }
    if (this.#plays('answerer lags')) this.trouble.lag(asked, dice.between(100, 4_000), dice.between(1_000, 8_000));
    if (!promise) return;
    if (this.#plays('answerer evicted')) this.#soon(() => this.trouble.evict(asked));
    if (this.#plays('answerer crashes')) {
      this.#soon(() => this.trouble.crash(asked, dice.between(100, 20_000)));
      for (const { key } of silent) this.#beat(key, asker, dice.between(0, 20));
    }
  }

  answerArrives({ asker, asked, queries, promise }: Exchange): void {
    const { dice } = this.scene;
    if (!promise || !this.#plays('judge paused after the last answer')) return;
    const ms = this.#gap();
    this.trouble.pause(asker, ms);
    for (const { key } of queries)
      if (dice.chance(0.5))
        this.#beat(key, dice.chance(0.5) ? asked : dice.pick(this.servers.running), dice.between(0, ms));
    if (dice.chance(0.3)) this.#join(ms);
  }

  askedToProbe(asker: Server, asked: Server): void {
    const { dice } = this.scene;
    if (this.#plays('checker paused during the question')) this.trouble.pause(asker, this.#gap());
    if (this.#plays('asked to probe, and evicted')) this.#soon(() => this.trouble.evict(asked));
    if (this.#plays('asked to probe, and crashes'))
      this.#soon(() => this.trouble.crash(asked, dice.between(100, 20_000)));
  }

  /** A verdict on checks, or several, are sent. */
  #verdictOnChecks({ server, parcel }: Crossing): number {
    const { dice } = this.scene;
    const ms = this.#gap();
    const keys = parcel.txns!.map(({ writes }) => writes[0]!.key.replace('w/h/', 'w/i/'));
    let late = this.#plays('verdict on checks late');
    for (const key of keys) {
      if (this.#plays('target back before the verdict')) this.targets!.make(key, 'up');
      if (this.#plays('target dies before the verdict')) this.targets!.make(key, 'refused');
    }
    if (this.#plays('join before the verdict on checks')) {
      this.#join(ms);
      late = true;
    }
    if (this.#plays('departure before the verdict on checks')) {
      const other = dice.pick(this.servers.running);
      this.#soon(() =>
        dice.chance(0.5) ? this.trouble.evict(other) : this.trouble.leave(other, dice.between(100, 10_000)),
      );
      late = true;
    }
    if (this.#plays('checker evicted before the verdict on checks')) {
      this.#soon(() => this.trouble.evict(server));
      late = true;
    }
    if (this.#plays('another process before the verdict on checks')) {
      this.clients.takeOver(keys[0]!);
      late = true;
    }
    return late ? this.#late(ms) : 0;
  }

  goesUp({ server, parcel, what }: Crossing): number {
    const { dice } = this.scene;
    if (this.scene.calm) return 0;
    if (what === 'join') return this.#late(this.#lateJoins.get(server) ?? 0);
    if (what === 'list') return this.#beforeList(server);
    if (what === 'touch' || what === 'heal') {
      if (!this.#plays('touch or heal late')) return 0;
      const ms = dice.between(50, 3_000);
      const key = parcel.txns![0]!.writes[0]!.key;
      this.#beat(key, server, dice.between(0, ms));
      return this.#late(ms);
    }
    if (what === 'check verdict') return this.#verdictOnChecks({ server, parcel, what });
    if (what !== 'verdict') return 0;
    const ms = this.#gap();
    let late = false;
    if (this.#plays('verdict late')) late = true;
    if (this.#plays('join before the verdict')) {
      this.#join(ms);
      late = true;
    }
    if (this.#plays('departure before the verdict')) {
      const other = dice.pick(this.servers.running);
      this.#soon(() =>
        dice.chance(0.5) ? this.trouble.evict(other) : this.trouble.leave(other, dice.between(100, 10_000)),
      );
      late = true;
    }
    if (this.#plays('judge evicted before the verdict')) {
      this.#soon(() => this.trouble.evict(server));
      late = true;
    }
    if (this.#plays('beat before the verdict')) {
      for (const { writes } of parcel.txns!)
        this.#beat(writes[0]!.key, dice.pick(this.servers.running), dice.between(0, ms));
      late = late || dice.chance(0.5);
    }
    return late ? this.#late(ms) : 0;
  }

  goesDown({ server, what }: Crossing): number {
    const { dice } = this.scene;
    const isolatedMs = this.#evictions.get(server);
    if (what === 'rewrite' && isolatedMs !== undefined) {
      this.#evictions.delete(server);
      this.trouble.evict(server);
      const ms = dice.between(4_000, 4_900);
      // The reply is on its way already when the way is cut.
      this.scene.world.in(1, () => this.trouble.isolate(server, isolatedMs));
      return this.#late(ms);
    }
    if (what === 'probe' || what === 'list') return 0;
    if (what === 'renew' || what === 'rewrite') {
      if (!dice.chance(0.1)) return 0;
    }
    if (this.#plays('reply lost')) {
      this.scene.note(`the reply to a ${what} of ${server.name} is lost`);
      this.#late(5_000);
      return Infinity;
    }
    return this.#plays('reply late') ? this.#late(dice.between(20, 4_500)) : 0;
  }

  joined(key: string): void {
    const { dice, checker } = this.scene;
    const by = checker.members.get(key)?.by;
    const joiner = this.servers.running.find(({ name }) => name === by);
    if (!joiner) return;
    if (this.#plays('joiner lags')) this.trouble.lag(joiner, dice.between(100, 4_000), dice.between(1_000, 8_000));
    if (this.#plays('watch of the joiner hangs')) this.trouble.hang(joiner);
    if (!this.#plays('beat at the joiner')) return;
    for (const instance of checker.history.keys())
      for (let i = 0; i < 3; i++) this.#beat(instance, joiner, dice.between(0, 4_000));
  }

  evictAfterRewrite(server: Server, isolatedMs: number): void {
    this.#evictions.set(server, isolatedMs);
  }

  delayJoin(server: Server, ms: number): void {
    this.#lateJoins.set(server, ms);
  }

  evictBeforeList(joiner: Server, listers: readonly Server[]): void {
    for (const lister of listers) this.#unseen.set(lister, joiner);
  }

  #beforeList(lister: Server): number {
    const joiner = this.#unseen.get(lister);
    if (!joiner) return 0;
    this.#unseen.delete(lister);
    this.trouble.evict(joiner);
    return 0;
  }

  resumed(server: Server): void {
    const { dice, checker } = this.scene;
    if (!this.#plays('beat after a pause')) return;
    for (const instance of checker.history.keys()) this.#beat(instance, server, dice.between(0, 300));
  }

  #plays(trick: Trick): boolean {
    const { scene } = this;
    if (scene.calm || !this.#prone.has(trick) || !scene.dice.chance(CHANCES[trick] ?? CHANCE)) return false;
    scene.count(`trick: ${trick}`);
    return true;
  }

  /** How long a strike holds something up: mostly short, now and then longer than a lease. */
  #gap(): number {
    return this.scene.dice.pick([5, 20, 60, 200, 1_000, 3_000, 9_000, 14_000]) * this.scene.dice.between(0.5, 1.5);
  }

  #late(ms: number): number {
    const { now } = this.scene.world;
    this.scene.checker.fault(now, now + ms + 2_000);
    return ms;
  }

  #beat(key: string, server: Server | undefined, ms: number): void {
    this.scene.world.in(ms, () => {
      if (server && this.clients.beatNow(key, server)) this.scene.count('adverse beat');
    });
  }

  #soon(strike: () => void): void {
    this.scene.world.in(this.scene.dice.between(0, 20), strike);
  }

  #join(withinMs: number): void {
    this.scene.world.in(this.scene.dice.between(0, withinMs / 2), () => {
      if (!this.scene.calm) this.trouble.startNew();
    });
  }
}
