/** Does something with each of a list: `atOnce` of them are under way together. */
export async function inParallel<T>(
  all: readonly T[],
  atOnce: number,
  one: (item: T) => Promise<unknown>,
): Promise<void> {
  const rest = all.values();
  const work = async (): Promise<void> => {
    for (const item of rest) await one(item);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, all.length) }, work));
}
