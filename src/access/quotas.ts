import type { Clock } from '../base/clock.js';
import { RollcallError } from '../model/errors.js';

/** The limits of one caller, or of one address. A number that is not set is no limit. */
export interface Limits {
  /** Calls apart from heartbeats, a second. */
  readonly callsPerSecond?: number | undefined;
  /** Items of heartbeats a second. */
  readonly beatsPerSecond?: number | undefined;
  /** Open watches. */
  readonly watches?: number | undefined;
}

/** Callers that are counted at a time. Each costs about 200 bytes. The one that came first is forgotten first. */
const CALLERS_MAX = 10_000;
/** A caller that was quiet may make the calls of this many seconds at once: clients come together after an outage. */
const BURST_S = 2;

/** Waits are said in steps, so that the refusals of a moment are one error: see KeptRefusal. */
const WAIT_STEP_MS = 10;

/** The last refusal, thrown again while it is the same: a flood of refusals costs little, see toFailure. */
class KeptRefusal {
  #last: RollcallError | undefined;

  /** The refusal with this text and this wait. */
  of(message: string, retryAfterMs: number, metadata: Record<string, string> = {}): RollcallError {
    const last = this.#last;
    if (last?.message === message && last.retryAfterMs === retryAfterMs) return last;
    return (this.#last = Object.freeze(new RollcallError('RATE_LIMITED', message, { metadata, retryAfterMs })));
  }
}

/** An allowance that grows with time up to a bound: a token bucket. */
class Allowance {
  #left = Infinity; // full at first
  #atMs: number;

  constructor(private readonly clock: Clock) {
    this.#atMs = clock.now();
  }

  /**
   * Takes `n` and returns 0, or takes nothing and returns the milliseconds until there is enough. More than a burst at once is
   * taken from a full allowance, and later calls wait for it.
   */
  take(n: number, perSecond: number): number {
    const ms = this.waitMs(n, perSecond);
    if (ms === 0) this.#left -= n;
    return ms;
  }

  /** Takes `n`, also if there is not enough: later calls wait for it. */
  charge(n: number, perSecond: number): void {
    this.waitMs(n, perSecond);
    this.#left -= n;
  }

  /** The milliseconds until `n` can be taken, a multiple of WAIT_STEP_MS. */
  waitMs(n: number, perSecond: number): number {
    const now = this.clock.now();
    const most = Math.max(perSecond * BURST_S, 1);
    this.#left = Math.min(this.#left + ((now - this.#atMs) / 1_000) * perSecond, most);
    this.#atMs = now;
    const seconds = (Math.min(n, most) - this.#left) / perSecond;
    return Math.max(Math.ceil((seconds * 1_000) / WAIT_STEP_MS) * WAIT_STEP_MS, 0);
  }
}

/** The limits of one caller, and the part of them that it has used. */
export class Quota {
  readonly #calls: Allowance;
  readonly #beats: Allowance;
  readonly #refusal = new KeptRefusal();
  #watches = 0;

  constructor(
    private readonly name: string,
    clock: Clock,
    public limits: Limits,
  ) {
    this.#calls = new Allowance(clock);
    this.#beats = new Allowance(clock);
  }

  /** Counts a call, or one that costs as much as several. Throws RATE_LIMITED. */
  takeCall(weight = 1): void {
    const { callsPerSecond: limit } = this.limits;
    if (limit !== undefined) this.#refuseFor(this.#calls.take(weight, limit), `${limit} calls a second`);
  }

  /** Counts items of a heartbeat. Throws RATE_LIMITED. */
  takeBeats(count: number): void {
    const { beatsPerSecond: limit } = this.limits;
    if (limit !== undefined) this.#refuseFor(this.#beats.take(count, limit), `${limit} heartbeats a second`);
  }

  /** Throws RATE_LIMITED if not even one item of a heartbeat is left. */
  assertBeats(): void {
    const { beatsPerSecond: limit } = this.limits;
    if (limit !== undefined) this.#refuseFor(this.#beats.waitMs(1, limit), `${limit} heartbeats a second`);
  }

  /** Counts a heartbeat whose items could not be counted as one item. */
  chargeBeat(): void {
    const { beatsPerSecond: limit } = this.limits;
    if (limit !== undefined) this.#beats.charge(1, limit);
  }

  /** Counts a watch until `closeWatch`. Throws RATE_LIMITED. */
  openWatch(): void {
    const { watches: limit } = this.limits;
    if (limit !== undefined && this.#watches >= limit) this.#refuseFor(WATCH_RETRY_MS, `${limit} open watches`);
    this.#watches++;
  }

  closeWatch(): void {
    this.#watches--;
  }

  /** True if nothing is open, so that the caller can be forgotten. */
  get isIdle(): boolean {
    return this.#watches === 0;
  }

  #refuseFor(ms: number, limit: string): void {
    if (ms === 0) return;
    const metadata = { principal: this.name, limit };
    throw this.#refusal.of(`${this.name} may have up to ${limit}`, ms, metadata);
  }
}

/** When a caller with too many watches may try again: it has to close one first. */
const WATCH_RETRY_MS = 5_000;

/** The quotas of all callers of a server. */
export class Quotas {
  readonly #byName = new Map<string, Quota>();

  constructor(private readonly clock: Clock) {}

  /** The quota of a caller, with the limits of this moment. `undefined` if it has none. */
  of(name: string, limits: Limits | undefined): Quota | undefined {
    if (!limits) return undefined;
    let quota = this.#byName.get(name);
    if (!quota) {
      if (this.#byName.size >= CALLERS_MAX) this.#forgetOne();
      this.#byName.set(name, (quota = new Quota(name, this.clock, limits)));
    }
    quota.limits = limits;
    return quota;
  }

  #forgetOne(): void {
    for (const [name, quota] of this.#byName) {
      if (!quota.isIdle) continue;
      this.#byName.delete(name);
      return;
    }
  }
}

/** Signatures that turn out wrong: this many at once from one address, and half of it a second after them. */
const FAILED_LOGINS = 20;
const FAILED_LOGINS_PER_SECOND = FAILED_LOGINS / BURST_S;
/** Signatures of one address that are verified at a time: all services behind one address may start together. */
const VERIFYING_MAX = 500;

/** The signatures of one address. */
interface Logins {
  readonly allowance: Allowance;
  verifying: number;
}

/** Bounds the signatures that are verified in vain for one address. A credential that is known already is not counted. */
export class FailedLogins {
  readonly #byAddress = new Map<string, Logins>();
  readonly #refusal = new KeptRefusal();

  constructor(private readonly clock: Clock) {}

  /** Counts a signature that is to be verified, until `end`. Throws RATE_LIMITED if too many were wrong a moment ago. */
  begin(address: string): void {
    const logins = this.#of(address);
    const ms =
      logins.verifying < VERIFYING_MAX ? logins.allowance.waitMs(1, FAILED_LOGINS_PER_SECOND) : VERIFYING_RETRY_MS;
    if (ms > 0) throw this.#refusal.of('too many tokens from this address were refused', ms);
    logins.verifying++;
  }

  /** Counts a signature that was verified. */
  end(address: string, isWrong: boolean): void {
    const logins = this.#of(address);
    logins.verifying = Math.max(logins.verifying - 1, 0);
    if (isWrong) logins.allowance.charge(1, FAILED_LOGINS_PER_SECOND);
  }

  #of(address: string): Logins {
    let logins = this.#byAddress.get(address);
    if (!logins) {
      const [oldest] = this.#byAddress.keys();
      if (this.#byAddress.size >= CALLERS_MAX) this.#byAddress.delete(oldest!);
      this.#byAddress.set(address, (logins = { allowance: new Allowance(this.clock), verifying: 0 }));
    }
    return logins;
  }
}

/** When an address with too many signatures at a time may try again: each takes less than a millisecond. */
const VERIFYING_RETRY_MS = 200;
