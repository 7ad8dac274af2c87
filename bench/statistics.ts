/** The share of values below the lower quartile. */
const LOWER_QUARTILE = 0.25;

/** The lower quartile. Throws on an empty list. */
export function lowerQuartile(values: readonly number[]): number {
  return quantile(values, LOWER_QUARTILE);
}

/** The value below which a share of the values lies, interpolated between neighbors. Throws on an empty list. */
export function quantile(values: readonly number[], share: number): number {
  if (values.length === 0) throw new Error('no values have no quantile');
  const sorted = [...values].sort((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const below = sorted[Math.floor(position)]!;
  const above = sorted[Math.ceil(position)]!;
  return below + (above - below) * (position - Math.floor(position));
}
