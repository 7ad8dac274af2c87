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
import { hashSelection } from '../../model/tokens.js';
import { Checker } from '../call/checker.js';
import { checkRead } from '../call/reads.js';
import { checkNames, WEIGHT_MAX } from './checks.js';

/** Checks a SetInstanceOverride and fills the defaults. */
export function checkSetOverride(request: SetInstanceOverrideRequest): { request: OverrideRequest; claim: Claim } {
  const check = new Checker();
  const names = checkNames(check, request);
  const incarnation = check.runId('incarnation', request.incarnation) ?? '';
  const state = check.enumValue('state', request.state, OverrideState);
  const { weight } = request;
  if (weight !== undefined) check.range('weight', weight, 0, WEIGHT_MAX);
  if (request.state === OverrideState.OVERRIDE_STATE_UNSPECIFIED && weight === undefined)
    check.refuse('state', 'is required unless weight is set');
  if (request.comment.trim() === '') check.refuse('comment', 'is required: say why');
  const claim = check.claim(request);
  const expectedRevision = check.notNegative('expected_revision', request.expectedRevision);
  const asked = request.expireAfter && check.duration('expire_after', request.expireAfter, EXPIRE_AFTER);
  check.done();
  const isDrain = state === OverrideState.OVERRIDE_STATE_DRAIN;
  const expireAfterMs = asked ?? (isDrain ? OVERRIDE_MS.drain : undefined);
  const decision = { state, weight, incarnation, expireAfterMs };
  return { request: { ...names, decision, expectedRevision, force: request.force }, claim };
}

const EXPIRE_AFTER = { min: OVERRIDE_MS.min, default: OVERRIDE_MS.drain, max: OVERRIDE_MS.max };

/** Checks a ClearInstanceOverride. */
export function checkClearOverride(request: ClearInstanceOverrideRequest): {
  names: InstanceNames;
  expectedRevision: bigint | undefined;
  claim: Claim;
} {
  const check = new Checker();
  const names = checkNames(check, request);
  const expectedRevision = check.notNegative('expected_revision', request.expectedRevision);
  const claim = check.claim(request);
  check.done();
  return { names, expectedRevision, claim };
}

/** Checks a ListInstanceOverrides. */
export function checkListOverrides(request: ListInstanceOverridesRequest): {
  namespace: string | undefined;
  service: string | undefined;
  size: number;
  after: string;
  selection: string;
  read: ReadOptions;
} {
  const check = new Checker();
  const namespace = request.namespace === '' ? undefined : check.namespace(request.namespace);
  const service = request.service === '' ? undefined : check.name('service', request.service, SERVICE);
  const selection = hashSelection(['ListInstanceOverrides', namespace ?? '', service ?? '']);
  const { size, after } = check.page(request, selection);
  const read = checkRead(check, request);
  check.done();
  return { namespace, service, size, after: after[0] ?? '', selection, read };
}
