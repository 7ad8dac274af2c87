import type { Catalog } from '../../catalog/catalog.js';
import { ResetReason } from '../../gen/rollcall/v1/watch.js';
import { invalidRequest } from '../../model/errors.js';
import { decodeResumeToken, type ResumeToken } from '../../model/tokens.js';

/** Where a stream begins. Cursor 0n begins with a snapshot; the reason says why a token was not continued. */
export interface Beginning {
  readonly cursor: bigint;
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
  if (!token) return undefined;
  return token.epoch === catalog.storeEpoch && !catalog.has(token.revision) ? token.revision : undefined;
}

/** Where a stream with this token begins. If the token cannot be continued, the stream begins with a snapshot. */
export function beginningOf(token: ResumeToken | undefined, selection: string, catalog: Catalog): Beginning {
  if (!token) return { cursor: 0n, resetReason: ResetReason.RESET_REASON_UNSPECIFIED };
  if (token.epoch !== catalog.storeEpoch) return { cursor: 0n, resetReason: ResetReason.RESET_REASON_OTHER_STORE };
  if (token.selection !== selection) return { cursor: 0n, resetReason: ResetReason.RESET_REASON_OTHER_SELECTION };
  if (token.revision < catalog.oldestCursor) return { cursor: 0n, resetReason: ResetReason.RESET_REASON_TOKEN_TOO_OLD };
  return { cursor: token.revision, resetReason: ResetReason.RESET_REASON_UNSPECIFIED };
}
