import type { Clock, Timer } from '../../base/clock.js';
import { LinkedList } from '../../base/linked-list.js';
import { RollcallError } from '../../model/errors.js';
import type { Call } from './call.js';
import type { Gate } from './gates.js';
import type { UnsentBytes } from './unsent-bytes.js';

/** Answers of up to this size are not counted: a connection carries 2,000 calls, so they hold 8 MiB at most. */
const COUNTED_BYTES_MIN = 4 * 1_024;
/** A connection holds at most this many bytes of answers, and one answer more: five of the largest are on their way. */
const CONNECTION_BYTES_MAX = 16 * 1_024 * 1_024;
/** How long a call waits until earlier answers are read. */
const ROOM_WAIT_MAX_MS = 10_000;
/** An answer that was not read after this is cut: at 1 Mbit/s the largest one takes 25 s. */
const ANSWER_UNREAD_MAX_MS = 60_000;
/** The same bound while there is no memory for more. */
const ANSWER_UNREAD_WHEN_FULL_MS = 10_000;
/** How often answers that are not read are looked for. */
const SWEEP_MS = 1_000;

/** The stream that an answer was written to. */
export interface AnswerStream {
  readonly destroyed: boolean;
  once(event: 'close', listener: () => void): unknown;
}

/** An answer that the network has not taken. */
interface Unread {
  readonly sinceMs: number;
  readonly cut: () => void;
}

/** The unread answers of one connection, and its calls that wait until some are read. */
interface Connection {
  bytes: number;
  /** Each lets one call go on. Longest wait first. */
  readonly waiting: Set<() => void>;
}

/**
 * Bounds the memory of a client that sends calls and reads no answers: a read without room for its answer waits as a request.
 * Only reads wait: the answers to other calls are small, and a write that has happened must be answered.
 */
export class UnreadAnswers implements Gate {
  readonly name = 'room for answers';
  readonly #connections = new Map<string, Connection>();
  /** Longest unread first. */
  readonly #unread = new LinkedList<Unread>();
  #sweeping: Timer | undefined;
  /** The calls that wait, on all connections. */
  #waitingCalls = 0;
  #turnIsDue = false;

  constructor(
    private readonly clock: Clock,
    private readonly unsent: UnsentBytes,
  ) {
    unsent.onRoom(() => this.#wake());
  }

  /** Lets a read wait while its connection, or all together, have too many unread answers. */
  admit(call: Call): Promise<void> | undefined {
    return this.hasRoom(call) ? undefined : this.#wait(call);
  }

  /** Returns true if the answer to a call can be written now. */
  hasRoom(call: Call): boolean {
    if (!call.method.readOnly) return true;
    if (this.unsent.isFull) return false;
    if (this.#connections.size === 0) return true;
    const connection = this.#connections.get(call.connection);
    return !connection || (connection.bytes < CONNECTION_BYTES_MAX && connection.waiting.size === 0);
  }

  /** Returns the error for a call that was admitted, and whose answer has no room any more. */
  refusalOf(call: Call, bytes: number): RollcallError | undefined {
    if (bytes <= COUNTED_BYTES_MIN || !call.method.readOnly) return undefined;
    if (this.unsent.isFull) return unreadAnswers('the clients of the server have');
    const own = this.#connections.get(call.connection)?.bytes ?? 0;
    return own < CONNECTION_BYTES_MAX ? undefined : unreadAnswers('the connection has');
  }

  /** Accounts for an answer that was written to `stream`, until the stream closes. `cut` ends a stream that is not read. */
  written({ connection }: Pick<Call, 'connection'>, bytes: number, stream: AnswerStream, cut: () => void): void {
    if (bytes <= COUNTED_BYTES_MIN || stream.destroyed) return;
    const own = this.#connectionOf(connection);
    own.bytes += bytes;
    this.unsent.add(bytes);
    this.#sweeping ??= this.clock.every(SWEEP_MS, () => this.#sweep());
    let isHeld = true;
    const release = (): void => {
      if (!isHeld) return;
      isHeld = false;
      this.#unread.remove(place);
      own.bytes -= bytes;
      this.#forgetIdle(connection, own);
      this.unsent.remove(bytes);
    };
    const place = this.#unread.push({
      sinceMs: this.clock.now(),
      cut: () => {
        cut();
        release();
      },
    });
    stream.once('close', release);
  }

  #wait(call: Call): Promise<void> {
    const { connection, signal } = call;
    const own = this.#connectionOf(connection);
    return new Promise<void>((resolve, reject) => {
      const leave = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', hungUp);
        own.waiting.delete(proceed);
        this.#waitingCalls--;
        this.#forgetIdle(connection, own);
      };
      const proceed = (): void => {
        leave();
        resolve();
      };
      const timer = this.clock.after(ROOM_WAIT_MAX_MS, () => {
        leave();
        const full = own.bytes < CONNECTION_BYTES_MAX;
        reject(unreadAnswers(full ? 'the clients of the server have' : 'the connection has'));
      });
      const hungUp = (): void => {
        leave();
        reject(new RollcallError('CANCELLED', 'the client went away while its call waited'));
      };
      own.waiting.add(proceed);
      this.#waitingCalls++;
      signal.addEventListener('abort', hungUp);
    });
  }

  /** Lets calls go on in a later turn: one of each connection, so that its answer is counted before the next. */
  #wake(): void {
    if (this.#turnIsDue || this.#waitingCalls === 0) return;
    this.#turnIsDue = true;
    setImmediate(() => {
      this.#turnIsDue = false;
      for (const { bytes, waiting } of [...this.#connections.values()]) {
        const [first] = waiting;
        if (this.unsent.isFull || !first || bytes >= CONNECTION_BYTES_MAX) continue;
        first();
        // An answer that is not counted makes no room by being read.
        this.#wake();
      }
    });
  }

  /** Cuts the answers that are not read. */
  #sweep(): void {
    const maxMs = this.unsent.isFull ? ANSWER_UNREAD_WHEN_FULL_MS : ANSWER_UNREAD_MAX_MS;
    const before = this.clock.now() - maxMs;
    while (this.#unread.first && this.#unread.first.value.sinceMs < before) this.#unread.first.value.cut();
    if (this.#unread.first) return;
    this.#sweeping?.cancel();
    this.#sweeping = undefined;
  }

  #connectionOf(name: string): Connection {
    let connection = this.#connections.get(name);
    if (!connection) this.#connections.set(name, (connection = { bytes: 0, waiting: new Set() }));
    return connection;
  }

  #forgetIdle(name: string, connection: Connection): void {
    if (connection.bytes === 0 && connection.waiting.size === 0) this.#connections.delete(name);
  }
}

function unreadAnswers(whose: string): RollcallError {
  return new RollcallError('UNREAD_ANSWERS', `${whose} too many answers that were not read; read them, and call again`);
}
