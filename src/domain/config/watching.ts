import type { Selection } from '../../catalog/selection.js';
import type { ConfigItem } from '../../model/config.js';
import { hashSelection } from '../../model/tokens.js';

/** Selects configs of one group. Without keys and prefixes: the whole group. */
export interface GroupFilter {
  readonly group: string;
  readonly keys: readonly string[];
  readonly prefixes: readonly string[];
}

/** The selection of a watch of configs. */
export function configSelection(namespace: string, filters: readonly GroupFilter[] | undefined): Selection<ConfigItem> {
  const byGroup = new Map<string, { keys: Set<string>; prefixes: Set<string>; whole: boolean }>();
  for (const { group, keys, prefixes } of filters ?? []) {
    const merged = byGroup.get(group) ?? { keys: new Set(), prefixes: new Set(), whole: false };
    for (const key of keys) merged.keys.add(key);
    for (const prefix of prefixes) merged.prefixes.add(prefix);
    merged.whole ||= keys.length === 0 && prefixes.length === 0;
    byGroup.set(group, merged);
  }
  const scopes = filters && [...byGroup.keys()].sort();
  const covers = (scope: string, name: string): boolean => {
    const wanted = byGroup.get(scope);
    if (!wanted) return filters === undefined;
    if (wanted.whole || wanted.keys.has(name)) return true;
    for (const prefix of wanted.prefixes) if (name.startsWith(prefix)) return true;
    return false;
  };
  const normal = scopes?.map((group) => {
    const { keys, prefixes, whole } = byGroup.get(group)!;
    return whole ? [group] : [group, [...keys].sort(), [...prefixes].sort()];
  });
  return {
    key: hashSelection(['WatchConfig', namespace, normal ?? 'all']),
    namespace,
    scopes,
    covers,
    wants: ({ scope, name }) => covers(scope, name),
    ignores: ({ scope, name }) => !covers(scope, name),
  };
}
