import { createHash } from 'node:crypto';
import { LIMITS } from './limits.js';

/** The position of a watch: the history it belongs to, the revision it has reached, and its selection. */
export interface ResumeToken {
  readonly epoch: string;
  readonly revision: bigint;
  readonly selection: string;
}

/** The position of a list: the last entry of a page, and the selection of the list. */
export interface PageToken {
  readonly after: readonly string[];
  readonly selection: string;
}

/** A short name for a selection: equal selections have equal names. */
export function hashSelection(parts: unknown): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url').slice(0, 16);
}

const text = (parts: readonly unknown[]): string => Buffer.from(JSON.stringify(parts)).toString('base64url');

/** Reads a token into its parts. `undefined` if this program never made it. */
function parts(token: string): unknown[] | undefined {
  if (token.length > LIMITS.TOKEN_CHARS.value || !/^[A-Za-z0-9_-]+$/.test(token)) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(token, 'base64url').toString());
    return Array.isArray(value) ? (value as unknown[]) : undefined;
  } catch {
    return undefined;
  }
}

export function encodeResumeToken({ epoch, revision, selection }: ResumeToken): string {
  return text(['w', epoch, revision.toString(36), selection]);
}

/** Returns `undefined` if the token is malformed. */
export function decodeResumeToken(token: string): ResumeToken | undefined {
  const [kind, epoch, revision, selection] = parts(token) ?? [];
  if (kind !== 'w' || typeof epoch !== 'string' || typeof revision !== 'string' || typeof selection !== 'string')
    return undefined;
  if (!/^[0-9a-z]{1,12}$/.test(revision)) return undefined;
  const number = parseInt(revision, 36);
  return Number.isSafeInteger(number) ? { epoch, revision: BigInt(number), selection } : undefined;
}

export function encodePageToken({ after, selection }: PageToken): string {
  return text(['p', selection, ...after]);
}

/** Returns `undefined` if the token is malformed or belongs to another list. */
export function decodePageToken(token: string, selection: string): PageToken | undefined {
  const [kind, of, ...after] = parts(token) ?? [];
  if (kind !== 'p' || of !== selection || !after.every((part) => typeof part === 'string')) return undefined;
  return { after: after, selection };
}
