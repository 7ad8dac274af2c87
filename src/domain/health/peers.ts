import type { Compare } from '../../store/store.js';
import type { ProbeQuery } from '../../model/probe.js';
import type { ProbeResult } from '../../model/probe.js';
import type { Answer, HeardNote, Query } from './liveness-table.js';

/** One membership: a process, from one join to its end. */
export interface MemberRef {
  /** The random id of the process. */
  readonly id: string;
  /** The revision at which the member key was created. */
  readonly epoch: bigint;
}

/** The state of the store as a member sees it. */
export interface PeerStoreStatus {
  /** True if the store works for that member. */
  readonly works: boolean;
  /** The last rewrite of the asking member that it has seen, and how long ago. `undefined` if it has seen none. */
  readonly seen: { readonly writeId: string; readonly ageMs: number } | undefined;
}

/** The connection to another member. Every call fails if it is not answered in time. */
export interface PeerLink {
  /** Answers each query in order; see LivenessTable.answer. */
  lastHeard(queries: readonly Query[], promise: boolean): Promise<readonly Answer[]>;
  /** Answers each query in order, after a probe of its own. */
  probe(queries: readonly ProbeQuery[], timeoutMs: number): Promise<readonly ProbeResult[]>;
  /** Hands over the beats that this member heard. */
  handOver(notes: readonly HeardNote[]): Promise<void>;
  /** Resolves to the state of the store as that member sees it. `from` is the id of this member. */
  storeStatus(from: string): Promise<PeerStoreStatus>;
  /** Resolves to the part of that member in the answer to a question of an operator: a request and a response, encoded. */
  answerPart(method: string, request: Uint8Array): Promise<Uint8Array>;
  close(): void;
}

/** Connects to a member without waiting. An unreachable member is one whose calls fail. */
export type PeerConnector = (member: MemberRef & { readonly address: string }) => PeerLink;

/** A member that a round asks. */
export interface Juror extends Pick<PeerLink, 'lastHeard' | 'probe'> {
  /** The name of its node. */
  readonly node: string;
  /** False if its settings say that it probes no health checks. */
  readonly canProbe: boolean;
}

/** The facts that a round fixes before it asks. */
export interface Jury {
  /** The compares of a verdict besides the one of its record: this membership, and the set of members. */
  readonly guard: readonly Compare[];
  /** Every live member but this one. */
  readonly others: readonly Juror[];
}

/** The cluster as the judge and the heartbeats see it. */
export interface Cluster {
  /** The members that a verdict needs. `undefined` if nothing can be judged now. */
  jury(): Jury | undefined;
  /** Returns true if this member judges the instances of that service. */
  judges(namespace: string, service: string): boolean;
  /** Returns true if this member is the checker of the instance at that key. It probes it, if it probes at all. */
  checks(key: string): boolean;
  /** The reason why no heartbeat may be acknowledged now. `undefined` if heartbeats may be. */
  fenced(): string | undefined;
  /** Calls `listener` when the set of members, and so the judges, have changed. Ends when `signal` is aborted. */
  onMembers(listener: () => void, signal: AbortSignal): void;
  /** Calls `listener` after a disturbance: every TTL begins again after the grace. Ends when `signal` is aborted. */
  onDisturbance(listener: () => void, signal: AbortSignal): void;
}

/** The cluster of a process that is alone on its store. */
export const ALONE: Cluster = {
  jury: () => ({ guard: [], others: [] }),
  judges: () => true,
  checks: () => true,
  fenced: () => undefined,
  onMembers: () => undefined,
  onDisturbance: () => undefined,
};
