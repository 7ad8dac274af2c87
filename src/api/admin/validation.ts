import type { ForgetMemberRequest, ReleaseProtectionRequest } from '../../gen/rollcall/v1/admin_service.js';
import type { Claim } from '../../model/actor.js';
import { LIMITS } from '../../model/limits.js';
import { SERVICE } from '../../model/names.js';
import { Validator } from '../call/validator.js';

/** Validates a ReleaseProtection and fills the default. */
export function validateReleaseProtection(request: ReleaseProtectionRequest): {
  namespace: string;
  service: string;
  claim: Claim;
} {
  const validator = new Validator();
  const namespace = validator.namespace(request.namespace);
  const service = validator.name('service', request.service, SERVICE);
  const claim = validator.claim(request);
  validator.done();
  return { namespace, service, claim };
}

/** Validates a ForgetMember. */
export function validateForgetMember({ node }: ForgetMemberRequest): string {
  const validator = new Validator();
  if (node === '') validator.refuse('node', 'is required');
  validator.chars('node', node, LIMITS.NODE_CHARS.value);
  validator.done();
  return node;
}
