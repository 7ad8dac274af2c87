import { createHash } from 'node:crypto';
import { UNWATCHED_ROOT } from './keys.js';

/** The prefix of the key of every remembered request. */
export const REQUESTS = `${UNWATCHED_ROOT}r/`;

/**
 * The key of the answer to a request that carried a `request_id`. Each caller has its own: a repeat by another one is another
 * request. `principal` is the name of the caller; empty if it showed no credential.
 */
export function requestKey(namespace: string, requestId: string, principal: string): string {
  const owner = principal === '' ? '' : `/${createHash('sha256').update(principal).digest('base64url').slice(0, 22)}`;
  return `${REQUESTS}${namespace}/${requestId}${owner}`;
}
