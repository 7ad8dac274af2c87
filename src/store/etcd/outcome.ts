import type { ITxnResponse } from 'etcd3';
import { type CommitResult, type Entry, OutcomeLost, StoreRefused, StoreUnavailable, type Txn } from '../store.js';
import { EtcdFailure } from './failures.js';
import type { Unit } from './grouping.js';
import type { KeySpace } from './keys.js';

type Response = ITxnResponse['responses'][number];

/**
 * Reads the answer of etcd to a group. Returns the results of each unit, or OutcomeLost for a unit of unknown outcome.
 *
 * `wasRepeated` says that the group was sent more than once, so a refused transaction may have happened before. Then
 * its write id decides: in the current value of one of its keys it proves the commit.
 */
export function outcomesOf(
  group: readonly Unit[],
  { header, succeeded, responses }: ITxnResponse,
  keys: KeySpace,
  wasRepeated: boolean,
): (CommitResult[] | OutcomeLost)[] {
  const revision = BigInt(header.revision);
  const entryOf = (response: Response | undefined): Entry | undefined => {
    const [kv] = response?.response_range.kvs ?? [];
    return kv && keys.entry(kv);
  };
  let next = 0;
  return group.map((unit) => {
    const results = unit.txns.map((txn): CommitResult | 'LOST' => {
      // The guard did not hold: the answer holds the compared keys of all transactions in a row.
      if (!succeeded) return { ok: false, revision, found: txn.compares.map(() => entryOf(responses[next++])) };
      const { response_txn: nested } = responses[next++]!;
      if (nested.succeeded) return { ok: true, revision };
      const found = nested.responses.map(entryOf);
      return refusedOutcome(txn, revision, found, { wasRepeated, alone: unit.alone });
    });
    return results.includes('LOST')
      ? new OutcomeLost('the reply of etcd was lost, and other commits have written the keys since')
      : (results as CommitResult[]);
  });
}

/** The outcome of a transaction whose compares did not hold when it was sent last. */
function refusedOutcome(
  txn: Txn,
  revision: bigint,
  found: readonly (Entry | undefined)[],
  { wasRepeated, alone }: { wasRepeated: boolean; alone: boolean },
): CommitResult | 'LOST' {
  const written = wasRepeated ? writtenBy(txn, found) : undefined;
  if (written) return { ok: true, revision: written.modRevision };
  if (wasRepeated && !alone && txn.writes.length > 0) return 'LOST';
  return { ok: false, revision, found: found.slice(0, txn.compares.length) };
}

/** Returns the entry that a transaction has written: one of its written keys whose value holds its write id. */
function writtenBy(txn: Txn, found: readonly (Entry | undefined)[]): Entry | undefined {
  if (txn.writeId === '') return undefined;
  const written = new Set(txn.writes.map(({ key }) => key));
  return found.find((entry) => entry && written.has(entry.key) && Buffer.from(entry.value).includes(txn.writeId));
}

/** Returns the failure if it proves that the transaction did not happen, and `undefined` if that is unknown. */
export function definiteFailure(error: unknown): EtcdFailure | undefined {
  return error instanceof EtcdFailure && error.kind !== 'UNREACHABLE' && error.attempts === 1 ? error : undefined;
}

/** The error of a commit that did not happen. */
export function refusalOf({ kind, message }: EtcdFailure): Error {
  if (kind === 'FULL') return new StoreRefused('FULL', message);
  if (kind === 'TOO_LARGE') return new StoreRefused('TOO_LARGE', message);
  return new StoreUnavailable(message);
}

/** The error of a commit that may have happened. */
export function unknownOutcome(error: unknown): Error {
  return error instanceof StoreUnavailable ? error : new StoreUnavailable((error as Error).message, { cause: error });
}
