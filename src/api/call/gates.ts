import type { Call } from './call.js';

/**
 * A rule that may refuse a call. It throws, or rejects, with a RollcallError. A gate that can decide at once returns
 * `undefined`, so that a call that waits for nothing is answered in the same turn.
 */
export interface Gate {
  readonly name: string;
  admit(call: Call): Promise<void> | undefined;
}

/** Admits a call before its request is decoded. Throws, or rejects, if a gate refuses it. */
export type Admit = (call: Call) => Promise<void> | undefined;

/** Asks gates in their order. The first that refuses decides, and the later ones are not asked. */
export function inOrder(gates: readonly Gate[]): Admit {
  const admitFrom = (first: number, call: Call): Promise<void> | undefined => {
    for (let i = first; i < gates.length; i++) {
      const admitted = gates[i]!.admit(call);
      if (admitted) return admitted.then(() => admitFrom(i + 1, call));
    }
    return undefined;
  };
  return (call) => admitFrom(0, call);
}
