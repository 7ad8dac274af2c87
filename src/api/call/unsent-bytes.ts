/** Watches and answers together hold at most this many unsent bytes, and one part for each stream that is being served. */
const UNSENT_TOTAL_BYTES_MAX = 128 * 1_024 * 1_024;

/** The bytes that all clients together have not read yet: one bound for watches and for answers to unary calls. */
export class UnsentBytes {
  readonly #roomListeners: (() => void)[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get isFull(): boolean {
    return this.#bytes >= UNSENT_TOTAL_BYTES_MAX;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Accounts for bytes that are no longer held. */
  remove(bytes: number): void {
    this.#bytes -= bytes;
    if (this.isFull) return;
    for (const listener of this.#roomListeners) listener();
  }

  /** Calls `listener` whenever bytes have gone and there is room. */
  onRoom(listener: () => void): void {
    this.#roomListeners.push(listener);
  }
}
