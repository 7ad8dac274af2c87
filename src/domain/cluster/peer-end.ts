import type { Answer, Heard, HeardNote, Query } from '../health/heard.js';
import type { MemberRef } from '../health/peers.js';
import { RollcallError } from '../../model/errors.js';
import type { Membership } from './membership.js';

/** What a process says to the members of its cluster. */
export type PeerAnswers = Pick<PeerEnd, 'lastHeard' | 'handOver' | 'storeWorks'>;

function notThatMember({ id, epoch }: MemberRef): never {
  throw new RollcallError('NOT_THAT_MEMBER', `this is not member ${id} of epoch ${epoch}`);
}

/** A process that is no member of anything. */
export const noMember: PeerAnswers = { lastHeard: notThatMember, handOver: notThatMember, storeWorks: notThatMember };

/** What this member says to the others. Each question is for one membership: anyone else must not answer in its place. */
export class PeerEnd {
  constructor(
    private readonly membership: Membership,
    private readonly heard: Heard,
  ) {}

  lastHeard(to: MemberRef, queries: readonly Query[], promise: boolean): readonly Answer[] {
    this.#assertAddressed(to);
    return queries.map((query) => this.heard.answer(query, promise));
  }

  handOver(to: MemberRef, notes: readonly HeardNote[]): void {
    this.#assertAddressed(to);
    for (const { key, incarnation, revision, ageMs } of notes) this.heard.noteOf(key, incarnation, revision, ageMs);
  }

  storeWorks(to: MemberRef): boolean {
    this.#assertAddressed(to);
    return this.membership.storeWorks;
  }

  #assertAddressed(to: MemberRef): void {
    if (!this.membership.isAddressed(to)) notThatMember(to);
  }
}
