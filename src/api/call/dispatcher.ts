import type { Clock } from '../../base/clock.js';
import type { Random } from '../../base/random.js';
import type { Telemetry } from '../../base/telemetry.js';
import { RollcallError } from '../../model/errors.js';
import type { Call } from './call.js';
import { CallStats } from './call-stats.js';
import { deadlinePassed, leftMsOf } from './deadline.js';
import { type Failure, toFailure } from './failure.js';
import { type Admit, type Gate, inOrder } from './gates.js';
import { type Encoded, sizeOf } from './message.js';
import type { BidiStreamMethod, ServerStreamMethod, UnaryMethod } from './method.js';
import type { Sink, StreamTransport } from './sink.js';
import { Streams } from './streams.js';
import { UnreadAnswers } from './unread-answers.js';
import { UnsentBytes } from './unsent-bytes.js';

/** A unary call is given up after this: longer than any wait inside the server, shorter than a client's patience. */
const UNARY_MAX_MS = 10_000;

/** Notified when a call has ended. It must not throw. `failure` is `undefined` if the call succeeded. */
export interface CallObserver {
  ended(call: Call, failure: Failure | undefined): void;
  /** Notified when one request of a stream of requests was answered. */
  answered?(call: Call): void;
}

/** Receives the answer of a unary call. Exactly one of the two parameters is `undefined`. */
export type Answer = (failure: Failure | undefined, response: Encoded | undefined) => void;

/** The dependencies of a Dispatcher. */
export interface DispatcherParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
  /** The least age at which a stream is ended. */
  readonly streamAgeMs: number;
  /** The gates that know the caller, in the order in which they are asked: before the request is read, if the edge can. */
  readonly gates: readonly Gate[];
  readonly observers: readonly CallObserver[];
}

/**
 * Runs every call of every edge: gates before it, a bound on its time, one way to report errors, observers after it.
 *
 * A unary call that waits for nothing is answered in the same turn, without a promise: Heartbeat and Discover are the hot
 * paths.
 */
export class Dispatcher {
  /** The bytes that clients have not read yet, of watches and answers together. */
  readonly unsent = new UnsentBytes();
  /** The answers among it. An edge reports each answer that it writes. */
  readonly unread: UnreadAnswers;
  /** The numbers of all calls. */
  readonly stats = new CallStats();
  readonly #ask: Admit;
  /** Asked when the request is there: the room that a call needs is taken when it begins. */
  readonly #enter: Admit;
  readonly #streams: Streams;
  #draining = false;

  constructor(private readonly parts: DispatcherParts) {
    this.#streams = new Streams({
      ...parts,
      stats: this.stats,
      toFailure: (error) => this.#toFailure(error),
      onEnded: (call, failure) => this.#observe(call, failure),
    });
    this.unread = new UnreadAnswers(parts.clock, this.unsent);
    this.#ask = inOrder([this.#drainingGate(), ...parts.gates]);
    this.#enter = inOrder([this.#roomGate(), this.unread]);
  }

  /** The number of open streams. */
  get openStreams(): number {
    return this.#streams.size;
  }

  /**
   * Admits a call: the gates that know the caller are asked. Throws, or rejects, if one refuses it. An edge that asks when the headers have arrived
   * does not read the request of a call that is refused at once. It hands on what it was given, so that none is asked twice.
   */
  admit(call: Call): Promise<void> | undefined {
    const admitted = this.#ask(call);
    admitted?.catch(ignore); // the request may never arrive, so that no one waits for this
    return admitted;
  }

  /** Runs a unary call. `admit` is given if the edge has asked the gates already. */
  unary(
    method: UnaryMethod,
    request: Uint8Array,
    call: Call,
    answer: Answer,
    admit: () => Promise<void> | undefined = () => this.admit(call),
  ): void {
    const beganMs = this.parts.clock.now();
    this.stats.started(call);
    const span = this.parts.telemetry.tracer?.call(call);
    if (!span) return this.#unary(method, request, call, admit, beganMs, answer);
    const ended: Answer = (failure, response) => {
      span.end(failure?.error);
      answer(failure, response);
    };
    span.run(() => this.#unary(method, request, call, admit, beganMs, ended));
  }

  /** Waits until a call whose request has arrived may begin. Returns `undefined` if that is at once. */
  #ready(call: Call, admit: () => Promise<void> | undefined): Promise<void> | undefined {
    const admitted = admit();
    return admitted ? admitted.then(() => this.#enter(call)) : this.#enter(call);
  }

  #unary(
    method: UnaryMethod,
    request: Uint8Array,
    call: Call,
    admit: () => Promise<void> | undefined,
    beganMs: number,
    answer: Answer,
  ): void {
    try {
      const ready = this.#ready(call, admit);
      const response = ready
        ? ready.then(() => {
            // The caller has its answer already: nothing must happen behind its back.
            if (call.signal.aborted) throw deadlinePassed();
            return method.invoke(request, call);
          })
        : method.invoke(request, call);
      if (response instanceof Promise) this.#answerLater(response, call, beganMs, answer);
      else this.#answer(call, beganMs, undefined, response, answer);
    } catch (error) {
      this.#answer(call, beganMs, this.#toFailure(error), undefined, answer);
    }
  }

  /** Runs a server-streaming call until its stream ends. `admit` is given if the edge has asked the gates already. */
  serverStream(
    method: ServerStreamMethod,
    request: Uint8Array,
    call: Call,
    transport: StreamTransport,
    admit: () => Promise<void> | undefined = () => this.admit(call),
  ): void {
    this.#open(call, transport, (sink) => {
      try {
        const ready = this.#ready(call, admit);
        if (!ready) return method.invoke(request, call, sink);
        ready
          .then(() => (sink.ended ? undefined : method.invoke(request, call, sink)))
          .catch((error: unknown) => sink.fail(error));
      } catch (error) {
        sink.fail(error);
      }
    });
  }

  /** Admits and runs a bidirectional call: each response is taken by the network before the next request is read. */
  bidiStream(
    method: BidiStreamMethod,
    requests: AsyncIterable<Uint8Array>,
    call: Call,
    transport: StreamTransport,
  ): void {
    this.#open(call, transport, (sink) => {
      void this.#answerInOrder(method, requests, call, sink).then(
        () => sink.complete(),
        (error: unknown) => sink.fail(error),
      );
    });
  }

  /** Reports the failure of a call that was not admitted, or whose request could not be read, and returns it. */
  refuse(call: Call, error: unknown): Failure {
    const failure = this.#toFailure(error);
    this.stats.refused(call, failure);
    this.#observe(call, failure);
    return failure;
  }

  /** Reports that something else than a method was refused, and returns the failure. */
  refuseElsewhere(call: Call, error: unknown): Failure {
    const failure = this.#toFailure(error);
    this.#observe(call, failure);
    return failure;
  }

  /** Asks again about every open stream, in turns: the rights of callers have changed. Those refused now are ended. */
  askAgain(): void {
    this.#streams.askAgain();
  }

  /** Ends every open stream, and refuses every further one. */
  drain(): void {
    this.#draining = true;
    this.#streams.failAll(shuttingDown());
  }

  async #answerInOrder(
    method: BidiStreamMethod,
    requests: AsyncIterable<Uint8Array>,
    call: Call,
    sink: Sink,
  ): Promise<void> {
    await this.#ready(call, () => this.admit(call));
    for await (const response of method.invoke(this.#counted(requests, call), call)) {
      if (sink.ended) return;
      for (const observer of this.parts.observers) observer.answered?.(call);
      await sink.send(response);
    }
  }

  /** Opens the sending half of a stream, and calls `begin` with it. */
  #open(call: Call, transport: StreamTransport, begin: (sink: Sink) => void): void {
    const stream = this.#streams.open(call, transport);
    const span = this.parts.telemetry.tracer?.call(call);
    if (!span) return begin(stream.sink);
    stream.sink.onEnd(() => span.end(stream.failure?.error));
    span.run(() => begin(stream.sink));
  }

  async *#counted(requests: AsyncIterable<Uint8Array>, call: Call): AsyncGenerator<Uint8Array> {
    for await (const request of requests) {
      this.stats.received(call);
      yield request;
    }
  }

  #answerLater(response: Promise<Encoded>, call: Call, beganMs: number, answer: Answer): void {
    let open = true;
    const close = (failure: Failure | undefined, message: Encoded | undefined): void => {
      if (!open) return;
      open = false;
      timer.cancel();
      this.#answer(call, beganMs, failure, message, answer);
    };
    const { clock } = this.parts;
    const leftMs = leftMsOf(call, clock);
    const [ms, error] = leftMs < UNARY_MAX_MS ? [leftMs, deadlinePassed] : [UNARY_MAX_MS, timedOut];
    const timer = clock.after(ms, () => close(this.#toFailure(error()), undefined));
    response.then(
      (message) => {
        const refusal = this.unread.refusalOf(call, sizeOf(message));
        if (refusal) close(this.#toFailure(refusal), undefined);
        else close(undefined, message);
      },
      (error: unknown) => open && close(this.#toFailure(error), undefined),
    );
  }

  #answer(
    call: Call,
    beganMs: number,
    failure: Failure | undefined,
    response: Encoded | undefined,
    answer: Answer,
  ): void {
    this.stats.answered(call, failure, this.parts.clock.now() - beganMs);
    this.#observe(call, failure);
    answer(failure, response);
  }

  #observe(call: Call, failure: Failure | undefined): void {
    for (const observer of this.parts.observers) observer.ended(call, failure);
  }

  #toFailure(error: unknown): Failure {
    return toFailure(error, this.parts.telemetry.log, this.parts.random);
  }

  /** Unary calls in flight may finish while the server shuts down; a stream would never end by itself. */
  #drainingGate(): Gate {
    return {
      name: 'draining',
      admit: ({ method }) => {
        if (this.#draining && method.kind !== 'UNARY') throw shuttingDown();
        return undefined;
      },
    };
  }

  /** One connection has room for unary calls, however many streams its client opens. */
  #roomGate(): Gate {
    return {
      name: 'room for streams',
      admit: (call) => {
        if (call.method.kind !== 'UNARY') this.#streams.assertRoom(call);
        return undefined;
      },
    };
  }
}

const ignore = (): void => undefined;

function timedOut(): RollcallError {
  return new RollcallError('TIMED_OUT', 'the server ended the call after 10 s; a write may have happened or not');
}

function shuttingDown(): RollcallError {
  return new RollcallError('SHUTTING_DOWN', 'the server is shutting down');
}
