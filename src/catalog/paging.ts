import { LIMITS } from '../model/limits.js';
import { compareKeys } from '../store/store.js';

/** One page of a list. */
export interface Page<T> {
  readonly entries: readonly T[];
  /** The key of the last entry. `undefined` if this is the last page. */
  readonly last: string | undefined;
}

/**
 * The first `size` of `all` in the byte order of their keys, or fewer if they exceed PAGE_BYTES. `make` is called only
 * for entries of the page.
 */
export function page<S, T>(
  all: readonly S[],
  size: number,
  keyOf: (entry: S) => string,
  make: (entry: S) => T,
  bytesOf: (entry: S) => number = () => 0,
): Page<T> {
  const sorted = [...all].sort((a, b) => compareKeys(keyOf(a), keyOf(b)));
  return firstOf(sorted, size, keyOf, make, bytesOf);
}

/** The first entries of a list that is already in order; see `page`. */
export function firstOf<S, T>(
  sorted: readonly S[],
  size: number,
  keyOf: (entry: S) => string,
  make: (entry: S) => T,
  bytesOf: (entry: S) => number,
): Page<T> {
  const entries: T[] = [];
  let bytes = 0;
  for (const entry of sorted) {
    bytes += bytesOf(entry);
    if (entries.length >= size || (entries.length > 0 && bytes > LIMITS.PAGE_BYTES.value)) break;
    entries.push(make(entry));
  }
  return { entries, last: entries.length < sorted.length ? keyOf(sorted[entries.length - 1]!) : undefined };
}
