import { type Instance, InstanceCriteria, type InstanceFilter } from '../../gen/rollcall/v1/instance.js';
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
  const own = criteria(filter ?? NO_CRITERIA);
  const alternatives = (filter?.anyOf ?? []).map(criteria);
  const exclusions = (filter?.noneOf ?? []).map(criteria);
  const asked = filter?.healthStates.length ? new Set(filter.healthStates) : undefined;
  const keysOf = (all: readonly Criteria[]): string[] => [...new Set(all.map(({ key }) => key))].sort();
  const hasOthers = alternatives.length + exclusions.length > 0;
  return {
    key: JSON.stringify([
      own.key,
      asked && [...asked].sort((a, b) => a - b),
      ...(hasOthers ? [keysOf(alternatives), keysOf(exclusions)] : []),
    ]),
    shows: ({ instance: { health }, shownByProtection }) =>
      asked ? asked.has(health) : shownByProtection || VISIBLE_BY_DEFAULT.includes(health),
    matches: hasOthers
      ? (instance) =>
          own.matches(instance) &&
          (alternatives.length === 0 || alternatives.some((one) => one.matches(instance))) &&
          !exclusions.some((one) => one.matches(instance))
      : own.matches,
  };
}

type Criteria = Pick<Matcher, 'key' | 'matches'>;
const NO_CRITERIA = InstanceCriteria.create();

/** Returns true if an instance matches an alternative or an exclusion. */
export const meets = (instance: Instance, given: InstanceCriteria): boolean => criteria(given).matches(instance);

/** Prepares the parts that do not ask for health. */
function criteria(given: Omit<InstanceCriteria, '$type'>): Criteria {
  const tags = [...new Set(given.tags)].sort();
  const metadata = [...given.metadata].sort(([a], [b]) => (a < b ? -1 : 1));
  const { version } = given;
  const { region = '', zone = '', subZone = '' } = given.locality ?? {};
  const matchesAll = tags.length === 0 && metadata.length === 0 && !version && !region && !zone && !subZone;
  return {
    key: JSON.stringify([tags, metadata, version, region, zone, subZone]),
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
