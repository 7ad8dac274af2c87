import type {
  GetCheckResultsRequest,
  ListServiceChecksRequest,
  ReleaseChecksRequest,
  SetServiceChecksRequest,
} from '../../gen/rollcall/v1/registry_service.js';
import type { HealthCheck } from '../../gen/rollcall/v1/check.js';
import type { ReadOptions } from '../../catalog/freshness.js';
import type { ReleaseScope } from '../../domain/checks/service-checks.js';
import type { Claim } from '../../model/actor.js';
import { SERVICE } from '../../model/names.js';
import { hashSelection } from '../../model/tokens.js';
import { Checker } from '../call/checker.js';
import { checkRead } from '../call/reads.js';
import { checkNames } from './checks.js';
import { checkHealthChecks } from './health-checks.js';

/** Checks a SetServiceChecks. */
export function checkSetServiceChecks(request: SetServiceChecksRequest): {
  names: { namespace: string; service: string };
  checks: HealthCheck[];
  claim: Claim;
} {
  const check = new Checker();
  const namespace = check.namespace(request.namespace);
  const service = check.name('service', request.service, SERVICE);
  const checks = checkHealthChecks(check, 'checks', request.checks, undefined);
  const claim = check.claim(request);
  check.done();
  return { names: { namespace, service }, checks, claim };
}

/** Checks a ListServiceChecks. */
export function checkListServiceChecks(request: ListServiceChecksRequest): {
  namespace: string | undefined;
  size: number;
  after: string;
  selection: string;
  read: ReadOptions;
} {
  const check = new Checker();
  const namespace = request.namespace === '' ? undefined : check.namespace(request.namespace);
  const selection = hashSelection(['ListServiceChecks', namespace ?? '']);
  const { size, after } = check.page(request, selection);
  const read = checkRead(check, request);
  check.done();
  return { namespace, size, after: after[0] ?? '', selection, read };
}

/** Checks a ReleaseChecks. */
export function checkReleaseChecks(request: ReleaseChecksRequest): { scope: ReleaseScope; claim: Claim } {
  const check = new Checker();
  const namespace = check.namespace(request.namespace);
  if (request.allServices && request.service !== '') check.refuse('service', 'must be empty with all_services');
  if (request.allServices && request.id !== '') check.refuse('id', 'must be empty with all_services');
  const service = request.allServices ? '' : check.name('service', request.service, SERVICE);
  const id = request.id === '' || request.allServices ? '' : checkNames(check, request).id;
  if (request.comment.trim() === '') check.refuse('comment', 'is required: say why');
  const claim = check.claim(request);
  check.done();
  return { scope: { namespace, service, id }, claim };
}

/** Checks a GetCheckResults. */
export function checkGetCheckResults(request: GetCheckResultsRequest): {
  names: { namespace: string; service: string; id: string };
} {
  const check = new Checker();
  const names = checkNames(check, request);
  check.done();
  return { names };
}
