import type { ForgetMemberRequest, ReleaseProtectionRequest } from '../../gen/rollcall/v1/admin_service.js';
import type { Claim } from '../../model/actor.js';
import { LIMITS } from '../../model/limits.js';
import { SERVICE } from '../../model/names.js';
import { Checker } from '../call/checker.js';

/** Checks a ReleaseProtection and fills the default. */
export function checkReleaseProtection(request: ReleaseProtectionRequest): {
  namespace: string;
  service: string;
  claim: Claim;
} {
  const check = new Checker();
  const namespace = check.namespace(request.namespace);
  const service = check.name('service', request.service, SERVICE);
  const claim = check.claim(request);
  check.done();
  return { namespace, service, claim };
}

/** Checks a ForgetMember. */
export function checkForgetMember({ node }: ForgetMemberRequest): string {
  const check = new Checker();
  if (node === '') check.refuse('node', 'is required');
  check.chars('node', node, LIMITS.NODE_CHARS.value);
  check.done();
  return node;
}
