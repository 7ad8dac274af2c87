import type { ReleaseProtectionRequest } from '../../gen/rollcall/v1/admin_service.js';
import { LIMITS } from '../../model/limits.js';
import { SERVICE } from '../../model/names.js';
import { Checker } from '../call/checker.js';

/** Checks a ReleaseProtection and fills the default. */
export function checkReleaseProtection(request: ReleaseProtectionRequest): {
  namespace: string;
  service: string;
  author: string;
} {
  const check = new Checker();
  const namespace = check.namespace(request.namespace);
  const service = check.name('service', request.service, SERVICE);
  const author = check.chars('author', request.author, LIMITS.LABEL_CHARS.value);
  check.done();
  return { namespace, service, author };
}
