import type { Compare } from '../../store/store.js';
import type { Answer, HeardNote, Query } from './heard.js';

/** One membership: a process, from one join to its end. */
export interface MemberRef {
  /** The random id of the process. */
  readonly id: string;
  /** The revision at which its key was created. */
  readonly epoch: bigint;
}

/** Another member, as it can be asked. Every call fails when it cannot be reached in time. */
export interface PeerLink {
  /** Answers each query in order; see Heard.answer. */
  lastHeard(queries: readonly Query[], promise: boolean): Promise<readonly Answer[]>;
  /** Takes over what this member has heard. */
  handOver(notes: readonly HeardNote[]): Promise<void>;
  /** True: the store works for that member. */
  storeWorks(): Promise<boolean>;
  close(): void;
}

/** Makes the way to a member. Does not wait: a member that is not there is one that does not answer. */
export type PeerConnector = (member: MemberRef & { readonly address: string }) => PeerLink;

/** What a round of judgement fixes before it asks. */
export interface Jury {
  /** What the verdict's commit compares beside the record: the own membership, and the set of members. */
  readonly guard: readonly Compare[];
  /** Every live member but this one. */
  readonly others: readonly Pick<PeerLink, 'lastHeard'>[];
}

/** The cluster as the judge and the heartbeats see it. */
export interface Cluster {
  /** Whom a verdict needs. Undefined: nothing can be judged now. */
  jury(): Jury | undefined;
  /** True: this member judges the instances of that service. */
  judges(namespace: string, service: string): boolean;
  /** Why no heartbeat may be acknowledged now. Undefined: they may. */
  fenced(): string | undefined;
  /** Tells `listener` that the members are others than before, so that others judge. */
  onMembers(listener: () => void): void;
  /** Tells `listener` that beats may have been lost: every ttl begins anew after a grace. */
  onDisturbance(listener: () => void): void;
}

/** One process alone: nobody else can have heard. */
export const alone: Cluster = {
  jury: () => ({ guard: [], others: [] }),
  judges: () => true,
  fenced: () => undefined,
  onMembers: () => undefined,
  onDisturbance: () => undefined,
};
