import type { Clock } from '../../base/clock.js';
import type { UnsentBytes } from '../call/unsent-bytes.js';
import { LinkedList } from '../../base/linked-list.js';
import type { WatchStream } from './stream.js';

/** A stream is written to until it has this many unsent bytes: enough to keep it busy, little to hold in memory. */
const UNSENT_BYTES_MAX = 256 * 1_024;
/** A reader that takes nothing for this long is stuck. */
const NO_PROGRESS_MAX_MS = 60_000;
/** The same bound while other streams wait for memory. */
const NO_PROGRESS_WHEN_FULL_MS = 10_000;
/** Streams are served for this long before other work gets a turn, so that a fan-out delays no heartbeat. */
const TURN_MS = 5;

/**
 * Flow control of all watches: when a stream is served, how much it may leave unsent, and which readers are stuck.
 *
 * A stream that must wait costs its cursor and its unsent bytes. No queue grows.
 */
export class Flow {
  readonly #woken = new Set<WatchStream | (() => void)>();
  /** Streams with something to send that wait until fewer bytes of all clients are unsent. Longest wait first. */
  readonly #held = new Set<WatchStream>();
  /** Streams with unsent bytes. Longest without progress first. */
  readonly #waiting = new LinkedList<WatchStream>();
  #turnIsDue = false;

  constructor(
    private readonly clock: Clock,
    private readonly unsent: UnsentBytes,
    /** Sends to a stream as much as this flow control allows now. */
    private readonly serve: (stream: WatchStream) => void,
  ) {
    unsent.onRoom(() => this.resumeHeld());
  }

  /** Serves a stream in a later turn of the event loop, or calls a function when its turn among the streams has come. */
  wake(stream: WatchStream | (() => void)): void {
    this.#woken.add(stream);
    if (this.#turnIsDue) return;
    this.#turnIsDue = true;
    setImmediate(() => this.#turn());
  }

  /** Returns true if the stream's own share of unsent bytes has room. */
  hasRoom(stream: WatchStream): boolean {
    return stream.unsentBytes < UNSENT_BYTES_MAX;
  }

  /** Returns true if too many bytes of all clients are unsent: the stream is woken when there is room. */
  holds(stream: WatchStream): boolean {
    if (!this.unsent.isFull) return false;
    this.#held.add(stream);
    return true;
  }

  /** Accounts for a message that was written. */
  written(stream: WatchStream, bytes: number): void {
    stream.unsentBytes += bytes;
    this.unsent.add(bytes);
    if (stream.waiting) return;
    stream.waiting = this.#waiting.push(stream);
    stream.waitingSinceMs = this.clock.now();
  }

  /** Accounts for a message that the network has taken: the reader makes progress. */
  taken(stream: WatchStream, bytes: number): void {
    if (stream.sink.released) return;
    stream.unsentBytes -= bytes;
    this.unsent.remove(bytes);
    if (stream.sink.ended) return;
    this.#stopWaiting(stream);
    if (stream.unsentBytes > 0) {
      stream.waiting = this.#waiting.push(stream);
      stream.waitingSinceMs = this.clock.now();
    }
    this.wake(stream);
  }

  /** Wakes the stream that was held longest, if there is room again. Each call wakes one stream. */
  resumeHeld(): void {
    if (this.#held.size === 0 || this.unsent.isFull) return;
    const [first] = this.#held;
    this.#held.delete(first!);
    this.wake(first!);
  }

  /** Serves a stream that has ended no more. Its unsent bytes count until they are released. */
  drop(stream: WatchStream): void {
    this.#woken.delete(stream);
    this.#held.delete(stream);
    this.#stopWaiting(stream);
  }

  /** Accounts for the bytes of a stream that were dropped. */
  release(stream: WatchStream): void {
    const { unsentBytes } = stream;
    stream.unsentBytes = 0;
    this.unsent.remove(unsentBytes);
  }

  /** Takes out the streams whose reader is stuck, and returns them with the bound in milliseconds that they exceeded. */
  takeStuck(): { streams: WatchStream[]; maxMs: number } {
    const now = this.clock.now();
    const maxMs = this.#held.size > 0 ? NO_PROGRESS_WHEN_FULL_MS : NO_PROGRESS_MAX_MS;
    const streams: WatchStream[] = [];
    while (this.#waiting.first && now - this.#waiting.first.value.waitingSinceMs > maxMs) {
      const stream = this.#waiting.first.value;
      this.#stopWaiting(stream);
      streams.push(stream);
    }
    return { streams, maxMs };
  }

  #turn(): void {
    this.#turnIsDue = false;
    const until = this.clock.now() + TURN_MS;
    for (const stream of this.#woken) {
      this.#woken.delete(stream);
      if (typeof stream === 'function') stream();
      else this.serve(stream);
      if (this.clock.now() >= until) break;
    }
    if (this.#woken.size === 0) return;
    this.#turnIsDue = true;
    setImmediate(() => this.#turn());
  }

  #stopWaiting(stream: WatchStream): void {
    if (stream.waiting) this.#waiting.remove(stream.waiting);
    stream.waiting = undefined;
  }
}
