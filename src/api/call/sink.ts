import type { Failure } from './failure.js';
import type { Encoded } from './message.js';

/** The sending half of one stream, as an edge offers it. */
export interface StreamTransport {
  /** Sends one message, and calls `onTaken` in a later turn, once the network has taken it. Returns its bytes on the wire. */
  write(message: Encoded, onTaken: () => void): number;
  /** Ends the stream: with OK, or with a failure. */
  end(failure?: Failure): void;
  /** Calls `listener` when the stream is over, however it ended: by this server, the client or the network. */
  onClosed(listener: () => void): void;
  /** Calls `listener` once nothing of the stream is held: what was written has been taken by the network, or dropped. */
  onReleased(listener: () => void): void;
}

/** The call that a stream belongs to. Each method is called by the sink. */
export interface StreamOwner {
  /** Makes the failure of the stream from the error that ended it. */
  toFailure(error: unknown): Failure;
  /** A message was sent. */
  sent(): void;
  /** The stream has ended. Called once, before the listeners of `onEnd`. */
  ended(): void;
  /** The network has taken all bytes that were written, or they were dropped. Called once, after `ended`. */
  released(): void;
}

/** Notified once of the end of a stream, and once, then or later, that what was written to it is no longer held. */
export interface SinkListener {
  ended?(): void;
  released?(): void;
}

/** The sending half of one stream, as the API sees it. It ends once, and is released once: at its end or later. */
export class Sink {
  // Each change makes a list of just its listeners: an array that grows keeps room for 16.
  #listeners: readonly SinkListener[] = NONE;
  #ended = false;
  #released = false;
  #completed = false;
  /** Asks the rule of the method again, and throws if it refuses the stream now. Set once the stream was allowed. */
  askAgain: (() => void) | undefined;
  /** Resolves the last `send`. */
  #sending: (() => void) | undefined;

  constructor(
    private readonly transport: StreamTransport,
    private readonly owner: StreamOwner,
  ) {
    transport.onClosed(() => this.#end());
    transport.onReleased(() => this.#release());
  }

  get ended(): boolean {
    return this.#ended;
  }

  get released(): boolean {
    return this.#released;
  }

  /** True if this server ended the stream with OK. */
  get completed(): boolean {
    return this.#completed;
  }

  /**
   * Sends one message, and calls `onTaken` once the network has taken it. Returns its bytes on the wire. After the end it
   * does nothing.
   */
  write(message: Encoded, onTaken: () => void = () => undefined): number {
    if (this.#ended) return 0;
    this.owner.sent();
    return this.transport.write(message, onTaken);
  }

  /**
   * Sends one message. Resolves once the network has taken it or the stream has ended. Await it before the next `send`.
   */
  send(message: Encoded): Promise<void> {
    if (this.#ended) return Promise.resolve();
    return new Promise((resolve) => {
      this.#sending = resolve;
      this.owner.sent();
      this.transport.write(message, resolve);
    });
  }

  /** Ends the stream with OK. */
  complete(): void {
    if (this.#ended) return;
    this.#completed = true;
    this.transport.end();
  }

  /** Ends the stream with an error. */
  fail(error: unknown): void {
    if (!this.#ended) this.transport.end(this.owner.toFailure(error));
  }

  /** Notifies `listener` of the end and the release that are still to come. */
  attach(listener: SinkListener): void {
    this.#listeners = [...this.#listeners, listener];
  }

  /** Calls `listener` once when the stream has ended. */
  onEnd(listener: () => void): void {
    this.attach({ ended: listener });
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#sending?.();
    this.owner.ended();
    for (const listener of this.#listeners) listener.ended?.();
  }

  #release(): void {
    if (this.#released) return;
    this.#end();
    this.#released = true;
    this.owner.released();
    for (const listener of this.#listeners) listener.released?.();
    this.#listeners = NONE;
  }
}

const NONE: readonly SinkListener[] = [];
