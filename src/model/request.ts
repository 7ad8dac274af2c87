import { UNWATCHED_ROOT } from './keys.js';

/** The prefix of the key of every remembered request. */
export const REQUESTS = `${UNWATCHED_ROOT}r/`;

/** The key of the answer to a request that carried a `request_id`. */
export function requestKey(namespace: string, requestId: string): string {
  return `${REQUESTS}${namespace}/${requestId}`;
}
