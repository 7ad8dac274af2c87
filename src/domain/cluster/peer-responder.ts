import { RollcallError } from '../../model/errors.js';
import type { ProbeAnswers } from '../checks/probe-answers.js';
import type { ProbeQuery } from '../../model/probe.js';
import type { ProbeResult } from '../../model/probe.js';
import type { Answer, HeardNote, LivenessTable, Query } from '../health/liveness-table.js';
import type { MemberRef, PeerStoreStatus } from '../health/peers.js';
import type { Membership } from './membership.js';

/** The answers of a process to the members of its cluster. */
export type PeerAnswers = Pick<PeerResponder, 'lastHeard' | 'probe' | 'handOver' | 'storeStatus' | 'assertAddressed'>;

function notThatMember(): never {
  throw new RollcallError('NOT_THAT_MEMBER', 'this process is not the member that the question is for');
}

/** The answers of a process that is not a member of any cluster. */
export const NO_MEMBER: PeerAnswers = {
  lastHeard: notThatMember,
  probe: notThatMember,
  handOver: notThatMember,
  storeStatus: notThatMember,
  assertAddressed: notThatMember,
};

/** The answers of this member. A question is for one membership: any other process must not answer in its place. */
export class PeerResponder {
  constructor(
    private readonly membership: Membership,
    private readonly table: LivenessTable,
    private readonly probes: ProbeAnswers,
  ) {}

  lastHeard(to: MemberRef, queries: readonly Query[], promise: boolean): readonly Answer[] {
    this.assertAddressed(to);
    return queries.map((query) => this.table.answer(query, promise));
  }

  async probe(to: MemberRef, queries: readonly ProbeQuery[]): Promise<readonly ProbeResult[]> {
    this.assertAddressed(to);
    return this.probes.answer(queries);
  }

  handOver(to: MemberRef, notes: readonly HeardNote[]): void {
    this.assertAddressed(to);
    for (const { key, incarnation, revision, ageMs } of notes) this.table.noteOf(key, incarnation, revision, ageMs);
  }

  storeStatus(to: MemberRef, from: string): PeerStoreStatus {
    this.assertAddressed(to);
    return { works: this.membership.storeWorks, seen: this.membership.seenOf(from) };
  }

  /** Throws NOT_THAT_MEMBER unless a question is for this membership. */
  assertAddressed(to: MemberRef): void {
    if (!this.membership.isAddressed(to)) notThatMember();
  }
}
