import type { ProbeResult, ProbeTarget } from '../model/probe.js';
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

/** A probe that the thread has to make. */
export interface ProbeOrder {
  readonly id: number;
  readonly target: ProbeTarget;
}

/** A message to the thread. */
export type ToThread =
  | { readonly kind: 'probe'; readonly orders: readonly ProbeOrder[] }
  | { readonly kind: 'own'; readonly places: readonly OwnPlace[] };

/** A probe that is over. */
export interface ProbeReport extends ProbeResult {
  readonly id: number;
}

/** A message of the thread: what is over since the last one, and whether the thread can probe at all. */
export interface FromThread {
  readonly reports: readonly ProbeReport[];
  /** Why its own canary fails. `undefined` if it passes. */
  readonly trouble: string | undefined;
}
