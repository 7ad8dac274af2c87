import type { Prober } from '../../../src/domain/checks/prober.js';
import { ProbeOutcome } from '../../../src/gen/rollcall/v1/check.js';
import type { ProbeResult, ProbeTarget } from '../../../src/model/probe.js';
import { fromDuration } from '../../../src/model/time.js';
import type { Dice } from '../../support/dice.js';
import type { Outcome } from '../checks-checker.js';
import type { SimProcess } from '../process.js';
import type { ClusterScene } from './checker.js';

/** How a target answers. */
export const CONDITIONS = ['up', 'refused', 'silent', 'slow', 'flapping', 'degraded'] as const;
export type Condition = (typeof CONDITIONS)[number];

/** A fault of the server that probes. */
export const OWN_FAULTS = ['INCONCLUSIVE', 'no room', 'DENIED'] as const;
export type OwnFault = (typeof OWN_FAULTS)[number];

const QUICK_MS = 3;
/** One probe of this many is lost while the world is not calm. */
const LOSS = 0.01;
const ROOM = 50;
/** In this share of the worlds, one node probes nothing. */
const OFF = 0.2;
/** The port of the first instance; each has one of its own, so that a probe tells which instance it is about. */
const FIRST_PORT = 1_000;

/** What an instance is, to whoever probes it. */
export interface Fate {
  /** True: every server reaches it. False: it answers to nobody. `undefined`: neither is certain. */
  readonly answers: boolean | undefined;
  /** Since when. */
  readonly since: number;
}

/** The endpoints that checks are about, and the ways to them from each server. They live and die on their own. */
export class Targets {
  readonly #ports = new Map<string, number>();
  readonly #conditions = new Map<string, Condition>();
  /** The keys that a node does not reach. */
  readonly #cuts = new Map<string, ReadonlySet<string>>();
  readonly #ownFaults = new Map<string, OwnFault>();
  readonly #changedAt = new Map<string, number>();
  #allChangedAt = 0;
  /** True while a probe that begins is one that another server asked for. */
  #answering = false;
  /** The node whose servers probe nothing: their settings say so. */
  readonly #off: string | undefined;

  constructor(
    private readonly scene: ClusterScene,
    private readonly dice: Dice,
  ) {
    this.#off = dice.chance(OFF) ? 'n1' : undefined;
    if (this.#off) scene.count('checks off at one node');
  }

  /** True: the settings of the node say that it probes nothing. */
  isOff(node: string): boolean {
    return node === this.#off;
  }

  get keys(): string[] {
    return [...this.#ports.keys()];
  }

  /** The port of the endpoint of an instance. */
  portOf(key: string): number {
    const known = this.#ports.get(key);
    if (known) return known;
    const port = FIRST_PORT + this.#ports.size;
    this.#ports.set(key, port);
    return port;
  }

  make(key: string, condition: Condition): void {
    this.scene.note(`the target of ${key} is ${condition}`);
    this.#conditions.set(key, condition);
    this.#changedAt.set(key, this.scene.world.now);
  }

  /** A node does not reach these; returns the way to heal it. */
  cut(node: string, keys: readonly string[]): () => void {
    this.scene.note(`no way from ${node} to ${keys.length} targets`);
    this.#allChangedAt = this.scene.world.now;
    this.#cuts.set(node, new Set(keys));
    return () => {
      if (this.#cuts.delete(node)) this.#allChangedAt = this.scene.world.now;
    };
  }

  /** A node cannot probe, by its own fault; returns the way to heal it. */
  fault(node: string, fault: OwnFault): () => void {
    this.scene.note(`${node} cannot probe: ${fault}`);
    this.#allChangedAt = this.scene.world.now;
    this.#ownFaults.set(node, fault);
    return () => {
      if (this.#ownFaults.delete(node)) this.#allChangedAt = this.scene.world.now;
    };
  }

  fateOf(key: string): Fate {
    const since = Math.max(this.#changedAt.get(key) ?? 0, this.#allChangedAt);
    const condition = this.#conditions.get(key) ?? 'up';
    const isProbed = this.#ownFaults.size === 0;
    if (isProbed && (condition === 'refused' || condition === 'silent')) return { answers: false, since };
    const isSure = isProbed && this.#cuts.size === 0 && condition === 'up';
    return { answers: isSure ? true : undefined, since };
  }

  /** True: this server says of itself that it cannot probe. */
  isInTrouble(node: string): boolean {
    return this.isOff(node) || this.#ownFaults.get(node) === 'INCONCLUSIVE';
  }

  /** Marks the probes that begin in `ask` as asked for by another server. */
  asked<T>(ask: () => T): T {
    this.#answering = true;
    try {
      return ask();
    } finally {
      this.#answering = false;
    }
  }

  /** The prober of a process on a node. */
  prober(node: string, name: string, process: SimProcess): Prober {
    const open = new Set<object>();
    return {
      probe: (target) => this.#probe(node, name, process, open, target),
      refusal: () => undefined,
      mayBegin: () => true,
      hasRoom: () => open.size < ROOM && this.#ownFaults.get(node) !== 'no room',
      trouble: () => (this.isInTrouble(node) ? 'no file descriptors' : undefined),
    };
  }

  #probe(
    node: string,
    name: string,
    process: SimProcess,
    open: Set<object>,
    target: ProbeTarget,
  ): Promise<ProbeResult> {
    const { world, checker } = this.scene;
    const { port, check } = target;
    const key = this.keys[port - FIRST_PORT]!;
    const own = !this.#answering;
    const begun = checker.checks.next();
    // A check that is defined in other words, or for another process, is another one.
    if (own && open.has(target)) checker.fail('K10', `${name} has two open probes of ${key} ${check.name}`);
    const id = own ? target : {};
    open.add(id);
    const { ms, outcome, error } = this.#outcomeOf(node, key, fromDuration(check.timeout!));
    return new Promise((resolve) => {
      world.in(ms, () =>
        process.deliver(() => {
          open.delete(id);
          this.scene.count(`probe ${outcome}`);
          if (!own) this.scene.count('probe for another server');
          this.scene.note(`${name} sees ${outcome} of ${key} ${check.name}${own ? '' : ' for another'}`);
          resolve({ outcome: ProbeOutcome[`PROBE_OUTCOME_${outcome}`], latencyMs: ms, error });
          // The server reads the result first: what it decides in this very turn, it decides without it.
          queueMicrotask(() => checker.checks.probed(name, key, check.name, { begun, own, outcome }));
        }),
      );
    });
  }

  #outcomeOf(node: string, key: string, timeoutMs: number): { ms: number; outcome: Outcome; error: string } {
    const { dice } = this;
    const ms = dice.between(0.2, QUICK_MS);
    const fault = this.#ownFaults.get(node);
    if (fault === 'DENIED') return { ms, outcome: 'DENIED', error: 'denied' };
    if (fault !== undefined) return { ms, outcome: 'INCONCLUSIVE', error: 'EMFILE' };
    const late = { ms: timeoutMs, outcome: 'FAIL', error: 'timeout' } as const;
    if (this.#cuts.get(node)?.has(key) || (!this.scene.calm && dice.chance(LOSS))) return late;
    const passed = { ms, outcome: 'PASS', error: '' } as const;
    const refused = { ms, outcome: 'FAIL', error: 'ECONNREFUSED' } as const;
    switch (this.#conditions.get(key) ?? 'up') {
      case 'up':
        return passed;
      case 'refused':
        return refused;
      case 'silent':
        return late;
      case 'flapping':
        return dice.chance(0.5) ? passed : refused;
      case 'degraded':
        return { ms, outcome: 'DEGRADED', error: 'status 429' };
      case 'slow': {
        const slowMs = timeoutMs * dice.between(0.5, 1.5);
        return slowMs < timeoutMs ? { ...passed, ms: slowMs } : late;
      }
    }
  }
}
