import type { Call } from './call.js';
import type { Admit } from './method.js';

/**
 * A rule that may refuse a call. It throws, or rejects, with a RollcallError. A gate that can decide at once returns
 * `undefined`, so that a call that waits for nothing is answered in the same turn.
 */
export interface Gate {
  readonly name: string;
  /**
   * When the gate is asked. RECEIVED: before the request is decoded. CHECKED: with the checked input, once per request of
   * a stream.
   */
  readonly phase: 'RECEIVED' | 'CHECKED';
  /** `checked` is `undefined` in phase RECEIVED. */
  admit(call: Call, checked: unknown): Promise<void> | undefined;
}

/** Asks the gates of a phase in their order. The first that refuses decides, and the later ones are not asked. */
export function gatesOf(gates: readonly Gate[], phase: Gate['phase']): Admit {
  const asked = gates.filter((gate) => gate.phase === phase);
  if (asked.length === 0) return () => undefined;
  const admitFrom = (first: number, call: Call, checked: unknown): Promise<void> | undefined => {
    for (let i = first; i < asked.length; i++) {
      const admitted = asked[i]!.admit(call, checked);
      if (admitted) return admitted.then(() => admitFrom(i + 1, call, checked));
    }
    return undefined;
  };
  return (call, checked) => admitFrom(0, call, checked);
}
