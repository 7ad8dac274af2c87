/** One page of a list. */
export interface Page<T> {
  readonly entries: readonly T[];
  /** The key of the last entry. Undefined: there is no more. */
  readonly last: string | undefined;
}

/** The first `size` of `all` by key. Only what is on the page is made. */
export function page<S, T>(
  all: readonly S[],
  size: number,
  keyOf: (entry: S) => string,
  make: (entry: S) => T,
): Page<T> {
  const sorted = [...all].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const entries = sorted.slice(0, size);
  const last = sorted.length > size ? keyOf(entries[entries.length - 1]!) : undefined;
  return { entries: entries.map(make), last };
}
