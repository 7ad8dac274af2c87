/** What the product tells about itself. src/telemetry implements it; the product imports no logger. */
export interface Telemetry {
  readonly log: Log;
  readonly counters: CounterBoard;
  readonly alarms: AlarmBoard;
}

/** A log of one component: one line per event. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  /** The log of a named part. */
  child(component: string): Log;
}

/** Counts that only grow. The names stand in src/telemetry/counters.ts. */
export interface CounterBoard {
  add(name: CounterName, n?: number): void;
}

/** Every counter and what it counts. */
export const COUNTERS = {
  registers: 'Registrations that were committed.',
  deregisters: 'Deregistrations that were committed.',
  heartbeats: 'Heartbeat items received.',
  heartbeats_rejected: 'Heartbeat items answered with a rejection.',
  heals: 'Silent instances that a heartbeat made visible again.',
  touches: 'Heartbeats that needed a commit because the instance was being judged.',
  verdicts: 'Instances declared silent.',
  rounds_unanswered: 'Rounds without a verdict because a member did not answer, or this process was none.',
  memberships_lost: 'Times the membership of this process was lost.',
  disturbances: 'Times every ttl began anew after a grace, because beats may have been lost.',
  canaries_missed: 'Times the own rewrite was not seen through the own watch, and everything was listed anew.',
  verdicts_refused: 'Verdicts that the store refused because something had changed.',
  expiries: 'Instances removed after a long silence.',
  removals_held: 'Removals put off because the service is protected, or has lost as many as it may for now.',
  protections_entered: 'Services that became protected.',
  protections_released: 'Protections that ended, by themselves or by an operator.',
  discovers: 'Discover calls answered.',
  publishes: 'Configs published, deleted or rolled back.',
  commits: 'Transactions committed by the store.',
  commits_refused: 'Transactions refused by the store because a compare failed.',
  commits_failed: 'Transactions that failed.',
  relists: 'Times the whole store was listed.',
  catalog_comparisons: 'Times the catalog was held against the store.',
  catalog_differences: 'Keys that differed between the catalog and the store: events that were lost.',
  watch_restarts: 'Times the watch of the store was cut and went on elsewhere.',
  watch_repeats: 'Revisions that the store delivered again, and that were dropped.',
  rollbacks: 'Times the store was found to have another history than before.',
  bad_records: 'Stored records that could not be read.',
  foreign_deletes: 'Stored records deleted by somebody else, and kept in memory.',
  tombstones_collected: 'Removals forgotten.',
  watches_opened: 'Watches opened.',
  watches_reset: 'Watches whose token could not be continued.',
  watches_slow: 'Watches ended because their reader made no progress.',
  watch_messages: 'Messages sent on watches.',
  rpc_errors: 'Calls that ended with an error.',
  internal_errors: 'Calls that ended with an error that is a bug of ours.',
} as const;

/** The name of a counter. */
export type CounterName = keyof typeof COUNTERS;

/** Named states that somebody should look at. */
export interface AlarmBoard {
  /** Raises an alarm, or changes its text if it is raised. */
  raise(name: AlarmName, message: string): void;
  /** Clears an alarm; does nothing if it is not raised. */
  clear(name: AlarmName): void;
}

/** Every alarm and what it means. */
export const ALARMS = {
  STORE_UNAVAILABLE: 'The store does not answer: reads go on from memory, writes are refused.',
  STORE_DENIED: 'The store refuses this server: its user, its password or its rights are not what they must be.',
  STORE_FULL: 'The store has no room left: reads go on, writes are refused.',
  BAD_RECORD: 'The store holds a record that cannot be read; it is left out.',
  FOREIGN_DELETE: 'Somebody else deleted a record from the store; it is kept in memory, and written back.',
  PROTECTION: 'Most instances of a service are UNHEALTHY at once: they are shown all the same, and not removed.',
  VERDICTS_POSTPONED: 'Silent instances have not been judged for more than 2 min.',
} as const;

/** The name of an alarm. */
export type AlarmName = keyof typeof ALARMS;
