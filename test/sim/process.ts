import type { Clock } from '../../src/base/clock.js';
import type { Telemetry } from '../../src/base/observe.js';
import type { SelfBeat } from '../../src/health/liveness-clock.js';
import type { Store } from '../../src/store/store.js';
import type { World } from './world.js';

/**
 * A process in the simulated world: it can be paused and it can die.
 *
 * While it is paused nothing of it runs. When it goes on, timers that are overdue fire first and what came over the
 * network is read afterwards, as Node does it.
 */
export class SimProcess {
  #paused = false;
  #dead = false;
  readonly #overdue: (() => void)[] = [];
  readonly #inbox: (() => void)[] = [];

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

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused || this.#dead) return;
    this.#paused = false;
    for (const fire of this.#overdue.splice(0)) fire();
    // The event loop turns: what was queued is read a moment later, one piece after the other.
    for (const read of this.#inbox.splice(0)) this.world.in(0.01, () => this.deliver(read));
  }

  kill(): void {
    this.#dead = true;
  }

  /** The clock of the process: monotonic from its start, with timers that wait while it is paused. */
  readonly clock: Clock = {
    now: () => this.world.now - this.startedAt + 1_000,
    wall: () => 1_700_000_000_000 + this.world.now,
    after: (ms, fn) => ({ cancel: this.world.in(ms, () => this.#timer(fn)) }),
    every: (ms, fn) => {
      let cancel = (): void => undefined;
      const arm = (): void => {
        cancel = this.world.in(ms, () => this.#timer(() => (arm(), fn())));
      };
      arm();
      return { cancel: () => cancel() };
    },
  };

  /** A self-beat goes through the same inbox as the messages of clients. */
  selfBeat(): SelfBeat {
    let onItsWay = false;
    return {
      get onItsWay() {
        return onItsWay;
      },
      send: () => {
        if (onItsWay) return;
        onItsWay = true;
        this.world.in(0.05, () => this.deliver(() => (onItsWay = false)));
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
      join: (key, value, also) => arrives(store.join(key, value, also)),
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

  #timer(fire: () => void): void {
    if (this.#dead) return;
    if (this.#paused) this.#overdue.push(fire);
    else fire();
  }
}

/** Telemetry that only counts, into a tally that is shared by all processes of a run. */
export function tallyingTelemetry(tally: Map<string, number>): Telemetry {
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
    counters: { add: count },
    alarms: {
      raise: (name) => {
        if (!raised.has(name)) count(name);
        raised.add(name);
      },
      clear: (name) => {
        if (raised.delete(name)) count(`${name} cleared`);
      },
    },
  };
}
