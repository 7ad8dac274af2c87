import { Backoff } from '../base/backoff.js';
import { delay, systemClock } from '../base/clock.js';
import { systemRandom } from '../base/random.js';
import { type RejectedHeartbeat, RejectionReason } from '../gen/rollcall/v1/heartbeat.js';
import { type Instance, type Reported, ReportedState } from '../gen/rollcall/v1/instance.js';
import type { RegisterRequest } from '../gen/rollcall/v1/registry_service.js';
import { Code } from '../model/errors.js';
import { fromDuration } from '../model/time.js';
import { CallError } from './call-error.js';
import type { Client } from './client.js';

/** The deadline of a heartbeat, as the contract proposes. */
const BEAT_MAX_MS = 3_000;
/** Heartbeats are sent so much earlier or later, so that processes that started together do not beat together. */
const JITTER = 0.1;
/** An item to be sent again is sent after this share of the interval. */
const RETRY_SHARE = 0.25;
const RETRY_BASE_MS = 1_000;
/** A third of the longest ttl. */
const RETRY_MAX_MS = 200_000;

/** The instance to register: the fields that matter. */
export type InstanceFields = NonNullable<Parameters<Client['registry']['register']>[0]>['instance'];

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
  /** The registration is over: another process has the id, or somebody deregistered this one. */
  | { readonly kind: 'over'; readonly reason: 'SUPERSEDED' | 'DEREGISTERED' | 'NOT_ALLOWED'; readonly message: string };

/** How an instance is kept registered. */
export interface RegistrationOptions {
  /** The incarnation. Default: a fresh one, which is right for a process that has just started. */
  readonly incarnation?: string | undefined;
  /** The record that may be replaced; see RegisterRequest. */
  readonly replacesRevision?: bigint | undefined;
  readonly onEvent?: (event: RegistrationEvent) => void;
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
  #isOver = false;
  #starting: Promise<number | undefined> | undefined;
  #running: Promise<void> | undefined;

  constructor(
    private readonly client: Client,
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
    this.#starting = this.#register();
    const interval = await this.#starting;
    if (interval !== undefined && !this.#stop.signal.aborted) this.#running = this.#beat(interval);
    return this.#instance!;
  }

  /** Reports another state from the next heartbeat on, such as DRAINING. */
  report(reported: Reported): void {
    this.#reported = reported;
  }

  /** Resolves when the registration is over, which `close` brings about. Rejects if the server refuses the instance. */
  async ended(): Promise<void> {
    await this.#running;
  }

  /**
   * Stops the heartbeats, reports DRAINING so that clients leave the instance, and removes it. Nothing happens where another
   * process has the id by now.
   */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#starting?.catch(() => undefined); // it may have registered the instance by now
    await this.#running?.catch(() => undefined);
    if (!this.#instance || this.#isOver) return;
    const { namespace, service, id } = this.#instance;
    const { incarnation } = this;
    this.#isOver = true;
    try {
      const reported = { state: ReportedState.REPORTED_STATE_DRAINING, note: '' };
      await this.client.registry.heartbeat({ instances: [{ namespace, service, id, incarnation, reported }] });
    } catch (error) {
      if (!(error instanceof CallError)) throw error; // the Deregister itself comes next
    }
    try {
      await this.client.registry.deregister({ namespace, service, id, incarnation });
    } catch (error) {
      const isGone =
        error instanceof CallError && ['INSTANCE_NOT_FOUND', 'INCARNATION_MISMATCH'].includes(error.reason);
      if (!isGone) throw error;
    }
  }

  /** Returns the interval of heartbeats; `undefined` if the instance needs none. */
  async #register(): Promise<number | undefined> {
    const backoff = new Backoff(systemRandom, RETRY_BASE_MS, RETRY_MAX_MS);
    const request: Partial<RegisterRequest> = { incarnation: this.incarnation };
    if (this.options.replacesRevision !== undefined && !this.#instance)
      request.replacesRevision = this.options.replacesRevision;
    for (;;) {
      try {
        const answer = await this.client.registry.register({ ...request, instance: this.fields });
        const { instance, revision, warnings, heartbeatInterval } = answer;
        this.#instance = instance!;
        this.options.onEvent?.({ kind: 'registered', instance: instance!, revision, warnings });
        return heartbeatInterval && fromDuration(heartbeatInterval);
      } catch (error) {
        if (!(error instanceof CallError) || !error.isPassing || this.#stop.signal.aborted) throw error;
        this.options.onEvent?.({ kind: 'failed', error });
        await this.#wait(Math.max(backoff.nextMs(), error.retryAfterMs ?? 0));
      }
    }
  }

  async #beat(first: number): Promise<void> {
    let intervalMs = first;
    const backoff = new Backoff(systemRandom, RETRY_BASE_MS, RETRY_MAX_MS);
    let waitMs = intervalMs;
    for (;;) {
      await this.#wait(waitMs * (1 - JITTER + 2 * JITTER * systemRandom.fraction()));
      if (this.#stop.signal.aborted) return;
      try {
        const { namespace, service, id } = this.#instance!;
        const item = { namespace, service, id, incarnation: this.incarnation };
        const reported = this.#reported && { reported: this.#reported };
        const answer = await this.client.registry.heartbeat(
          { instances: [{ ...item, ...reported }] },
          { timeoutMs: BEAT_MAX_MS },
        );
        backoff.reset();
        if (answer.heartbeatInterval) intervalMs = fromDuration(answer.heartbeatInterval);
        waitMs = await this.#settle(answer.rejected[0], intervalMs);
        if (this.#isOver) return;
      } catch (error) {
        if (!(error instanceof CallError) || error.code === Code.UNAUTHENTICATED) throw error;
        this.options.onEvent?.({ kind: 'failed', error });
        waitMs = Math.min(Math.max(backoff.nextMs(), error.retryAfterMs ?? 0), intervalMs);
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
        return (await this.#register()) ?? intervalMs;
      case RejectionReason.REJECTION_REASON_SUPERSEDED:
        return this.#over('SUPERSEDED', rejected);
      case RejectionReason.REJECTION_REASON_DEREGISTERED:
        return this.#over('DEREGISTERED', rejected);
      case RejectionReason.REJECTION_REASON_NOT_ALLOWED:
        return this.#over('NOT_ALLOWED', rejected);
      default: // RETRY, and reasons that this client does not know
        return intervalMs * RETRY_SHARE;
    }
  }

  #over(reason: 'SUPERSEDED' | 'DEREGISTERED' | 'NOT_ALLOWED', { message }: RejectedHeartbeat): number {
    this.#isOver = true;
    this.options.onEvent?.({ kind: 'over', reason, message });
    return 0;
  }

  #wait(ms: number): Promise<void> {
    return delay(systemClock, ms, this.#stop.signal);
  }
}
