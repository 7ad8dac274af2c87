/** What a failed call to etcd means for the caller. */
export type FailureKind =
  /** No answer, or none that settles it: the call may have happened or not, and another endpoint may do better. */
  | 'UNREACHABLE'
  /** The revision that was asked for has been compacted. */
  | 'COMPACTED'
  /** The database is full; nothing happened. */
  | 'FULL'
  /** The request is larger than etcd takes; nothing happened. */
  | 'TOO_LARGE'
  /** The token of our user has run out, or roles have changed; nothing happened. */
  | 'TOKEN'
  /** Our user may not do this, or its password is wrong; nothing happened. */
  | 'DENIED'
  /** The lease is gone; nothing happened. */
  | 'LEASE_GONE'
  /** etcd cannot make sense of the request; nothing happened. */
  | 'REFUSED';

/** A failed call to etcd. */
export class EtcdFailure extends Error {
  override readonly name = 'EtcdFailure';
  constructor(
    readonly kind: FailureKind,
    message: string,
    cause?: unknown,
    /** How often the call was sent. More than once: an earlier attempt may have happened, whatever the kind. */
    readonly attempts = 1,
  ) {
    super(message, { cause });
  }

  /** The same failure, of a call that was sent so often. */
  after(attempts: number): EtcdFailure {
    return new EtcdFailure(this.kind, this.message, this.cause, attempts);
  }
}

/** What a token that has run out is called here. */
export const TOKEN_OVER = 'the token is over';

/** etcd's own words, which say more than its status codes (api/v3rpc/rpctypes/error.go in etcd). */
const WORDS: readonly (readonly [RegExp, FailureKind])[] = [
  [/revision has been compacted/, 'COMPACTED'],
  [/database space exceeded/, 'FULL'],
  [/request is too large|too many operations|message larger than max/, 'TOO_LARGE'],
  [/the token is over|invalid auth token|revision of auth store is old|user name is empty/, 'TOKEN'],
  [/permission denied|authentication failed|authentication is not enabled|role .*not found/, 'DENIED'],
  [/requested lease not found/, 'LEASE_GONE'],
  [/too many requests/, 'UNREACHABLE'],
];

/** The status codes after which it is known that nothing happened. */
const DEFINITE = new Set([
  3, // INVALID_ARGUMENT
  7, // PERMISSION_DENIED
  9, // FAILED_PRECONDITION
  11, // OUT_OF_RANGE
  12, // UNIMPLEMENTED
]);

/** Makes sense of whatever a call to etcd failed with. */
export function failureOf(error: unknown): EtcdFailure {
  if (error instanceof EtcdFailure) return error;
  const { message, code } = error as Error & { code?: unknown };
  const word = WORDS.find(([words]) => words.test(message));
  if (word) return new EtcdFailure(word[1], message, error);
  // The client library drops the code of an error that it has named; the message still begins with it.
  const number = typeof code === 'number' ? code : Number(/^(?:\w+: )?(\d+) [A-Z_]+:/.exec(message)?.[1] ?? 14);
  return new EtcdFailure(DEFINITE.has(number) ? 'REFUSED' : 'UNREACHABLE', message, error);
}
