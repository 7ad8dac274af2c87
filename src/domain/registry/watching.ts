import type { Selection } from '../../catalog/selection.js';
import { hashSelection } from '../../model/tokens.js';
import type { InstanceItem } from '../../model/instance.js';
import type { Matcher } from './filter.js';

/** The selection of a watch of services. */
export function serviceSelection(
  namespace: string,
  services: readonly string[] | undefined,
  filter: Matcher,
): Selection<InstanceItem> {
  const scopes = services && [...new Set(services)].sort();
  return {
    key: hashSelection(['WatchServices', namespace, scopes ?? 'all', filter.key]),
    namespace,
    scopes,
    covers: (scope) => !scopes || scopes.includes(scope),
    wants: (item) => filter.matches(item.instance) && filter.shows(item),
    ignores: () => false,
  };
}
