/** Something that was started. */
export interface Closeable {
  /** Stops it and waits for what it still does. Safe to call twice. */
  close(): Promise<void> | void;
}

/** Closes what was started, in reverse order, once. */
export class Closers implements Closeable {
  readonly #started: Closeable[] = [];
  #closing: Promise<void> | undefined;

  /** Remembers `started` for closing, and hands it back. */
  add<T extends Closeable>(started: T): T {
    this.#started.push(started);
    return started;
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    for (const started of this.#started.splice(0).reverse()) await started.close();
  }
}
