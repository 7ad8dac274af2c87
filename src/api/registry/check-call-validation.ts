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
import { INSTANCE_ID, SERVICE } from '../../model/names.js';
import { Validator } from '../call/validator.js';
import { validateList } from '../call/reads.js';
import { validateNames } from './validation.js';
import { validateHealthChecks } from './check-validation.js';

/** Validates a SetServiceChecks. */
export function validateSetServiceChecks(request: SetServiceChecksRequest): {
  names: { namespace: string; service: string };
  checks: HealthCheck[];
  claim: Claim;
} {
  const validator = new Validator();
  const namespace = validator.namespace(request.namespace);
  const service = validator.name('service', request.service, SERVICE);
  const checks = validateHealthChecks(validator, 'checks', request.checks, undefined);
  const claim = validator.claim(request);
  validator.done();
  return { names: { namespace, service }, checks, claim };
}

/** Validates a ListServiceChecks. */
export function validateListServiceChecks(request: ListServiceChecksRequest): {
  namespace: string | undefined;
  size: number;
  after: string;
  selection: string;
  read: ReadOptions;
} {
  const validator = new Validator();
  const namespace = request.namespace === '' ? undefined : validator.namespace(request.namespace);
  const list = validateList(validator, request, ['ListServiceChecks', namespace ?? '']);
  validator.done();
  return { namespace, ...list };
}

/** Validates a ReleaseChecks. */
export function validateReleaseChecks(request: ReleaseChecksRequest): { scope: ReleaseScope; claim: Claim } {
  const validator = new Validator();
  const namespace = validator.namespace(request.namespace);
  if (request.allServices && request.service !== '') validator.refuse('service', 'must be empty with all_services');
  if (request.allServices && request.id !== '') validator.refuse('id', 'must be empty with all_services');
  const service = request.allServices ? '' : validator.name('service', request.service, SERVICE);
  const id = request.id === '' || request.allServices ? '' : validator.name('id', request.id, INSTANCE_ID);
  if (request.comment.trim() === '') validator.refuse('comment', 'is required: say why');
  const claim = validator.claim(request);
  validator.done();
  return { scope: { namespace, service, id }, claim };
}

/** Validates a GetCheckResults. */
export function validateGetCheckResults(request: GetCheckResultsRequest): {
  names: { namespace: string; service: string; id: string };
} {
  const validator = new Validator();
  const names = validateNames(validator, request);
  validator.done();
  return { names };
}
