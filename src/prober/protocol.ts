import type { ProbeTarget } from '../model/probe.js';
import type { OwnPlace, ProbeRuleSettings } from '../model/probe-rule.js';

/** The settings that the thread of the prober starts with. */
export interface ProberSettings {
  readonly rule: ProbeRuleSettings;
  /** Only addresses from which instances registered are probed. */
  readonly onlyRegistrants: boolean;
  /** The value of the User-Agent header. */
  readonly agent: string;
  /** The certificates that checks trust, as PEM. `undefined`: those of Node. */
  readonly ca: string | undefined;
}

/**
 * Probes to make. A target crosses once and is then known by its number: to copy it costs more than everything else that
 * the main thread does for a probe.
 */
export interface ProbeOrders {
  /** Pairs: the id of a probe, and the number of its target. */
  readonly probes: Float64Array;
  /** The targets that the thread does not know yet. */
  readonly targets: ReadonlyMap<number, ProbeTarget>;
  /** The targets that will not be probed any more. */
  readonly forgotten: readonly number[];
}

/** A message to the thread. */
export type ToThread =
  ({ readonly kind: 'probe' } & ProbeOrders) | { readonly kind: 'own'; readonly places: readonly OwnPlace[] };

/** The numbers of one result: id, outcome, latency in milliseconds, end of the certificate (NaN: there is none). */
export const RESULT_NUMBERS = 4;

/** A message of the thread: what is over since the last one, and whether the thread can probe at all. */
export interface FromThread {
  /** RESULT_NUMBERS for each probe that is over. */
  readonly results: Float64Array;
  /** The errors of those that have one, by id. */
  readonly errors: ReadonlyMap<number, string>;
  /** Why its own canary fails. `undefined` if it passes. */
  readonly trouble: string | undefined;
}
