import { type Instance, type InstanceFilter } from '../../gen/rollcall/v1/instance.js';
import { VISIBLE_BY_DEFAULT } from '../../model/health.js';
import type { InstanceItem } from '../../model/instance.js';

/** A prepared filter. */
export interface Matcher {
  /** Equal filters have equal keys. */
  readonly key: string;
  /** Returns true if every part but the health matches. */
  matches(instance: Instance): boolean;
  /** Returns true if an instance is shown, by its health and by the protection of its service. */
  shows(item: Pick<InstanceItem, 'instance' | 'shownByProtection'>): boolean;
}

/**
 * Prepares a filter. `undefined` matches every instance in the states that are shown by default. Protection adds to the
 * default states, and not to states that the filter names.
 */
export function matcher(filter: InstanceFilter | undefined): Matcher {
  return filter ? prepared(filter) : WITHOUT_FILTER;
}

function prepared(filter: InstanceFilter | undefined): Matcher {
  const alternatives = (filter?.anyOf ?? []).map(prepared);
  const exclusions = (filter?.noneOf ?? []).map(prepared);
  const own = preparedParts(filter);
  if (alternatives.length === 0 && exclusions.length === 0) return own;
  const keysOf = (matchers: readonly Matcher[]): string[] => [...new Set(matchers.map(({ key }) => key))].sort();
  return {
    ...own,
    key: JSON.stringify([own.key, keysOf(alternatives), keysOf(exclusions)]),
    matches: (instance) =>
      own.matches(instance) &&
      (alternatives.length === 0 || alternatives.some((one) => one.matches(instance))) &&
      !exclusions.some((one) => one.matches(instance)),
  };
}

/** The filter without its alternatives and exclusions. */
function preparedParts(filter: InstanceFilter | undefined): Matcher {
  const tags = [...new Set(filter?.tags)].sort();
  const metadata = [...(filter?.metadata ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  const version = filter?.version ?? '';
  const { region = '', zone = '', subZone = '' } = filter?.locality ?? {};
  const asked = filter?.healthStates.length ? new Set(filter.healthStates) : undefined;
  const matchesAll = tags.length === 0 && metadata.length === 0 && !version && !region && !zone && !subZone;
  return {
    key: JSON.stringify([tags, metadata, version, region, zone, subZone, asked && [...asked].sort((a, b) => a - b)]),
    shows: ({ instance: { health }, shownByProtection }) =>
      asked ? asked.has(health) : shownByProtection || VISIBLE_BY_DEFAULT.includes(health),
    matches: (instance) =>
      matchesAll ||
      (tags.every((tag) => instance.tags.includes(tag)) &&
        metadata.every(([key, value]) => instance.metadata.get(key) === value) &&
        (!version || instance.version === version) &&
        (!region || instance.locality?.region === region) &&
        (!zone || instance.locality?.zone === zone) &&
        (!subZone || instance.locality?.subZone === subZone)),
  };
}

/** The common case, prepared once. */
const WITHOUT_FILTER = prepared(undefined);
