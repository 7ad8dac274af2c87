/** Functions that are called on an event, each until its signal is aborted. */
export class Listeners<Arguments extends readonly unknown[]> {
  readonly #all = new Set<(...given: Arguments) => void>();

  /** Calls `listener` on every later event, until `signal` is aborted. */
  add(listener: (...given: Arguments) => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#all.add(listener);
    signal.addEventListener('abort', () => this.#all.delete(listener), { once: true });
  }

  /** Calls every listener, in the order in which they were added. */
  call(...given: Arguments): void {
    for (const listener of this.#all) listener(...given);
  }
}
