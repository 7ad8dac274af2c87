import { hash32, mixedScore } from '../../base/rendezvous.js';

/**
 * Assigns each instance to the member that probes it, by rendezvous hashing, as Judges assigns services. Instances are many,
 * so nothing is cached and the hash is a fast one.
 */
export class Checkers {
  #members: readonly { readonly id: string; readonly hash: number }[] = [];

  /** Sets the members. */
  elect(members: readonly string[]): void {
    this.#members = [...members].sort().map((id) => ({ id, hash: hash32(id) }));
  }

  /** The id of the member that probes the instance at a key. `undefined` if there are no members. */
  of(key: string): string | undefined {
    const keyHash = hash32(key);
    let best: { readonly id: string; readonly score: number } | undefined;
    for (const { id, hash } of this.#members) {
      const score = mixedScore(hash, keyHash);
      // Of equal scores the first one wins: members are in order.
      if (!best || score > best.score) best = { id, score };
    }
    return best?.id;
  }
}
