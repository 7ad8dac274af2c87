import type { Claim, Signature } from '../../model/actor.js';
import { LIMITS } from '../../model/limits.js';
import type { WatcherIdentity } from '../../gen/rollcall/v1/watch.js';
import type { WatchReader } from '../watch/stream.js';
import { type Call, notesOf } from './call.js';

/** The name under which records know the caller: that of its credential. Empty if it showed none. */
const nameOf = ({ principal }: Pick<Call, 'principal'>): string =>
  principal.kind === 'anonymous' ? '' : [...principal.name].slice(0, LIMITS.LABEL_CHARS.value).join('');

/** A write with its author, who is the caller once it is known: anybody can claim to be another one. */
export function authoredBy<C extends Claim>(call: Pick<Call, 'principal' | 'notes'>, claim: C): C {
  const author = nameOf(call) || claim.author;
  const notes = notesOf(call);
  notes.author = claim.author === author ? '' : claim.author;
  notes.comment = claim.comment;
  return { ...claim, author };
}

/** The signature of a write. */
export function signedBy(call: Pick<Call, 'principal' | 'notes' | 'peerAddress'>, claim: Claim): Signature {
  return { ...authoredBy(call, claim), address: call.peerAddress };
}

/** The signature of a write that claims nothing. */
export const callerOf = (call: Pick<Call, 'principal' | 'peerAddress'>): Signature => ({
  author: nameOf(call),
  comment: '',
  address: call.peerAddress,
});

/** Who reads a stream of the call, for operators. */
export const readerOf = (
  { principal, peerAddress: address }: Pick<Call, 'principal' | 'peerAddress'>,
  identity: WatcherIdentity | undefined,
): WatchReader => ({ identity, principal: principal.name, address });
