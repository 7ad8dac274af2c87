import type { ForgetMemberRequest, ReleaseProtectionRequest } from '../../gen/rollcall/v1/admin_service.js';
import type { Signature } from '../../model/item.js';
import { LIMITS } from '../../model/limits.js';
import { SERVICE } from '../../model/names.js';
import { Checker } from '../call/checker.js';

/** Checks a ReleaseProtection and fills the default. */
export function checkReleaseProtection(request: ReleaseProtectionRequest): {
  namespace: string;
  service: string;
  signature: Signature;
} {
  const check = new Checker();
  const namespace = check.namespace(request.namespace);
  const service = check.name('service', request.service, SERVICE);
  const signature = check.signature(request);
  check.done();
  return { namespace, service, signature };
}

/** Checks a ForgetMember. */
export function checkForgetMember({ node }: ForgetMemberRequest): string {
  const check = new Checker();
  if (node === '') check.refuse('node', 'is required');
  check.chars('node', node, LIMITS.NODE_CHARS.value);
  check.done();
  return node;
}
