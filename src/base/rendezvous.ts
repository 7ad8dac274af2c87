import { createHash } from 'node:crypto';

/**
 * The score of a candidate for a key, for rendezvous hashing. The candidates with the highest scores are chosen, so a
 * candidate that comes or goes moves only its own keys. Scores are compared as text.
 */
export function rendezvousScore(candidate: string, separator: string, key: string): string {
  return createHash('sha1').update(candidate).update(separator).update(key).digest('hex');
}
