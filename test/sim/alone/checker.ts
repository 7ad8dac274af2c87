import { type Call, type Changes, Checker, type Death, listed } from '../checker.js';
import type { Decision } from '../protection-checker.js';
import { isLiveOf, type Standing } from '../records.js';

const E5_MS = 300;
/** What is found at a start has this long to be heard, before its ttl begins. */
const GRACE_MS = 30_000;

/** Holds what one server did against what was promised. */
export class AloneChecker extends Checker {
  /** When the server acknowledged a beat or a Register of an incarnation: received, answered. */
  readonly #acks = new Map<string, { received: number; answered: number }[]>();
  /** When the world was not well: crashes, stalls, outages, from and to. */
  readonly #faults: { from: number; to: number; isGrace: boolean }[] = [];
  /** When the server started last. */
  #startedAt = 0;
  /** When it had read its store. */
  #readyAt = Infinity;

  /** The world was not well for a while; what still waits for a grace waits for so much longer. */
  fault(from: number, to: number): void {
    for (const fault of this.#faults) if (fault.isGrace && from < fault.to) fault.to += to - from;
    this.#faults.push({ from, to, isGrace: false });
  }

  /** Every ttl begins anew now, behind a grace. */
  grace(): void {
    this.#faults.push({ from: this.now() - 1, to: this.now() + GRACE_MS + 1_000, isGrace: true });
  }

  /** The server started: what it found in the store it has not heard yet. */
  started(): void {
    this.#startedAt = this.now();
    this.#readyAt = Infinity;
  }

  /** The server has read its store: whatever registers later, it sees. */
  ready(): void {
    this.#readyAt = this.now();
  }

  /** What must have happened by now, if nothing has been wrong for a while. */
  sample(services: readonly string[]): void {
    const wellSince = Math.max(0, ...this.#faults.map(({ isGrace, from, to }) => (isGrace ? from + 1 : to)));
    this.sampleProtection(services, wellSince, this.#readyAt);
  }

  /** The store committed a revision. */
  committed(revision: bigint, changes: Changes): void {
    for (const { key, value } of changes) this.recordChanged(key, value, revision);
  }

  /** A beat was acknowledged. */
  beatAcknowledged(key: string, incarnation: string, received: number): void {
    const answered = this.now();
    const now = this.standing(key);
    if (now && now.removal === undefined && now.incarnation === incarnation && now.silent) {
      this.fail('9', `${key} was acknowledged while it was SILENT`);
    }
    this.#acksOf(key, incarnation).push({ received, answered });
  }

  registered(call: Call, revision: bigint, received: number): void {
    this.checkRegistered(call, revision);
    this.#acksOf(call.key, call.incarnation).push({ received, answered: this.now() });
  }

  #acksOf(key: string, incarnation: string): { received: number; answered: number }[] {
    return listed(this.#acks, `${key} ${incarnation}`);
  }

  protected override decision(): Decision {
    return { startedAt: this.#readyAt, sentAt: this.now(), seen: this.seenBy(''), sawAt: () => 0 };
  }

  protected override checkGuard(): void {
    // Nobody else can hold it.
  }

  /** E3: not before the ttl has passed since any acknowledged beat, and soon after when all is well. */
  protected override checkCheckVerdict(_: Standing | undefined, key: string): void {
    this.fail('K2', `there is a verdict on the checks of ${key}, which has none`);
  }

  protected override checkRemovalByCheck({ key }: Standing): void {
    this.fail('K12', `${key} was removed for its checks, and has none`);
  }

  protected override checkVerdict(judged: Standing, verdict: Standing): void {
    const acks = this.#acksOf(verdict.key, verdict.incarnation);
    const heardSince = judged.at >= this.#startedAt || acks.some(({ received }) => received >= this.#startedAt);
    const earliest = this.#startedAt + GRACE_MS + verdict.ttlMs;
    if (!heardSince && this.#startedAt > 0 && verdict.at < earliest) {
      this.fail(
        'E3',
        `${verdict.key}, found at the start at ${this.#startedAt}, was declared silent before ${earliest}`,
      );
    }
    for (const { received, answered } of acks) {
      if (answered <= verdict.at && verdict.at < received + verdict.ttlMs - 0.001) {
        this.fail(
          'E3',
          `${verdict.key} was declared silent ${(verdict.at - received).toFixed(2)} ms after an acknowledged beat, with a ttl of ${verdict.ttlMs} ms`,
        );
      }
    }
  }

  /** E5, looked at when the run is over: `deaths` says when the last message of a process can have reached the server. */
  checkDetection(deaths: readonly Death[]): number {
    let measured = 0;
    for (const { key, incarnation, lastReceived } of deaths) {
      const states = this.history.get(key) ?? [];
      const index = states.findIndex(
        (state) => state.silent && state.incarnation === incarnation && state.at > lastReceived,
      );
      const lastChange = states.findLast(
        (state) => state.at <= (states[index]?.at ?? Infinity) && isLiveOf(state, incarnation) && !state.silent,
      );
      if (!lastChange) continue;
      const due = Math.max(lastReceived, lastChange.at) + lastChange.ttlMs + E5_MS;
      // After a start the instances found in the store have a grace; any fault since the last beat moves the verdict.
      if (this.#faults.some((fault) => fault.to > lastReceived - 1_000 && fault.from < due)) continue;
      const replaced = states.some(
        (state) => state.at > lastReceived && state.at <= due && !isLiveOf(state, incarnation),
      );
      if (replaced || due > this.now()) continue;
      const verdict = states[index];
      if (!verdict || verdict.at > due)
        this.fail(
          'E5',
          `${key} fell silent at ${lastReceived.toFixed(0)}, and was declared so at ${verdict?.at.toFixed(0)}, later than ${due.toFixed(0)}`,
        );
      measured++;
    }
    return measured;
  }
}
