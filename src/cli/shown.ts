import type { Timestamp } from '../gen/google/protobuf/timestamp.js';
import { type CheckStatus, ProbeOutcome } from '../gen/rollcall/v1/check.js';
import { Health, HealthReason, type Instance } from '../gen/rollcall/v1/instance.js';
import { LIMITS } from '../model/limits.js';
import { fromTimestamp } from '../model/time.js';
import { ago, type Cell, plain, span } from './output.js';

const COLORS = {
  [Health.HEALTH_HEALTHY]: 'green',
  [Health.HEALTH_DEGRADED]: 'yellow',
  [Health.HEALTH_UNHEALTHY]: 'red',
  [Health.HEALTH_DRAINING]: 'gray',
} as const;

/** The reasons that a person wants to see beside the state. */
const REASONS: Partial<Record<HealthReason, string>> = {
  [HealthReason.HEALTH_REASON_SILENT]: 'silent',
  [HealthReason.HEALTH_REASON_DISABLED]: 'disabled',
  [HealthReason.HEALTH_REASON_DRAINED]: 'drained',
  [HealthReason.HEALTH_REASON_CHECK_PENDING]: 'check pending',
  [HealthReason.HEALTH_REASON_CHECK_FAILED]: 'check failed',
  [HealthReason.HEALTH_REASON_CHECK_DEGRADED]: 'check degraded',
};

/** A state of health as a word, such as "HEALTHY"; an instance that is silent, or that an operator set aside, says so. */
export function stateOf({ health, healthReason }: Pick<Instance, 'health' | 'healthReason'>): string {
  const word = (Health[health] ?? String(health)).replace('HEALTH_', '');
  const reason = REASONS[healthReason];
  return reason === undefined ? word : `${word}, ${reason}`;
}

/** A state of health in its color, with a text behind it. */
export function healthCell(instance: Instance, more = ''): Cell {
  const text = stateOf(instance) + more;
  const color = COLORS[instance.health as keyof typeof COLORS];
  return color ? { text, color } : text;
}

/** How long ago a moment of a message was; "-" if it has none. */
export const agoOf = (time: Timestamp | undefined): string => (time ? ago(fromTimestamp(time)) : '-');

/** In how long a moment comes, such as "in 5 m". */
export const inTime = (ms: number, nowMs = Date.now()): string => {
  const leftMs = Math.max(ms - nowMs, 0);
  // Half a unit more: of a day that has just begun 24 hours are left, and not 23.
  const unitMs = [86_400_000, 3_600_000, 60_000, 1_000].find((unit) => leftMs >= unit) ?? 0;
  return `in ${span(leftMs + unitMs / 2)}`;
};

/** Fetches every page of a list, and returns the last answer with the entries of all of them. */
export async function everyPage<
  Key extends string,
  Answer extends { readonly nextPageToken: string } & Record<Key, unknown[]>,
>(fetch: (page: { pageSize: number; pageToken: string }) => Promise<Answer>, key: Key): Promise<Answer> {
  const entries: unknown[] = [];
  for (let pageToken = ''; ;) {
    const answer = await fetch({ pageSize: LIMITS.PAGE_SIZE.value, pageToken });
    entries.push(...answer[key]);
    pageToken = answer.nextPageToken;
    if (pageToken === '') return { ...answer, [key]: entries };
  }
}

/** The last probe of a check, in words: its outcome, its error, and what holds the check up. */
export function lastProbeWords({ node, results: [last], note }: CheckStatus): { outcome: string; words: string } {
  const outcome = last ? ProbeOutcome[last.outcome].replace('PROBE_OUTCOME_', '').toLowerCase() : 'not probed';
  const words = [last?.error ?? '', note, node === '' ? 'no server probes it now, or it did not answer' : ''];
  return { outcome, words: words.filter(Boolean).map(plain).join('; ') };
}

/** The last probe of a check, as a row of a table. */
export function lastProbe(status: CheckStatus): Cell[] {
  const { outcome, words } = lastProbeWords(status);
  return [plain(status.check!.name), agoOf(status.results[0]?.time), outcome, words || '-'];
}
