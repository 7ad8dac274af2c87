import { Listeners } from '../base/listeners.js';

/** A condition that must hold before a load balancer should send calls here. */
export interface ReadyCheck {
  readonly name: string;
  /** Why the condition does not hold; `undefined` if it holds. */
  readonly failure: string | undefined;
}

/**
 * Whether this server should get calls. Every edge answers health checks from here. The server is ready while all
 * conditions hold. An outage of the store is none of them: it must not pull every replica out of a load balancer.
 */
export class Readiness {
  readonly #failures = new Map<string, string | undefined>();
  readonly #listeners = new Listeners<[ready: boolean]>();
  #ready = false;

  /** `failures` are the conditions by name, and why each does not hold yet. */
  constructor(failures: Readonly<Record<string, string>>) {
    for (const [name, failure] of Object.entries(failures)) this.#failures.set(name, failure);
  }

  get ready(): boolean {
    return this.#ready;
  }

  /** Every condition, in the order in which it was given. */
  checks(): ReadyCheck[] {
    return [...this.#failures].map(([name, failure]) => ({ name, failure }));
  }

  /** Notes that a condition holds, or why it does not. */
  set(name: string, failure?: string): void {
    this.#failures.set(name, failure);
    const ready = [...this.#failures.values()].every((one) => one === undefined);
    if (ready === this.#ready) return;
    this.#ready = ready;
    this.#listeners.call(ready);
  }

  /** Calls `listener` whenever readiness changes, until `signal` is aborted. */
  onChange(listener: (ready: boolean) => void, signal: AbortSignal): void {
    this.#listeners.add(listener, signal);
  }
}
