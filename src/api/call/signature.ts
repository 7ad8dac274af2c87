import type { Signature } from '../../model/item.js';
import { LIMITS } from '../../model/limits.js';
import { type Call, notesOf } from './call.js';

/** The name under which records know the caller: that of its credential. Empty if it showed none. */
const callerOf = ({ principal }: Pick<Call, 'principal'>): string =>
  principal.kind === 'anonymous' ? '' : [...principal.name].slice(0, LIMITS.LABEL_CHARS.value).join('');

/** The signature of a write. The author is the caller, once it is known: anybody can claim to be another one. */
export function signedBy<S extends Signature>(call: Pick<Call, 'principal' | 'notes'>, signature: S): S {
  const author = callerOf(call) || signature.author;
  const notes = notesOf(call);
  notes.author = signature.author === author ? '' : signature.author;
  notes.comment = signature.comment;
  return { ...signature, author };
}
