import { type DestinationStream, type Logger, pino } from 'pino';
import type { Clock } from '../base/clock.js';
import type { Log, Telemetry } from '../base/telemetry.js';
import { Alarms } from './alarms.js';
import { Counters } from './counters.js';
import { Histograms } from './histograms.js';

/** The levels of the log, from quiet to talkative. */
export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const;

/** How much is logged. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Telemetry whose contents can be read. */
export interface ProcessTelemetry extends Telemetry {
  readonly counters: Counters;
  readonly histograms: Histograms;
  readonly alarms: Alarms;
  /** Changes how much is logged. */
  setLevel(level: LogLevel): void;
}

/** Sets telemetry up for a process: JSON lines on standard error, unless another destination is given. */
export function processTelemetry(
  level: LogLevel,
  clock: Clock,
  destination: DestinationStream = STANDARD_ERROR,
): ProcessTelemetry {
  const logger = pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (name) => ({ level: name }) },
    },
    destination,
  );
  // A logger of pino keeps the level that its parent had when it was made. There is one for each part of the program.
  const parts: Logger[] = [];
  const log = asLog(logger, 'server', parts);
  const setLevel = (next: LogLevel): void => [logger, ...parts].forEach((one) => (one.level = next));
  return {
    log,
    counters: new Counters(),
    histograms: new Histograms(),
    alarms: new Alarms(clock, log.child('alarms')),
    setLevel,
  };
}

/**
 * Standard error, written in order and at once where it is a file or a pipe. pino's own destination waits for ever at the
 * exit once the reader of a pipe is gone.
 */
const STANDARD_ERROR: DestinationStream = { write: (line) => void process.stderr.write(line) };

function asLog(logger: Logger, component: string, parts: Logger[]): Log {
  const named = logger.child({ component });
  parts.push(named);
  return {
    debug: (fields, message) => named.debug(fields, message),
    info: (fields, message) => named.info(fields, message),
    warn: (fields, message) => named.warn(fields, message),
    error: (fields, message) => named.error(fields, message),
    child: (name) => asLog(logger, name, parts),
  };
}
