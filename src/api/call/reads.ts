import type { ReadOptions, ReadStamp } from '../../catalog/freshness.js';
import type { Duration } from '../../gen/google/protobuf/duration.js';
import { toDuration } from '../../model/time.js';
import { encodePageToken, hashSelection } from '../../model/tokens.js';
import type { Validator } from './validator.js';

/** Checks how fresh a read must be. */
export function validateRead(validator: Validator, { minRevision, barrier }: ReadOptions): ReadOptions {
  return { minRevision: validator.notNegative('min_revision', minRevision), barrier };
}

/**
 * Validates the page and the freshness of a list whose entries have one name to go on from. `of`: what is listed. The tokens of its
 * pages count for no other list.
 */
export function validateList(
  validator: Validator,
  request: { pageSize: number; pageToken: string } & ReadOptions,
  of: readonly string[],
): { size: number; after: string; selection: string; read: ReadOptions } {
  const selection = hashSelection(of);
  const { size, after } = validator.page(request, selection);
  return { size, after: after[0] ?? '', selection, read: validateRead(validator, request) };
}

/** The fields that every answer to a read carries. */
export function readFields({ revision, staleForMs }: ReadStamp): { revision: bigint; staleFor: Duration | undefined } {
  return { revision, staleFor: staleForMs === undefined ? undefined : toDuration(staleForMs) };
}

/** The token of the next page of a list; empty after the last page. */
export function pageToken(last: string | undefined, selection: string): string {
  return last === undefined ? '' : encodePageToken({ after: [last], selection });
}
