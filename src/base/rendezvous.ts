import { createHash } from 'node:crypto';

/** A 32-bit hash of a text (FNV-1a). It is fast and spreads well; it hides nothing. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/**
 * The score of a candidate for a key, both by their hashes, for rendezvous hashing over very many keys: the work of two
 * multiplications. Equal scores are possible, and must be decided by the caller.
 */
export function mixedScore(candidate: number, key: number): number {
  let mixed = candidate ^ key;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/**
 * The score of a candidate for a key, for rendezvous hashing. The candidates with the highest scores are chosen, so a
 * candidate that comes or goes moves only its own keys. Scores are compared as text.
 */
export function rendezvousScore(candidate: string, separator: string, key: string): string {
  return createHash('sha1').update(candidate).update(separator).update(key).digest('hex');
}
