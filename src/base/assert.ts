/** A broken assumption inside the program: never the fault of a caller. */
export class AssertionFailed extends Error {
  override readonly name = 'AssertionFailed';
}

/** Throws unless `condition` holds. It is for facts about data that this code has not checked itself. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionFailed(message);
}
