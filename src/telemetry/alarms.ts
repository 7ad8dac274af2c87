import type { Clock } from '../base/clock.js';
import type { Alarm, AlarmBoard, Log } from '../base/telemetry.js';

/** An alarm that is raised now. */
export interface RaisedAlarm {
  readonly name: string;
  readonly message: string;
  /** Wall-clock start. */
  readonly sinceMs: number;
}

/** Holds the alarms that are raised; each is an error line when it is raised and one when it clears. */
export class Alarms implements AlarmBoard {
  readonly #raised = new Map<string, RaisedAlarm>();

  constructor(
    private readonly clock: Clock,
    private readonly log: Log,
  ) {}

  /** Every alarm that is raised, in the order in which they were. */
  raised(): readonly RaisedAlarm[] {
    return [...this.#raised.values()];
  }

  raise({ name }: Alarm, message: string): void {
    const before = this.#raised.get(name);
    this.#raised.set(name, { name, message, sinceMs: before?.sinceMs ?? this.clock.wall() });
    if (!before) this.log.error({ alarm: name }, `alarm raised: ${message}`);
  }

  clear({ name }: Alarm): void {
    const before = this.#raised.get(name);
    if (!before) return;
    this.#raised.delete(name);
    this.log.error({ alarm: name, forMs: this.clock.wall() - before.sinceMs }, `alarm cleared: ${before.message}`);
  }
}
