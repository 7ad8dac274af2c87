import { createHash } from 'node:crypto';
import { LIMITS } from './limits.js';

/** The position of a watch: the history it belongs to, the revision it has reached, and its selection. */
export interface ResumeToken {
  readonly epoch: string;
  readonly revision: bigint;
  readonly selection: string;
  /** Set if the stream was in the middle of a view: `revision` then is the last one whose changes were all sent. */
  readonly unfinished?: Unfinished | undefined;
}

/** A view that was not sent to its end. */
export interface Unfinished {
  /** The revision of the complete view that the reader has. 0n: it has none. */
  readonly from: bigint;
  /** The revision at which the view was begun. None of its parts holds what was removed before. It stays the same however often the view is continued. */
  readonly began: bigint;
  /**
   * The revision that the view was to reach. An item that changed again up to this revision was left out until its last
   * change, so only a server that has reached it can go on.
   */
  readonly to: bigint;
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

export function encodeResumeToken({ epoch, revision, selection, unfinished }: ResumeToken): string {
  const numbers = unfinished ? [revision, unfinished.from, unfinished.began, unfinished.to] : [revision];
  const [at, ...more] = numbers.map((number) => number.toString(36));
  return text(['w', epoch, at, selection, ...more]);
}

/** Returns `undefined` if the token is malformed. */
export function decodeResumeToken(token: string): ResumeToken | undefined {
  const [kind, epoch, at, selection, ...more] = parts(token) ?? [];
  if (kind !== 'w' || typeof epoch !== 'string' || typeof selection !== 'string') return undefined;
  const [revision, from, began, to] = [at, ...more].map(readRevision);
  if (revision === undefined) return undefined;
  if (more.length === 0) return { epoch, revision, selection };
  if (from === undefined || began === undefined || to === undefined) return undefined;
  if (from > revision || revision > to || from > began || began > to) return undefined;
  return { epoch, revision, selection, unfinished: { from, began, to } };
}

/** Reads a revision of a token. `undefined` if this program never wrote it so. */
function readRevision(text: unknown): bigint | undefined {
  if (typeof text !== 'string' || !/^[0-9a-z]{1,12}$/.test(text)) return undefined;
  const number = parseInt(text, 36);
  return Number.isSafeInteger(number) ? BigInt(number) : undefined;
}

export function encodePageToken({ after, selection }: PageToken): string {
  return text(['p', selection, ...after]);
}

/** Returns `undefined` if the token is malformed or belongs to another list. */
export function decodePageToken(token: string, selection: string): PageToken | undefined {
  const [kind, of, ...after] = parts(token) ?? [];
  if (kind !== 'p' || of !== selection || !after.every((part) => typeof part === 'string')) return undefined;
  return { after, selection };
}
