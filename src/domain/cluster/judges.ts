import { rendezvousScore } from '../../base/rendezvous.js';

/** The most services whose judge is cached; beyond that the cache is emptied. */
const CACHED_MAX = 100_000;

/**
 * Assigns each service to the member that judges it, by rendezvous hashing: the member with the highest score. A member
 * that joins or leaves moves only its own services. Every member computes the same result.
 */
export class Judges {
  #members: readonly string[] = [];
  readonly #cached = new Map<string, string | undefined>();

  /** Sets the members. */
  elect(members: readonly string[]): void {
    this.#members = [...members].sort();
    this.#cached.clear();
  }

  /** The id of the member that judges a service. `undefined` if there are no members. */
  of(namespace: string, service: string): string | undefined {
    const name = `${namespace}/${service}`;
    if (this.#cached.has(name)) return this.#cached.get(name);
    if (this.#cached.size >= CACHED_MAX) this.#cached.clear();
    let best: { id: string; score: string } | undefined;
    for (const id of this.#members) {
      const score = rendezvousScore(id, '/', name);
      if (!best || score > best.score) best = { id, score };
    }
    this.#cached.set(name, best?.id);
    return best?.id;
  }
}
