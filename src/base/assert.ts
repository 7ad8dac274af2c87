/** A broken assumption inside the program: never the fault of a caller. */
export class AssertionFailed extends Error {
  override readonly name = 'AssertionFailed';
}

/** Throws unless `condition` holds. For what must be true of data that was not checked here. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionFailed(message);
}
