import type { ReadOptions } from '../../catalog/freshness.js';
import { matcher } from '../../domain/registry/filter.js';
import type { Search } from '../../domain/registry/lookup.js';
import type { InstanceRef } from '../../domain/registry/registrations.js';
import type { DeregisterInstancesRequest, ListInstancesRequest } from '../../gen/rollcall/v1/registry_service.js';
import type { Claim } from '../../model/actor.js';
import { LIMITS } from '../../model/limits.js';
import { INSTANCE_ID, SERVICE } from '../../model/names.js';
import { encodePageToken, hashSelection } from '../../model/tokens.js';
import { Checker } from '../call/checker.js';
import { checkRead } from '../call/reads.js';
import { checkAddress, checkFilter } from './checks.js';

/** A revision in a page token. */
const REVISION = /^\d{1,19}$/;

/** A checked ListInstances. */
export interface ListQuery {
  readonly search: Search;
  readonly selection: string;
  readonly read: ReadOptions;
}

/** Checks a ListInstances. A page waits for the revision that the page before showed. */
export function checkListInstances(request: ListInstancesRequest): ListQuery {
  const check = new Checker();
  const namespace = request.namespace === '' ? undefined : check.namespace(request.namespace);
  const service = request.service === '' ? undefined : check.name('service', request.service, SERVICE);
  if (service !== undefined && namespace === undefined) check.refuse('namespace', 'is required with service');
  const address = checkAddress(check, 'address', request.address);
  checkFilter(check, request.filter);
  const filter = matcher(request.filter);
  const selection = hashSelection(['ListInstances', namespace ?? '', service ?? '', address, filter.key]);
  const { size, after } = check.page(request, selection);
  const [seen = '0', ...names] = after;
  if (after.length > 0 && (names.length !== 3 || !REVISION.test(seen)))
    check.refuse('page_token', 'is not a next_page_token of this list');
  const { minRevision, barrier } = checkRead(check, request);
  check.done();
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

/** Checks a DeregisterInstances and fills the defaults. */
export function checkDeregisterInstances(request: DeregisterInstancesRequest): { refs: InstanceRef[]; claim: Claim } {
  const check = new Checker();
  const { instances } = request;
  if (instances.length === 0) check.refuse('instances', 'must have at least one item');
  check.count('instances', instances.length, LIMITS.DEREGISTER_ITEMS.value, 'items');
  const refs = instances.slice(0, LIMITS.DEREGISTER_ITEMS.value).map(({ namespace, service, id, incarnation }, i) => ({
    namespace: check.namespace(namespace, `instances[${i}].namespace`),
    service: check.name(`instances[${i}].service`, service, SERVICE),
    id: check.name(`instances[${i}].id`, id, INSTANCE_ID),
    incarnation: check.runId(`instances[${i}].incarnation`, incarnation),
  }));
  const claim = check.claim(request);
  check.done();
  return { refs, claim };
}
