/** The larger of two numbers: Math.max for bigint, such as revisions. */
export const maxOf = (a: bigint, b: bigint): bigint => (a > b ? a : b);
