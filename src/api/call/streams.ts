import type { Clock } from '../../base/clock.js';
import type { Random } from '../../base/random.js';
import { RollcallError } from '../../model/errors.js';
import { LIMITS } from '../../model/limits.js';
import type { Call } from './call.js';
import { deadlinePassed, leftMsOf } from './deadline.js';
import type { Failure } from './failure.js';
import { Sink, type StreamTransport } from './sink.js';

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

/** The dependencies of Streams. */
export interface StreamsParts {
  readonly clock: Clock;
  readonly random: Random;
  /** The least age at which a stream is ended. */
  readonly streamAgeMs: number;
}

/**
 * The open streams of every edge. Each is ended at an age, before a proxy or the transport cuts it without a reason. One
 * connection can have STREAMS_PER_CONNECTION of them, so that its unary calls never wait behind streams.
 */
export class Streams {
  readonly #open = new Set<Sink>();
  readonly #byConnection = new Map<string, number>();

  constructor(private readonly parts: StreamsParts) {}

  /** The number of open streams. */
  get size(): number {
    return this.#open.size;
  }

  /** Opens the sending half of a call, until it ends in whatever way. */
  open(call: Call, transport: StreamTransport, toFailure: (error: unknown) => Failure, onSent: () => void): Sink {
    const { connection } = call;
    const { clock, random, streamAgeMs } = this.parts;
    const sink = new Sink(transport, toFailure, onSent);
    const ageMs = streamAgeMs * (1 + STREAM_AGE_SPREAD * random.fraction());
    // In whole seconds: timers of the same length share a list, however many there are.
    const endMs = Math.ceil(ageMs / 1_000) * 1_000;
    const leftMs = leftMsOf(call, clock);
    const timer =
      leftMs < endMs
        ? clock.after(leftMs, () => sink.fail(deadlinePassed()))
        : clock.after(endMs, () => sink.fail(agedOut(streamAgeMs)));
    this.#open.add(sink);
    this.#byConnection.set(connection, this.#countOf(connection) + 1);
    sink.onEnd(() => {
      timer.cancel();
      this.#open.delete(sink);
    });
    // A stream whose last bytes wait for a reader still takes one of the connection's places.
    sink.onRelease(() => {
      const left = this.#countOf(connection) - 1;
      if (left > 0) this.#byConnection.set(connection, left);
      else this.#byConnection.delete(connection);
    });
    return sink;
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
    for (const sink of [...this.#open]) sink.fail(error);
  }

  #countOf(connection: string): number {
    return this.#byConnection.get(connection) ?? 0;
  }
}

function agedOut(streamAgeMs: number): RollcallError {
  const message = `the stream is older than ${streamAgeMs / 1_000} s, which is as old as streams become; call again`;
  return new RollcallError('STREAM_AGE', message, { retryAfterMs: RETRY_AFTER_AGE_MS });
}
