import type { Tracer } from './tracing.js';

/** The telemetry of the process, handed in. src/telemetry implements it; the product imports no logger. */
export interface Telemetry {
  readonly log: Log;
  readonly counters: CounterBoard;
  readonly histograms: HistogramBoard;
  readonly alarms: AlarmBoard;
  /** `undefined` if the process records no traces. */
  readonly tracer?: Tracer | undefined;
}

/** The log of one component: one line per event. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  /** The log of a named part. */
  child(component: string): Log;
}

/** A counter, declared by the part that counts. Names are unique in the program. */
export interface Counter {
  readonly name: string;
  readonly help: string;
}

/** Adds to counters, which only grow. */
export interface CounterBoard {
  add(counter: Counter, n?: number): void;
}

/** A distribution of values, declared by the part that measures. Names and labels together are unique in the program. */
export interface Histogram {
  /** The name with its unit. */
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly help: string;
  /** The upper bounds of the buckets, ascending. */
  readonly bounds: readonly number[];
}

/** Adds values to histograms. */
export interface HistogramBoard {
  observe(histogram: Histogram, value: number): void;
}

/** An alarm, declared by the part that raises it. Names are unique in the program. */
export interface Alarm {
  readonly name: string;
  readonly meaning: string;
}

/** The alarms of the process: named conditions that need the attention of an operator. */
export interface AlarmBoard {
  /** Raises an alarm, or changes the text of a raised one. */
  raise(alarm: Alarm, message: string): void;
  /** Clears an alarm; does nothing if it is not raised. */
  clear(alarm: Alarm): void;
}

/** Declares counters: name and help text. */
export function declareCounters<Name extends string>(help: Readonly<Record<Name, string>>): Record<Name, Counter> {
  const declared = Object.entries<string>(help).map(([name, text]): [string, Counter] => [name, { name, help: text }]);
  return Object.fromEntries(declared) as Record<Name, Counter>;
}

/** Declares alarms: name and meaning. */
export function declareAlarms<Name extends string>(meanings: Readonly<Record<Name, string>>): Record<Name, Alarm> {
  const declared = Object.entries<string>(meanings).map(([name, meaning]): [string, Alarm] => [
    name,
    { name, meaning },
  ]);
  return Object.fromEntries(declared) as Record<Name, Alarm>;
}
