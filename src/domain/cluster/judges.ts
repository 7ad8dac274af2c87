import { createHash } from 'node:crypto';

/** Services whose judge is remembered; beyond, everything is forgotten and found anew. */
const REMEMBERED_MAX = 100_000;

/**
 * Which member judges which service: the one with the highest score, so that a member that comes or goes moves only
 * the services that it gets or had. Every member comes to the same result by itself.
 */
export class Judges {
  #members: readonly string[] = [];
  readonly #remembered = new Map<string, string | undefined>();

  /** These are the members from now on. */
  elect(members: readonly string[]): void {
    this.#members = [...members].sort();
    this.#remembered.clear();
  }

  /** The id of the member that judges a service. Undefined: there are no members. */
  of(namespace: string, service: string): string | undefined {
    const name = `${namespace}/${service}`;
    if (this.#remembered.has(name)) return this.#remembered.get(name);
    if (this.#remembered.size >= REMEMBERED_MAX) this.#remembered.clear();
    let best: { id: string; score: string } | undefined;
    for (const id of this.#members) {
      const score = createHash('sha1').update(`${id}/${name}`).digest('hex');
      if (!best || score > best.score) best = { id, score };
    }
    this.#remembered.set(name, best?.id);
    return best?.id;
  }
}
