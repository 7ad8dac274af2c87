import { maxOf } from '../../base/max.js';
import type { Catalog } from '../../catalog/catalog.js';
import { ResetReason } from '../../gen/rollcall/v1/watch.js';
import { invalidRequest } from '../../model/errors.js';
import { decodeResumeToken, type ResumeToken } from '../../model/tokens.js';

/** The parts of a view that a reader has staged, because an earlier stream did not send it to its end. */
export interface Staged {
  /** All changes up to this revision are staged. */
  readonly through: bigint;
  /** See Unfinished. */
  readonly began: bigint;
}

/** Where a stream begins. Cursor 0n begins with a snapshot; the reason says why a token was not continued. */
export interface Beginning {
  readonly cursor: bigint;
  /** `undefined` unless the stream continues a view that an earlier one began to send. */
  readonly unfinished: Staged | undefined;
  readonly resetReason: ResetReason;
}

/** Reads the token of a request; `undefined` if the request has none. Throws INVALID_REQUEST if it is malformed. */
export function readToken(resumeToken: string): ResumeToken | undefined {
  if (resumeToken === '') return undefined;
  const token = decodeResumeToken(resumeToken);
  if (token) return token;
  throw invalidRequest([{ field: 'resume_token', description: 'is not a token of a watch' }]);
}

/** The revision to wait for before the watch begins, if the token is ahead of this catalog. Otherwise `undefined`. */
export function revisionAhead(token: ResumeToken | undefined, catalog: Catalog): bigint | undefined {
  if (token?.epoch !== catalog.storeEpoch) return undefined;
  const needed = maxOf(token.revision, token.unfinished?.to ?? 0n);
  return catalog.has(needed) ? undefined : needed;
}

/** Where a stream with this token begins. If the token cannot be continued, the stream begins with a snapshot. */
export function beginningOf(token: ResumeToken | undefined, selection: string, catalog: Catalog): Beginning {
  if (!token) return snapshot(ResetReason.RESET_REASON_UNSPECIFIED);
  if (token.epoch !== catalog.storeEpoch) return snapshot(ResetReason.RESET_REASON_OTHER_STORE);
  if (token.selection !== selection) return snapshot(ResetReason.RESET_REASON_OTHER_SELECTION);
  const { revision, unfinished } = token;
  // The parts that are staged hold nothing that was removed before the view was begun.
  if ((unfinished?.began ?? revision) < catalog.oldestCursor) return snapshot(ResetReason.RESET_REASON_TOKEN_TOO_OLD);
  return {
    cursor: unfinished ? unfinished.from : revision,
    unfinished: unfinished && { through: revision, began: unfinished.began },
    resetReason: ResetReason.RESET_REASON_UNSPECIFIED,
  };
}

const snapshot = (resetReason: ResetReason): Beginning => ({ cursor: 0n, unfinished: undefined, resetReason });
