/** Something that was started. */
export interface Closeable {
  /** Stops and waits for work in flight. Idempotent. */
  close(): Promise<void> | void;
}

/** Closes everything that was started, in reverse order, once. */
export class Closers implements Closeable {
  readonly #started: Closeable[] = [];
  #closing: Promise<void> | undefined;

  /** Adds `started`, and returns it. */
  add<T extends Closeable>(started: T): T {
    this.#started.push(started);
    return started;
  }

  /** Returns a signal that is aborted when its turn in the order of closing comes. */
  addSignal(): AbortSignal {
    const controller = new AbortController();
    this.add({ close: () => controller.abort() });
    return controller.signal;
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    for (const started of this.#started.splice(0).reverse()) await started.close();
  }
}
