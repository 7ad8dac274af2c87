import type {
  ClearInstanceOverrideRequest,
  ListInstanceOverridesRequest,
  SetInstanceOverrideRequest,
} from '../../gen/rollcall/v1/registry_service.js';
import { OverrideState } from '../../gen/rollcall/v1/override.js';
import type { ReadOptions } from '../../catalog/freshness.js';
import type { InstanceNames, OverrideRequest } from '../../domain/overrides/overrides.js';
import type { Claim } from '../../model/actor.js';
import { OVERRIDE_MS } from '../../model/limits.js';
import { SERVICE } from '../../model/names.js';
import { Validator } from '../call/validator.js';
import { validateList } from '../call/reads.js';
import { validateNames, WEIGHT_MAX } from './validation.js';

/** Validates a SetInstanceOverride and fills the defaults. */
export function validateSetOverride(request: SetInstanceOverrideRequest): { request: OverrideRequest; claim: Claim } {
  const validator = new Validator();
  const names = validateNames(validator, request);
  const incarnation = validator.runId('incarnation', request.incarnation) ?? '';
  const state = validator.enumValue('state', request.state, OverrideState);
  const { weight } = request;
  if (weight !== undefined) validator.range('weight', weight, 0, WEIGHT_MAX);
  if (request.state === OverrideState.OVERRIDE_STATE_UNSPECIFIED && weight === undefined)
    validator.refuse('state', 'is required unless weight is set');
  if (request.comment.trim() === '') validator.refuse('comment', 'is required: say why');
  const claim = validator.claim(request);
  const expectedRevision = validator.notNegative('expected_revision', request.expectedRevision);
  const asked = request.expireAfter && validator.duration('expire_after', request.expireAfter, EXPIRE_AFTER);
  validator.done();
  const isDrain = state === OverrideState.OVERRIDE_STATE_DRAIN;
  const expireAfterMs = asked ?? (isDrain ? OVERRIDE_MS.drain : undefined);
  const decision = { state, weight, incarnation, expireAfterMs };
  return { request: { ...names, decision, expectedRevision, force: request.force }, claim };
}

const EXPIRE_AFTER = { min: OVERRIDE_MS.min, default: OVERRIDE_MS.drain, max: OVERRIDE_MS.max };

/** Validates a ClearInstanceOverride. */
export function validateClearOverride(request: ClearInstanceOverrideRequest): {
  names: InstanceNames;
  expectedRevision: bigint | undefined;
  claim: Claim;
} {
  const validator = new Validator();
  const names = validateNames(validator, request);
  const expectedRevision = validator.notNegative('expected_revision', request.expectedRevision);
  const claim = validator.claim(request);
  validator.done();
  return { names, expectedRevision, claim };
}

/** Validates a ListInstanceOverrides. */
export function validateListOverrides(request: ListInstanceOverridesRequest): {
  namespace: string | undefined;
  service: string | undefined;
  size: number;
  after: string;
  selection: string;
  read: ReadOptions;
} {
  const validator = new Validator();
  const namespace = request.namespace === '' ? undefined : validator.namespace(request.namespace);
  const service = request.service === '' ? undefined : validator.name('service', request.service, SERVICE);
  const list = validateList(validator, request, ['ListInstanceOverrides', namespace ?? '', service ?? '']);
  validator.done();
  return { namespace, service, ...list };
}
