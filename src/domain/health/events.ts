/**
 * The rule by which a service becomes protected, without clocks and records: it looks for the one moment at which the
 * falls of an event began, and compares the instances that were up then with those that are up now.
 */

/** An instance that fell silent, and counts. */
export interface Fallen {
  /** When this process saw that it fell. */
  readonly fellMs: number;
  /** The revision at which it fell. */
  readonly revision: bigint;
  /** When it had been registered long enough to count. -Infinity if it was found at a start. */
  readonly seasonedAtMs: number;
  /** True if it was found silent at a start: it is not known when it fell. */
  readonly found: boolean;
}

/** The falls that belong together. */
export interface FallEvent<F extends Fallen> {
  readonly fallen: readonly F[];
  /** The number of instances that counted and were up before the first of the falls. */
  readonly before: number;
}

/**
 * Finds the event among falls: the latest falls, as many of them as make the number of instances before the event
 * largest. Instances that fell in the event and those that are up count if they had been seasoned before the event.
 * Looking back at one moment counts no instance twice, such as a process and its successor.
 *
 * `upSeasonedAtMs` holds, for each instance that is up, the time since which it counts. Returns `undefined` without falls.
 */
export function findEvent<F extends Fallen>(
  falls: readonly F[],
  upSeasonedAtMs: readonly number[],
): FallEvent<F> | undefined {
  const newestFirst = [...falls].sort((a, b) => b.fellMs - a.fellMs || (a.revision < b.revision ? 1 : -1));
  const up = [...upSeasonedAtMs].sort((a, b) => b - a); // the latest first
  const counted = new Latest();
  let skipped = 0;
  let best: { size: number; before: number } | undefined;
  newestFirst.forEach(({ fellMs, seasonedAtMs, found }, i) => {
    // A fall of unknown time says nothing about those that are up: the two may never have been up together.
    if (!found || up.length === 0) counted.add(seasonedAtMs);
    counted.dropLaterThan(fellMs);
    while (skipped < up.length && up[skipped]! > fellMs) skipped++;
    const before = counted.size + up.length - skipped;
    if (!best || before > best.before) best = { size: i + 1, before };
  });
  return best && { fallen: newestFirst.slice(0, best.size), before: best.before };
}

/** A set of times from which the latest are dropped. */
class Latest {
  /** In ascending order. */
  readonly #times: number[] = [];

  get size(): number {
    return this.#times.length;
  }

  add(time: number): void {
    let low = 0;
    let high = this.#times.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#times[middle]! <= time) low = middle + 1;
      else high = middle;
    }
    this.#times.splice(low, 0, time);
  }

  dropLaterThan(time: number): void {
    while (this.#times.length > 0 && this.#times.at(-1)! > time) this.#times.pop();
  }
}
