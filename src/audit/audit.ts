import type { Clock, Timer } from '../base/clock.js';
import { networkOf } from '../base/hosts.js';
import type { Closeable } from '../base/lifecycle.js';
import type { Random } from '../base/random.js';
import type { Telemetry } from '../base/telemetry.js';
import { COUNTERS } from './instruments.js';

/** One event: a call that changed something, or that was refused. It never holds the content of a config. */
export interface AuditEvent {
  /** Unique among all servers. Those of one server ascend. */
  readonly id: string;
  /** Wall-clock milliseconds. */
  readonly timeMs: number;
  /** The caller, such as "token:pay". */
  readonly principal: string;
  /** The author that the request claims, where the caller is another one. Empty otherwise. */
  readonly claimedAuthor: string;
  /** The IP address of the caller. */
  readonly address: string;
  readonly transport: string;
  /** The path of the method. */
  readonly method: string;
  /** The objects that the call was for, such as "shop/pay" or "shop/default/app.yaml". */
  readonly resources: readonly string[];
  /** "OK", or the reason of the error. */
  readonly outcome: string;
  /** The revision of the write; 0n if there is none. */
  readonly revision: bigint;
  readonly requestId: string;
  readonly comment: string;
  /** The number of equal refusals before this one that have no event of their own. */
  readonly leftOut: number;
}

/** An event before the audit has taken it. */
export type NewEvent = Omit<AuditEvent, 'id' | 'timeMs' | 'leftOut'>;

/** Takes the lines of the audit. */
export interface AuditSink extends Closeable {
  write(line: string): void;
  /** True while lines cannot be written. */
  readonly isFailing: boolean;
  /** Opens the file again, because another program has moved it away. */
  reopen(): void;
}

/** The newest events are kept in memory: this number, and this many bytes as lines. */
const EVENTS_MAX = 10_000;
const EVENTS_BYTES_MAX = 16 * 1_024 * 1_024;
/** Equal refusals of one caller have one event in this time, so that a flood of them does not fill the file. */
const REFUSALS_EVERY_MS = 10_000;
/** The most kinds of refusals that are counted apart in this time; further ones are counted together. */
const REFUSALS_MAX = 10_000;
const SEQUENCE_CHARS = 8;

/** The dependencies of Audit. */
export interface AuditParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Pick<Telemetry, 'counters'>;
  /** `undefined` if events are kept in memory alone. */
  readonly sink: AuditSink | undefined;
}

/** A kind of refusal in the current time, and how many of it have no event yet. */
interface Refused {
  readonly event: NewEvent;
  leftOut: number;
}

/** The audit of one server: its newest events, and their lines in a file. */
export class Audit implements Closeable {
  readonly #events: { readonly event: AuditEvent; readonly bytes: number }[] = [];
  readonly #refused = new Map<string, Refused>();
  readonly #server: string;
  readonly #timer: Timer;
  #first = 0;
  #bytes = 0;
  #sequence = 0;

  constructor(private readonly parts: AuditParts) {
    this.#server = parts.random.id();
    this.#timer = parts.clock.every(REFUSALS_EVERY_MS, () => this.#endRefusals());
  }

  /** True while events cannot be written to their file. */
  get isFailing(): boolean {
    return this.parts.sink?.isFailing ?? false;
  }

  /** Takes an event. */
  add(event: NewEvent): void {
    this.#add(event, 0);
  }

  /** Takes the event of a refused call: the first of its kind in 10 s; the others are counted. */
  addRefusal(event: NewEvent): void {
    const { principal, address, method, outcome } = event;
    const key = [principal === 'anonymous' ? networkOf(address) : principal, method, outcome].join('\n');
    const known =
      this.#refused.get(key) ?? (this.#refused.size >= REFUSALS_MAX ? this.#refused.get(OTHERS) : undefined);
    if (known) {
      known.leftOut++;
      return;
    }
    this.#refused.set(this.#refused.size >= REFUSALS_MAX ? OTHERS : key, { event, leftOut: 0 });
    this.#add(event, 0);
  }

  /** The events in memory, in no particular order. */
  *recent(): Generator<AuditEvent> {
    for (let i = this.#first; i < this.#events.length; i++) yield this.#events[i]!.event;
  }

  /** Opens the file again. */
  reopen(): void {
    this.parts.sink?.reopen();
  }

  async close(): Promise<void> {
    this.#timer.cancel();
    this.#endRefusals();
    await this.parts.sink?.close();
  }

  #endRefusals(): void {
    const ended = [...this.#refused.values()];
    this.#refused.clear();
    for (const { event, leftOut } of ended) if (leftOut > 0) this.#add(event, leftOut);
  }

  #add(given: NewEvent, leftOut: number): void {
    const { clock, telemetry, sink } = this.parts;
    const id = `${this.#server}.${(this.#sequence++).toString(36).padStart(SEQUENCE_CHARS, '0')}`;
    const event: AuditEvent = { ...given, id, timeMs: clock.wall(), leftOut };
    const line = lineOf(event);
    telemetry.counters.add(COUNTERS.audit_events);
    this.#events.push({ event, bytes: line.length });
    this.#bytes += line.length;
    while (this.#events.length - this.#first > EVENTS_MAX || this.#bytes > EVENTS_BYTES_MAX)
      this.#bytes -= this.#events[this.#first++]!.bytes;
    if (this.#first > this.#events.length / 2) {
      this.#events.splice(0, this.#first); // many at a time
      this.#first = 0;
    }
    sink?.write(line);
  }
}

/** The refusals beyond those that are counted apart. */
const OTHERS = '';

/** An event as a line of JSON. JSON escapes line breaks, so no text of a caller begins a line. */
function lineOf({ timeMs, claimedAuthor, revision, requestId, leftOut, comment, ...event }: AuditEvent): string {
  return `${JSON.stringify({
    time: new Date(timeMs).toISOString(),
    ...event,
    ...(claimedAuthor && { claimed_author: claimedAuthor }),
    ...(revision > 0n && { revision: Number(revision) }),
    request_id: requestId,
    ...(comment && { comment }),
    ...(leftOut > 0 && { left_out: leftOut }),
  })}\n`;
}
