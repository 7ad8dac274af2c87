import type { Clock } from '../../src/base/clock.js';
import type { Histogram, Telemetry } from '../../src/base/telemetry.js';
import type { SelfBeat } from '../../src/domain/health/liveness-clock.js';
import { PROTECTION_TIMES, type ProtectionTimes } from '../../src/domain/health/protection-times.js';
import type { Store } from '../../src/store/store.js';
import type { World } from './world.js';

/** The wall clock of every process at the beginning of a world. */
export const WALL_FROM_MS = 1_700_000_000_000;

/** The times of protection as a server has them. */
export const PROTECTION: ProtectionTimes = { ...PROTECTION_TIMES, maxMs: 86_400_000 };
/** Times with which a world of minutes sees whole events: seasons, memories, and every way in which one ends. */
export const SHORT_PROTECTION: ProtectionTimes = {
  ...{ seasonMs: 4_000, memoryMs: 40_000, fullMs: 2_000, halfMs: 10_000, maxMs: 30_000 },
};

/** Timers that repeat as often as this are the ticks of a clock. */
const TICK_MS = 50;
/** How long a message of a process to itself takes. */
const SELF_BEAT_MS = 0.05;

/**
 * A process in the simulated world: it can be paused, its machine can be suspended, and it can die.
 *
 * While it is paused nothing of it runs. When it goes on, timers that are overdue fire first and what came over the
 * network is read afterwards, as Node does it.
 */
export class SimProcess {
  #paused = false;
  #dead = false;
  #pausedAt = 0;
  #suspendedAt: number | undefined;
  /** How long the machine was suspended, in all: its monotonic clock stood still. */
  #suspendedMs = 0;
  #selfBeatDue: number | undefined;
  readonly #overdue: { due: number; fire: () => void }[] = [];
  readonly #inbox: (() => void)[] = [];
  readonly #outbox: (() => void)[] = [];

  constructor(
    private readonly world: World,
    private readonly startedAt = world.now,
  ) {}

  get dead(): boolean {
    return this.#dead;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Something arrives from outside. */
  deliver(read: () => void): void {
    if (this.#dead) return;
    if (this.#paused) this.#inbox.push(read);
    else read();
  }

  /** Something leaves: what a process that was stopped in the middle was about to send leaves when it goes on. */
  send(leave: () => void): void {
    if (this.#dead) return;
    if (this.#paused) this.#outbox.push(leave);
    else leave();
  }

  pause(): void {
    if (!this.#paused) this.#pausedAt = this.world.now;
    this.#paused = true;
  }

  /** As `pause`, with the monotonic clock standing still. */
  suspend(): void {
    this.pause();
    this.#suspendedAt ??= this.world.now;
  }

  resume(): void {
    if (!this.#paused || this.#dead) return;
    this.#paused = false;
    if (this.#suspendedAt !== undefined) this.#suspendedMs += this.world.now - this.#suspendedAt;
    this.#suspendedAt = undefined;
    for (const leave of this.#outbox.splice(0)) leave();
    // The event loop turns: what was queued is read a moment later, one piece after the other.
    if (this.#selfBeatDue !== undefined && this.#selfBeatDue > this.#pausedAt)
      this.#selfBeatDue = Math.max(this.#selfBeatDue, this.world.now + 0.01);
    for (const { due, fire } of this.#overdue.splice(0)) this.#timer(due, fire);
    for (const read of this.#inbox.splice(0)) this.world.in(0.01, () => this.deliver(read));
  }

  kill(): void {
    this.#dead = true;
  }

  /** The clock of the process: monotonic from its start, with timers that wait while it is paused. */
  readonly clock: Clock = {
    now: () => this.#now(),
    wall: () => WALL_FROM_MS + this.world.now,
    after: (ms, fn) => ({ cancel: this.#arm(ms, fn) }),
    every: (ms, fn) => {
      let cancel = (): void => undefined;
      const arm = (): void => {
        cancel = this.#arm(ms, () => (arm(), fn()), ms <= TICK_MS);
      };
      arm();
      return { cancel: () => cancel() };
    },
  };

  /** A self-beat arrives as the messages of clients do: while the process is paused it waits. */
  selfBeat(): SelfBeat {
    const inFlight = (): boolean => this.#selfBeatDue !== undefined && this.world.now < this.#selfBeatDue;
    return {
      get inFlight() {
        return inFlight();
      },
      send: () => {
        if (!inFlight()) this.#selfBeatDue = this.world.now + SELF_BEAT_MS;
      },
    };
  }

  /** The store as this process sees it: no answer reaches it while it is paused or dead. */
  storeView(store: Store): Store {
    const arrives = <T>(answer: Promise<T>): Promise<T> =>
      new Promise((resolve, reject) => {
        answer.then(
          (value) => this.deliver(() => resolve(value)),
          (error: Error) => this.deliver(() => reject(error)),
        );
      });
    const deliver = (): Promise<void> => new Promise((resolve) => this.deliver(resolve));
    return {
      kind: store.kind,
      exclusive: store.exclusive,
      list: (range, what) => arrives(store.list(range, what)),
      get: (key) => arrives(store.get(key)),
      commit: (txn) => arrives(store.commit(txn)),
      commitEach: (guard, txns) => arrives(store.commitEach(guard, txns)),
      past: (range, until, signal) => arrives(store.past(range, until, signal)),
      copy: () => arrives(store.copy()),
      join: (key, value, also) => arrives(store.join(key, value, also)),
      places: () => store.places(),
      health: () => store.health(),
      close: () => undefined,
      watch: async function* (after, signal) {
        for await (const batch of store.watch(after, signal)) {
          await deliver();
          yield batch;
        }
      },
    };
  }

  #now(): number {
    return (this.#suspendedAt ?? this.world.now) - this.#suspendedMs - this.startedAt + 1_000;
  }

  #arm(ms: number, fire: () => void, quiet = false): () => void {
    const due = this.#now() + ms;
    let cancelled = false;
    const cancel = this.world.in(ms, () => this.#timer(due, () => cancelled || fire()), quiet);
    return () => {
      cancelled = true;
      cancel();
    };
  }

  #timer(due: number, fire: () => void): void {
    if (this.#dead) return;
    const early = due - this.#now();
    if (this.#paused) this.#overdue.push({ due, fire });
    else if (early > 0.001) this.world.in(early, () => this.#timer(due, fire));
    else fire();
  }
}

/**
 * Telemetry that only counts, into a tally that is shared by all processes of a run. It keeps the values of the histograms
 * that `values` has.
 */
export function tallyingTelemetry(tally: Map<string, number>, values = new Map<Histogram, number[]>()): Telemetry {
  const raised = new Set<string>();
  const count = (name: string, n = 1): void => void tally.set(name, (tally.get(name) ?? 0) + n);
  const log = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: () => undefined,
    child: () => log,
  };
  return {
    log,
    counters: { add: ({ name }, n) => count(name, n) },
    histograms: {
      observe: (histogram, value) => {
        const known = values.get(histogram);
        if (known) known.push(value);
      },
    },
    alarms: {
      raise: ({ name }) => {
        if (!raised.has(name)) count(name);
        raised.add(name);
      },
      clear: ({ name }) => {
        if (raised.delete(name)) count(`${name} cleared`);
      },
    },
  };
}
