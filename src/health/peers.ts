import type { Answer, Query } from './heard.js';

/** Another member that may have heard what this one has not. */
export interface Peer {
  readonly name: string;
  /** Answers each query in order; see Heard.answer. Fails when the peer cannot be asked. */
  lastHeard(queries: readonly Query[], promise: boolean): Promise<readonly Answer[]>;
}

/** Whom a judge must ask before it declares anything silent: every live member but itself. */
export interface Peers {
  others(): readonly Peer[];
}

/** One process alone: nobody else can have heard. */
export const noPeers: Peers = { others: () => [] };
