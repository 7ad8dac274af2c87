import type { ReadOptions } from '../../catalog/freshness.js';
import { matcher } from '../../domain/registry/filter.js';
import type { Search } from '../../domain/registry/lookup.js';
import type { InstanceRef } from '../../domain/registry/registrations.js';
import type { DeregisterInstancesRequest, ListInstancesRequest } from '../../gen/rollcall/v1/registry_service.js';
import type { Claim } from '../../model/actor.js';
import { LIMITS } from '../../model/limits.js';
import { INSTANCE_ID, SERVICE } from '../../model/names.js';
import { encodePageToken, hashSelection } from '../../model/tokens.js';
import { Validator } from '../call/validator.js';
import { validateRead } from '../call/reads.js';
import { validateAddress, validateFilter } from './validation.js';

/** A revision in a page token. */
const REVISION = /^\d{1,19}$/;

/** A validated ListInstances. */
export interface ListQuery {
  readonly search: Search;
  readonly selection: string;
  readonly read: ReadOptions;
}

/** Validates a ListInstances. A page waits for the revision that the page before showed. */
export function validateListInstances(request: ListInstancesRequest): ListQuery {
  const validator = new Validator();
  const namespace = request.namespace === '' ? undefined : validator.namespace(request.namespace);
  const service = request.service === '' ? undefined : validator.name('service', request.service, SERVICE);
  if (service !== undefined && namespace === undefined) validator.refuse('namespace', 'is required with service');
  const address = validateAddress(validator, 'address', request.address);
  validateFilter(validator, request.filter);
  const filter = matcher(request.filter);
  const selection = hashSelection(['ListInstances', namespace ?? '', service ?? '', address, filter.key]);
  const { size, after } = validator.page(request, selection);
  const [seen = '0', ...names] = after;
  if (after.length > 0 && (names.length !== 3 || !REVISION.test(seen)))
    validator.refuse('page_token', 'is not a next_page_token of this list');
  const { minRevision, barrier } = validateRead(validator, request);
  validator.done();
  const shown = BigInt(seen);
  return {
    search: {
      ...{ namespace, service, address, filter, size },
      healthStates: new Set(request.filter?.healthStates),
      after: after.length === 0 ? undefined : (names as [string, string, string]),
    },
    selection,
    read: { minRevision: shown > minRevision ? shown : minRevision, barrier },
  };
}

/** The token of the page behind a place, for whichever server is asked next. */
export const listToken = (place: readonly (string | undefined)[], revision: bigint, selection: string): string =>
  encodePageToken({ after: [String(revision), ...place.map((name) => name ?? '')], selection });

/** Validates a DeregisterInstances and fills the defaults. */
export function validateDeregisterInstances(request: DeregisterInstancesRequest): {
  refs: InstanceRef[];
  claim: Claim;
} {
  const validator = new Validator();
  const { instances } = request;
  if (instances.length === 0) validator.refuse('instances', 'must have at least one item');
  validator.count('instances', instances.length, LIMITS.DEREGISTER_ITEMS.value, 'items');
  const refs = instances.slice(0, LIMITS.DEREGISTER_ITEMS.value).map(({ namespace, service, id, incarnation }, i) => ({
    namespace: validator.namespace(namespace, `instances[${i}].namespace`),
    service: validator.name(`instances[${i}].service`, service, SERVICE),
    id: validator.name(`instances[${i}].id`, id, INSTANCE_ID),
    incarnation: validator.runId(`instances[${i}].incarnation`, incarnation),
  }));
  const claim = validator.claim(request);
  validator.done();
  return { refs, claim };
}
