import { Backoff } from '../base/backoff.js';
import { delay, systemClock } from '../base/clock.js';
import { systemRandom } from '../base/random.js';
import { type RejectedHeartbeat, RejectionReason } from '../gen/rollcall/v1/heartbeat.js';
import { type Instance, type Reported, ReportedState } from '../gen/rollcall/v1/instance.js';
import type { RegisterResponse } from '../gen/rollcall/v1/registry_service.js';
import { Code } from '../model/errors.js';
import { fromDuration } from '../model/time.js';
import { CallError } from './call-error.js';
import type { ServiceCalls } from './calls.js';

/** The deadline of a heartbeat, as the contract proposes. */
const BEAT_MAX_MS = 3_000;
/** Heartbeats are sent so much earlier or later, so that processes that started together do not beat together. */
const JITTER = 0.1;
/** An item to be sent again is sent after this share of the interval. */
const RETRY_SHARE = 0.25;
/** After a failure a call is repeated at once, and after this from the second one on, doubled. */
const RETRY_BASE_MS = 1_000;
/** The tries of a Deregister that reaches no server, and the time between them. */
const DEREGISTER_TRIES = 3;
const DEREGISTER_EVERY_MS = 1_000;
/** The interval until the server has proposed one. */
const FIRST_INTERVAL_MS = 5_000;

/** The instance to register: the fields that matter. */
export type InstanceFields = NonNullable<Parameters<ServiceCalls['registry']['register']>[0]>['instance'];

/**
 * Why a registration is over although its process has not ended it: a rejection of a heartbeat, or REFUSED for a call that
 * failed and cannot be repeated.
 */
export type OverReason = 'SUPERSEDED' | 'DEREGISTERED' | 'NOT_ALLOWED' | 'INVALID' | 'REFUSED';

/** An event in the life of a registration. */
export type RegistrationEvent =
  | {
      readonly kind: 'registered';
      readonly instance: Instance;
      readonly revision: bigint;
      readonly warnings: readonly string[];
    }
  | { readonly kind: 'beat' }
  /** A call failed, and will be repeated. */
  | { readonly kind: 'failed'; readonly error: CallError }
  /** The registration is over, and this process does not serve under the id any more. */
  | { readonly kind: 'over'; readonly reason: OverReason; readonly message: string };

/** The names of an instance and of this run of it, as calls carry them. */
interface Item {
  readonly namespace: string;
  readonly service: string;
  readonly id: string;
  readonly incarnation: string;
}

/** How an instance is kept registered. */
export interface RegistrationOptions {
  /** The incarnation. Default: a fresh one, which is right for a process that has just started. */
  readonly incarnation?: string | undefined;
  /**
   * The record that the first Register may replace; see RegisterRequest. Default: the current one, which the refusal of a
   * first try names, so that a call that was delayed on its way replaces nothing newer.
   */
  readonly replacesRevision?: bigint | undefined;
  readonly onEvent?: ((event: RegistrationEvent) => void) | undefined;
}

/** How a registration is ended. */
export interface CloseOptions {
  /**
   * How long the instance reports DRAINING and goes on with its heartbeats before it is deregistered, in milliseconds: the time
   * that callers need to leave it. Default: 0, which reports it all the same.
   */
  readonly drainMs?: number;
}

/**
 * Keeps one instance registered: registers it, sends heartbeats, and registers it again where the server has forgotten it.
 * `close` deregisters it.
 */
export class Registration {
  readonly incarnation: string;
  readonly #stop = new AbortController();
  #instance: Instance | undefined;
  #reported: Reported | undefined;
  #over: OverReason | undefined;
  #starting: Promise<number | undefined> | undefined;
  #running: Promise<void> | undefined;
  /** Ends the wait for the next heartbeat. */
  #wake = new AbortController();
  #closing: Promise<void> | undefined;

  constructor(
    private readonly calls: Pick<ServiceCalls, 'registry'>,
    private readonly fields: NonNullable<InstanceFields>,
    private readonly options: RegistrationOptions = {},
  ) {
    this.incarnation = options.incarnation ?? systemRandom.id();
  }

  /** The instance as the server stored it; `undefined` until it is registered. */
  get instance(): Instance | undefined {
    return this.#instance;
  }

  /** Registers the instance, and beats from then on. Rejects with a CallError if it is refused; waits while no server answers. */
  async start(): Promise<Instance> {
    this.#starting = this.#registerFirst();
    const interval = await this.#starting;
    if (interval !== undefined && !this.#stop.signal.aborted) {
      this.#running = this.#beat(interval);
      this.#running.catch(() => undefined); // it is an event, and `ended` rejects with it
    }
    return this.#instance!;
  }

  /** Reports another state with a heartbeat that is sent now, and with each later one. */
  report(state: ReportedState, note = ''): void {
    this.#reported = { state, note };
    this.#wake.abort();
  }

  /** Resolves when the registration is over, which `close` brings about. Rejects if the server refuses the instance. */
  async ended(): Promise<void> {
    await this.#running;
  }

  /**
   * Reports DRAINING so that callers leave the instance, goes on with the heartbeats for `drainMs`, and removes the instance
   * with the last call. Nothing is removed where another process has the id by now.
   */
  close(options: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options);
    return this.#closing;
  }

  async #close({ drainMs = 0 }: CloseOptions): Promise<void> {
    if (this.#running && drainMs > 0) {
      this.report(ReportedState.REPORTED_STATE_DRAINING);
      await delay(systemClock, drainMs);
    }
    this.#stop.abort();
    this.#wake.abort();
    await this.#starting?.catch(() => undefined); // it may have registered the instance by now
    await this.#running?.catch(() => undefined);
    if (!this.#instance || this.#over) return;
    const item = this.#item();
    if (drainMs === 0) {
      const reported = { state: ReportedState.REPORTED_STATE_DRAINING, note: '' };
      await this.calls.registry.heartbeat({ instances: [{ ...item, reported }] }).catch((error: unknown) => {
        if (!(error instanceof CallError)) throw error; // the Deregister itself comes next
      });
    }
    await this.#deregister(item);
  }

  /** Removes the instance. Tries a little longer than once: a server that comes back is not connected yet. */
  async #deregister(item: Item): Promise<void> {
    for (let tries = DEREGISTER_TRIES; ;) {
      try {
        await this.calls.registry.deregister(item);
        return;
      } catch (error) {
        if (!(error instanceof CallError)) throw error;
        if (['INSTANCE_NOT_FOUND', 'INCARNATION_MISMATCH'].includes(error.reason)) return;
        if (!error.isPassing || --tries === 0) throw error;
        await delay(systemClock, DEREGISTER_EVERY_MS);
      }
    }
  }

  #item(): Item {
    const { namespace, service, id } = this.#instance!;
    return { namespace, service, id, incarnation: this.incarnation };
  }

  /** Returns the interval of heartbeats; `undefined` if the instance needs none. */
  async #registerFirst(): Promise<number | undefined> {
    const { replacesRevision } = this.options;
    if (replacesRevision !== undefined) return this.#register(replacesRevision);
    // The process that has just started is newer than any record.
    return this.#replace(() => true);
  }

  /** Registers the instance again. A record of another process is newer than this one: the registration is over. */
  async #registerAgain(): Promise<number | undefined> {
    try {
      return await this.#replace(({ metadata }) => metadata.get('state') === 'REMOVED');
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      if (error.reason === 'DEREGISTERED') return this.#end('DEREGISTERED', error.message);
      if (error.reason === 'REVISION_MISMATCH') return this.#end('SUPERSEDED', error.message);
      throw error;
    }
  }

  /** Registers the instance in place of the record that the refusal of the server names, while `mayReplace` agrees. */
  async #replace(mayReplace: (refusal: CallError) => boolean): Promise<number | undefined> {
    for (let standing = 0n; ;) {
      try {
        return await this.#register(standing);
      } catch (error) {
        const isRefusal = error instanceof CallError && error.reason === 'REVISION_MISMATCH';
        if (!isRefusal || !mayReplace(error) || this.#stop.signal.aborted) throw error;
        standing = BigInt(error.metadata.get('revision') ?? '0');
      }
    }
  }

  async #register(replacesRevision: bigint): Promise<number | undefined> {
    const retry = new Retry();
    for (;;) {
      try {
        const { incarnation, fields } = this;
        const instance = { ...fields, ...(this.#reported && { reported: this.#reported }) };
        return this.#registered(await this.calls.registry.register({ incarnation, replacesRevision, instance }));
      } catch (error) {
        if (!(error instanceof CallError) || !error.isPassing || this.#stop.signal.aborted) throw error;
        this.options.onEvent?.({ kind: 'failed', error });
        await delay(systemClock, retry.waitMs(error, FIRST_INTERVAL_MS), this.#stop.signal);
      }
    }
  }

  #registered({ instance, revision, warnings, heartbeatInterval }: RegisterResponse): number | undefined {
    this.#instance = instance!;
    this.options.onEvent?.({ kind: 'registered', instance: instance!, revision, warnings });
    return heartbeatInterval && fromDuration(heartbeatInterval);
  }

  async #beat(first: number): Promise<void> {
    let intervalMs = first;
    let waitMs = intervalMs;
    const retry = new Retry();
    for (;;) {
      await this.#wait(waitMs * (1 - JITTER + 2 * JITTER * systemRandom.fraction()));
      if (this.#stop.signal.aborted) return;
      try {
        const reported = this.#reported && { reported: this.#reported };
        const item = { ...this.#item(), ...reported };
        const answer = await this.calls.registry.heartbeat({ instances: [item] }, { timeoutMs: BEAT_MAX_MS });
        retry.reset();
        if (answer.heartbeatInterval) intervalMs = fromDuration(answer.heartbeatInterval);
        waitMs = await this.#settle(answer.rejected[0], intervalMs);
        if (this.#over) return;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        // A token that was good once is renewed, sooner or later.
        const isLate = error instanceof CallError && (error.isPassing || error.code === Code.UNAUTHENTICATED);
        if (!isLate) {
          this.#end('REFUSED', error instanceof Error ? error.message : String(error));
          throw error;
        }
        this.options.onEvent?.({ kind: 'failed', error });
        waitMs = retry.waitMs(error, intervalMs);
      }
    }
  }

  /** Does what a rejection asks for. Returns the milliseconds until the next heartbeat. */
  async #settle(rejected: RejectedHeartbeat | undefined, intervalMs: number): Promise<number> {
    switch (rejected?.reason) {
      case undefined:
        this.options.onEvent?.({ kind: 'beat' });
        return intervalMs;
      case RejectionReason.REJECTION_REASON_NOT_REGISTERED:
        return (await this.#registerAgain()) ?? intervalMs;
      case RejectionReason.REJECTION_REASON_SUPERSEDED:
        return this.#end('SUPERSEDED', rejected.message);
      case RejectionReason.REJECTION_REASON_DEREGISTERED:
        return this.#end('DEREGISTERED', rejected.message);
      case RejectionReason.REJECTION_REASON_NOT_ALLOWED:
        return this.#end('NOT_ALLOWED', rejected.message);
      case RejectionReason.REJECTION_REASON_INVALID:
        return this.#end('INVALID', rejected.message);
      default: // RETRY, and reasons that this client does not know
        return intervalMs * RETRY_SHARE;
    }
  }

  #end(reason: OverReason, message: string): number {
    this.#over = reason;
    this.options.onEvent?.({ kind: 'over', reason, message });
    return 0;
  }

  /** Waits for the next heartbeat, or until it is needed now. */
  async #wait(ms: number): Promise<void> {
    await delay(systemClock, ms, this.#wake.signal);
    if (this.#wake.signal.aborted) this.#wake = new AbortController();
  }
}

/** The waits after failures: none after the first, then with full jitter up to the interval of heartbeats. */
class Retry {
  #failures = 0;
  readonly #backoff = new Backoff(systemRandom, RETRY_BASE_MS, Infinity);

  waitMs({ retryAfterMs = 0 }: CallError, intervalMs: number): number {
    const ms = this.#failures++ === 0 ? 0 : Math.max(this.#backoff.nextMs(), retryAfterMs);
    return Math.min(ms, intervalMs);
  }

  reset(): void {
    this.#failures = 0;
    this.#backoff.reset();
  }
}
