import type { Selection } from '../../catalog/selection.js';
import { hashSelection } from '../../model/tokens.js';
import type { InstanceItem } from '../../model/records.js';
import type { Matcher } from './filter.js';

/** What a watch of services looks at. */
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
    wants: (item) => filter.matches(item.instance) && filter.shows(item),
    ignores: () => false,
  };
}
