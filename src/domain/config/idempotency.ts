import { createHash } from 'node:crypto';
import { maxOf } from '../../base/max.js';
import type { Commits } from '../../catalog/commits.js';
import { RequestRecord } from '../../gen/rollcall/storage/v1/records.js';
import type { Config } from '../../gen/rollcall/v1/config.js';
import { RollcallError } from '../../model/errors.js';
import { decode, type Stamp } from '../../model/item.js';
import { requestKey } from '../../model/request.js';
import { toTimestamp } from '../../model/time.js';
import type { Compare, Revision, Write } from '../../store/store.js';
import { withoutContent } from './content.js';

/** The outcome of a write: the configs after it, with content, and the revision that shows them all. */
export interface Written {
  readonly configs: readonly Config[];
  readonly revision: Revision;
}

/** One write under a `request_id`. Its repeat gets the first answer. */
export interface Repeatable {
  readonly namespace: string;
  /** The name of the caller; empty if it showed no credential. */
  readonly principal: string;
  /** Empty if the caller gave none: a repeat is then a new write. */
  readonly requestId: string;
  /** Equal requests have equal fingerprints. */
  readonly fingerprint: string;
}

/** A short name for the content of a request. */
export function fingerprintOf(parts: unknown): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url');
}

/** Remembers the first answer to each `request_id`, in the same transaction as the write. */
export class Idempotency {
  constructor(private readonly commits: Commits) {}

  /** The first answer under this `request_id`; `undefined` if there was none. Throws REQUEST_ID_REUSED. */
  async firstAnswer({ namespace, principal, requestId, fingerprint }: Repeatable): Promise<Written | undefined> {
    if (requestId === '') return undefined;
    const key = requestKey(namespace, requestId, principal);
    const { entry } = await this.commits.get(key);
    if (!entry) return undefined;
    const record = decode(key, entry.value, RequestRecord);
    if (record.fingerprint !== fingerprint) {
      throw new RollcallError('REQUEST_ID_REUSED', `request_id "${requestId}" was used for another request before`, {
        violations: [{ field: 'request_id', description: 'was used for another request before' }],
      });
    }
    return answerOf(record.configs, entry.modRevision);
  }

  /** The compare and the write that record an answer. Empty if the request has no `request_id`. */
  recordOf(
    { namespace, principal, requestId, fingerprint }: Repeatable,
    { writeId, wallMs }: Stamp,
    answered: readonly Config[],
  ): { compares: Compare[]; writes: Write[] } {
    if (requestId === '') return { compares: [], writes: [] };
    const key = requestKey(namespace, requestId, principal);
    const record = { writeId, fingerprint, configs: answered.map(withoutContent), time: toTimestamp(wallMs) };
    return {
      compares: [{ key, modRevision: 0n }],
      writes: [{ kind: 'put', key, value: RequestRecord.encode(record).finish() }],
    };
  }
}

/**
 * The answer to a write. Its revision is the newest one of its configs, which shows them all. If the write changed no
 * config, that is not the revision of the commit. Such a commit writes at most the request, which no catalog sees.
 */
export function answerOf(answered: readonly Config[], committed: Revision): Written {
  const configs = answered.map((config) => (config.revision === 0n ? { ...config, revision: committed } : config));
  return { configs, revision: configs.reduce((newest, { revision }) => maxOf(newest, revision), 0n) };
}
