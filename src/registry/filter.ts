import { type Health, type Instance, type InstanceFilter } from '../gen/rollcall/v1/instance.js';
import { VISIBLE_BY_DEFAULT } from '../model/health.js';

/** A filter made ready for use. */
export interface Matcher {
  /** Equal filters have equal keys. */
  readonly key: string;
  /** True: every part but the health matches. */
  matches(instance: Instance): boolean;
  /** True: the health is one that is shown. */
  shows(health: Health): boolean;
}

/** Makes a filter ready. Unset: everything, in the states that are shown by default. */
export function matcher(filter: InstanceFilter | undefined): Matcher {
  const tags = [...new Set(filter?.tags)].sort();
  const metadata = [...(filter?.metadata ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  const version = filter?.version ?? '';
  const { region = '', zone = '', subZone = '' } = filter?.locality ?? {};
  const states = new Set(filter?.healthStates.length ? filter.healthStates : VISIBLE_BY_DEFAULT);
  const matchesAll = tags.length === 0 && metadata.length === 0 && !version && !region && !zone && !subZone;
  return {
    key: JSON.stringify([tags, metadata, version, region, zone, subZone, [...states].sort((a, b) => a - b)]),
    shows: (health) => states.has(health),
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
