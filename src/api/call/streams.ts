import type { Clock, Timer } from '../../base/clock.js';
import type { Random } from '../../base/random.js';
import { RollcallError } from '../../model/errors.js';
import { LIMITS } from '../../model/limits.js';
import type { Call } from './call.js';
import type { CallStats } from './call-stats.js';
import { deadlinePassed, leftMsOf } from './deadline.js';
import type { Failure } from './failure.js';
import { Sink, type StreamOwner, type StreamTransport } from './sink.js';

/** A stream lives this much longer than its age at most, so that streams that began together do not end together. */
export const STREAM_AGE_SPREAD = 0.25;

/**
 * How long the reader of a stream that this server ended has to take the last bytes and the status, before the edge cuts
 * the stream: a client that reads nothing would keep them for ever. Over 1 Mbit/s 1.2 MB arrive in this time, and a
 * stream leaves at most 256 KiB and one part unsent.
 */
export const LAST_BYTES_MAX_MS = 10_000;

/** A stream that has reached its age asks for the next one soon: its client was served well until now. */
const RETRY_AFTER_AGE_MS = 200;

/** How often streams that have reached their age are looked for. */
const SWEEP_MS = 1_000;

/** How often the rules of all streams are asked again: a credential ends without an event. */
const ASK_AGAIN_MS = 5_000;
/** The rules of streams are asked for this long before other work gets a turn, so that no heartbeat waits. */
const TURN_MS = 5;

/** The dependencies of Streams. */
export interface StreamsParts {
  readonly clock: Clock;
  readonly random: Random;
  /** The least age at which a stream is ended. */
  readonly streamAgeMs: number;
  readonly stats: CallStats;
  readonly toFailure: (error: unknown) => Failure;
  /** Called when the call of a stream has ended; `failure` is `undefined` if it did not fail. */
  readonly onEnded: (call: Call, failure: Failure | undefined) => void;
}

/** One open stream: the owner of its sink. A server has thousands, so each is one object and needs no function of its own. */
export class OpenStream implements StreamOwner {
  readonly sink: Sink;
  /** Why this server ended the stream, if it failed. */
  failure: Failure | undefined;
  /** The connection: a call whose client has gone may not know it any more. */
  readonly connection: string;
  /** Ends the stream at the deadline of its call, if that comes before its age. */
  deadline: Timer | undefined;

  constructor(
    readonly call: Call,
    transport: StreamTransport,
    private readonly streams: Streams,
    /** The sweep at which the stream is too old. */
    readonly lastSweep: number,
  ) {
    this.connection = call.connection;
    this.sink = new Sink(transport, this);
  }

  toFailure(error: unknown): Failure {
    this.failure = this.streams.parts.toFailure(error);
    return this.failure;
  }

  sent(): void {
    this.streams.parts.stats.sent(this.call);
  }

  ended(): void {
    this.streams.ended(this);
  }

  released(): void {
    this.streams.released(this);
  }
}

/**
 * The open streams of every edge. Each is ended at an age, before a proxy or the transport cuts it without a reason. One
 * connection can have STREAMS_PER_CONNECTION of them, so that its unary calls never wait behind streams.
 */
export class Streams {
  /** The open streams by the sweep that ends them: a timer for each would cost more memory. */
  readonly #byLastSweep = new Map<number, Set<OpenStream>>();
  readonly #byConnection = new Map<string, number>();
  #size = 0;
  #askedMs = -Infinity;
  /** The streams that are still to be asked about; `undefined` if none are. */
  #asking: Iterator<OpenStream> | undefined;
  #sweeping: Timer | undefined;

  constructor(readonly parts: StreamsParts) {}

  /** The number of open streams. */
  get size(): number {
    return this.#size;
  }

  /** Opens the sending half of a call, until it ends in whatever way. */
  open(call: Call, transport: StreamTransport): OpenStream {
    const { clock, random, streamAgeMs, stats } = this.parts;
    stats.started(call);
    const ageMs = streamAgeMs * (1 + STREAM_AGE_SPREAD * random.fraction());
    const stream = new OpenStream(call, transport, this, Math.ceil((clock.now() + ageMs) / SWEEP_MS));
    const leftMs = leftMsOf(call, clock);
    if (leftMs < ageMs) stream.deadline = clock.after(leftMs, () => stream.sink.fail(deadlinePassed()));
    const together = this.#byLastSweep.get(stream.lastSweep);
    if (together) together.add(stream);
    else this.#byLastSweep.set(stream.lastSweep, new Set([stream]));
    this.#size++;
    this.#byConnection.set(stream.connection, this.#countOf(stream.connection) + 1);
    this.#sweeping ??= clock.every(SWEEP_MS, () => this.#sweep());
    return stream;
  }

  /** Forgets a stream that has ended. */
  ended(stream: OpenStream): void {
    const { call, sink, failure, deadline, lastSweep } = stream;
    deadline?.cancel();
    const together = this.#byLastSweep.get(lastSweep);
    together?.delete(stream);
    if (together?.size === 0) this.#byLastSweep.delete(lastSweep);
    this.#size--;
    if (this.#size === 0) {
      this.#sweeping?.cancel();
      this.#sweeping = undefined;
    }
    this.parts.stats.streamEnded(call, failure ?? (sink.completed ? 'OK' : 'CANCELLED'));
    this.parts.onEnded(call, failure);
  }

  /** Frees the place of a stream: one whose last bytes wait for a reader still takes one of its connection's places. */
  released({ connection }: OpenStream): void {
    const left = this.#countOf(connection) - 1;
    if (left > 0) this.#byConnection.set(connection, left);
    else this.#byConnection.delete(connection);
  }

  /** Throws if the connection of a stream that was just opened has too many. */
  assertRoom({ connection }: Call): void {
    const limit = LIMITS.STREAMS_PER_CONNECTION.value;
    if (this.#countOf(connection) <= limit) return;
    const advice = 'watch several services in one call, or open another channel';
    throw new RollcallError('TOO_MANY_WATCHES', `the connection has ${limit} open streams already; ${advice}`);
  }

  /** Ends every open stream with an error. */
  failAll(error: RollcallError): void {
    for (const { sink } of this.#all()) sink.fail(error);
  }

  /** Asks the rules of all open streams again, in turns, and ends the streams that they refuse. */
  askAgain(): void {
    this.#askedMs = this.parts.clock.now();
    const isRunning = this.#asking !== undefined;
    this.#asking = this.#all().values(); // begun again: the streams before were asked by older rules
    if (!isRunning) this.#askSome();
  }

  #askSome(): void {
    const { clock } = this.parts;
    const until = clock.now() + TURN_MS;
    for (let next = this.#asking!.next(); !next.done; next = this.#asking!.next()) {
      const { call, sink } = next.value;
      try {
        call.principal.rights();
        sink.askAgain?.();
      } catch (error) {
        sink.fail(error);
      }
      if (clock.now() >= until) return void setImmediate(() => this.#askSome());
    }
    this.#asking = undefined;
  }

  #all(): OpenStream[] {
    return [...this.#byLastSweep.values()].flatMap((together) => [...together]);
  }

  /** Ends the streams that have reached their age. */
  #sweep(): void {
    const { clock, streamAgeMs } = this.parts;
    const sweep = Math.floor(clock.now() / SWEEP_MS);
    const old = [...this.#byLastSweep]
      .filter(([lastSweep]) => lastSweep <= sweep)
      .flatMap(([, streams]) => [...streams]);
    for (const { sink } of old) sink.fail(agedOut(streamAgeMs));
    if (clock.now() - this.#askedMs >= ASK_AGAIN_MS) this.askAgain();
  }

  #countOf(connection: string): number {
    return this.#byConnection.get(connection) ?? 0;
  }
}

function agedOut(streamAgeMs: number): RollcallError {
  const message = `the stream is older than ${streamAgeMs / 1_000} s, which is as old as streams become; call again`;
  return new RollcallError('STREAM_AGE', message, { retryAfterMs: RETRY_AFTER_AGE_MS });
}
