import { createHash } from 'node:crypto';
import { ConfigHistory, type EarlierVersion } from '../gen/rollcall/storage/v1/records.js';
import type { ConfigItem } from './config.js';
import { LIMITS } from './limits.js';
import { DAY_MS, fromTimestamp } from './time.js';

/** The history of a config after a publish. */
export interface NextHistory {
  readonly versions: readonly EarlierVersion[];
  /** The versions whose keys are to be deleted: those that have just left the history, and those that stood undeleted. */
  readonly outdated: readonly bigint[];
}

/** The history of the config that replaces `current` at `wallMs`. */
export function historyAfter(current: ConfigItem | undefined, author: string, wallMs: number): NextHistory {
  if (!current) return { versions: [], outdated: [] };
  const { versions, undeleted } = ConfigHistory.decode(current.history);
  const next = { authorHash: hashOf(author), publishedMs: BigInt(Math.floor(wallMs)) };
  const all = [replacedAt(current, wallMs), ...versions];
  const kept = keptOf(next, all, wallMs);
  return { versions: all.filter((one) => kept.has(one)), outdated: [...numbersWithout(all, kept), ...undeleted] };
}

/** The bytes of a history. */
export function encodeHistory(versions: readonly EarlierVersion[], undeleted: readonly bigint[]): Uint8Array {
  return ConfigHistory.encode({ versions: [...versions], undeleted: [...undeleted] }).finish();
}

/** The numbers of the earlier versions that are kept at `wallMs`, newest first. */
export function keptVersions(current: ConfigItem, wallMs: number): bigint[] {
  const { versions } = ConfigHistory.decode(current.history);
  const kept = keptOf(ofCurrent(current), versions, wallMs);
  return versions.filter((one) => kept.has(one)).map(({ version }) => version);
}

/** The numbers of the earlier versions that are not kept at `wallMs`, and whose keys may stand. */
export function outdatedVersions(current: ConfigItem, wallMs: number): bigint[] {
  const { versions, undeleted } = ConfigHistory.decode(current.history);
  return [...numbersWithout(versions, keptOf(ofCurrent(current), versions, wallMs)), ...undeleted];
}

/** The part of a version that the rule looks at. */
type Publish = Pick<EarlierVersion, 'authorHash' | 'publishedMs'>;

/**
 * The rule: which versions before `current` are kept. `earlier` is in order, newest first.
 *
 * A version is kept for CONFIG_VERSION_DAYS after it was replaced, if it is one of the newest CONFIG_VERSIONS (the
 * current one included), or the newest of its day (UTC), or the newest of its author: at most CONFIG_VERSIONS_TOTAL. Of
 * those that are more, the authors' go, oldest first. The version before the current one is always kept, and the last
 * one with content, so that there is always something to roll back to.
 *
 * As long as the wall clock does not step back, a version that is not kept is never kept again.
 */
function keptOf(current: Publish, earlier: readonly EarlierVersion[], wallMs: number): Set<EarlierVersion> {
  const kept = new Set<EarlierVersion>(earlier.slice(0, 1));
  const lastContent = earlier.find(({ deleted }) => !deleted);
  if (lastContent) kept.add(lastContent);
  const oldest = BigInt(Math.floor(wallMs - LIMITS.CONFIG_VERSION_DAYS.value * DAY_MS));
  const young = earlier.filter(({ replacedMs }) => replacedMs > oldest);
  for (const one of young.slice(0, LIMITS.CONFIG_VERSIONS.value - 1)) kept.add(one);
  for (const one of newestOfEach(dayOf, current, young)) kept.add(one);
  for (const one of newestOfEach(({ authorHash }) => authorHash, current, young)) {
    if (kept.size >= LIMITS.CONFIG_VERSIONS_TOTAL.value - 1) break;
    kept.add(one);
  }
  return kept;
}

/** The newest version of each group, newest first. Where the current version is the newest there is no earlier one. */
function* newestOfEach(
  groupOf: (version: Publish) => bigint,
  current: Publish,
  earlier: readonly EarlierVersion[],
): Generator<EarlierVersion> {
  const seen = new Set([groupOf(current)]);
  for (const one of earlier) {
    const group = groupOf(one);
    if (!seen.has(group)) yield one;
    seen.add(group);
  }
}

const dayOf = ({ publishedMs }: Publish): bigint => publishedMs / BigInt(DAY_MS);

function numbersWithout(versions: readonly EarlierVersion[], kept: ReadonlySet<EarlierVersion>): bigint[] {
  return versions.filter((one) => !kept.has(one)).map(({ version }) => version);
}

function ofCurrent({ config: { author, publishTime } }: ConfigItem): Publish {
  return { authorHash: hashOf(author), publishedMs: BigInt(Math.floor(publishTime ? fromTimestamp(publishTime) : 0)) };
}

/** The current version as an earlier one, once it is replaced. */
function replacedAt(current: ConfigItem, wallMs: number): EarlierVersion {
  const { version, deleted } = current.config;
  return { ...ofCurrent(current), version, replacedMs: BigInt(Math.floor(wallMs)), deleted };
}

/** Equal authors have equal hashes; short, because a history may remember a hundred. */
function hashOf(author: string): bigint {
  return createHash('sha256').update(author).digest().readBigUInt64BE();
}
