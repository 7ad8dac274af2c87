import type { Clock, Timer } from '../base/clock.js';
import type { Closeable } from '../base/lifecycle.js';
import type { AlarmBoard } from '../base/telemetry.js';
import { ALARMS } from './instruments.js';

/** How often a write is retried on a full disk. */
const FULL_RETRY_MS = 5_000;

/** The dependencies of a FullDisk. */
export interface FullDiskParts {
  readonly clock: Clock;
  readonly alarms: AlarmBoard;
  /** The text of the alarm STORE_FULL: which disk is full, and the way out. */
  readonly alarmText: string;
  /** Makes a small write that changes no record. Rejects as long as the disk has no room. */
  tryWrite(): Promise<void>;
}

type State =
  /** Writes are expected to work. */
  | { readonly kind: 'WRITABLE' }
  /** A write failed for lack of space. The alarm is raised, and a small write is retried until it succeeds. */
  | { readonly kind: 'FULL'; readonly retries: Timer }
  /** The store is closed: nothing is retried, and the alarm stays unchanged. */
  | { readonly kind: 'CLOSED' };

/**
 * Tracks whether the disk of a store is full. The store reports a write that failed for lack of space; this class
 * raises STORE_FULL and retries a small write every FULL_RETRY_MS, so the store recovers without a restart.
 */
export class FullDisk implements Closeable {
  #state: State = { kind: 'WRITABLE' };
  #retrying: Promise<void> | undefined;

  constructor(private readonly parts: FullDiskParts) {}

  get isFull(): boolean {
    return this.#state.kind === 'FULL';
  }

  /** Reports that a write failed for lack of space. Does nothing if that is known. */
  reportFull(): void {
    if (this.#state.kind !== 'WRITABLE') return;
    const { clock, alarms, alarmText } = this.parts;
    alarms.raise(ALARMS.STORE_FULL, alarmText);
    this.#setState({ kind: 'FULL', retries: clock.every(FULL_RETRY_MS, () => void this.#retry()) });
  }

  /** Stops the retries and waits for the one in flight. */
  async close(): Promise<void> {
    this.#setState({ kind: 'CLOSED' });
    await this.#retrying;
  }

  #setState(state: State): void {
    if (this.#state.kind === 'FULL') this.#state.retries.cancel();
    this.#state = state;
  }

  /** Retries once, unless the retry before is still in flight. */
  #retry(): Promise<void> {
    this.#retrying ??= this.#tryOnce().finally(() => (this.#retrying = undefined));
    return this.#retrying;
  }

  async #tryOnce(): Promise<void> {
    try {
      await this.parts.tryWrite();
    } catch {
      return; // still full or, with etcd, unreachable: then its own alarm says so
    }
    if (this.#state.kind !== 'FULL') return;
    this.#setState({ kind: 'WRITABLE' });
    this.parts.alarms.clear(ALARMS.STORE_FULL);
  }
}
