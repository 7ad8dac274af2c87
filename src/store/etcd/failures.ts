/** The meaning of a failed call to etcd for its caller. */
export type FailureKind =
  /** etcd gave no answer, or none that settles the call. It may have happened, and another endpoint may work. */
  | 'UNREACHABLE'
  /** The requested revision has been compacted. */
  | 'COMPACTED'
  /** The database is full. Nothing happened. */
  | 'FULL'
  /** The request is larger than etcd accepts. Nothing happened. */
  | 'TOO_LARGE'
  /** The token of this server's user has expired, or roles have changed. Nothing happened. */
  | 'TOKEN'
  /** This server's user lacks the permission, or its password is wrong. Nothing happened. */
  | 'DENIED'
  /** The lease does not exist any more. Nothing happened. */
  | 'LEASE_GONE'
  /** etcd does not understand the request. Nothing happened. */
  | 'REFUSED';

/** A failed call to etcd. */
export class EtcdFailure extends Error {
  override readonly name = 'EtcdFailure';
  constructor(
    readonly kind: FailureKind,
    message: string,
    cause?: unknown,
    /** How often the call was sent. If more than once, an earlier attempt may have happened, whatever the kind. */
    readonly attempts = 1,
  ) {
    super(message, { cause });
  }

  /** Returns the same failure for a call that was sent `attempts` times. */
  after(attempts: number): EtcdFailure {
    return new EtcdFailure(this.kind, this.message, this.cause, attempts);
  }
}

/** The text that replaces etcd's own text for an expired token. */
export const TOKEN_EXPIRED = 'the token has expired';

/** The texts of etcd. They say more than its status codes (api/v3rpc/rpctypes/error.go in etcd). */
const PHRASES: readonly (readonly [RegExp, FailureKind])[] = [
  [/revision has been compacted/, 'COMPACTED'],
  [/database space exceeded/, 'FULL'],
  [/request is too large|too many operations|message larger than max/, 'TOO_LARGE'],
  [/the token has expired|invalid auth token|revision of auth store is old|user name is empty/, 'TOKEN'],
  [/permission denied|authentication failed|authentication is not enabled|role .*not found/, 'DENIED'],
  [/requested lease not found/, 'LEASE_GONE'],
  [/too many requests/, 'UNREACHABLE'],
];

/** The status codes that prove that nothing happened. */
const DEFINITE = new Set([
  3, // INVALID_ARGUMENT
  7, // PERMISSION_DENIED
  9, // FAILED_PRECONDITION
  11, // OUT_OF_RANGE
  12, // UNIMPLEMENTED
]);
/** The code of an error that names none. */
const UNAVAILABLE = 14;

/** Classifies the error of a call to etcd. */
export function failureOf(error: unknown): EtcdFailure {
  if (error instanceof EtcdFailure) return error;
  const { message, code } = error as Error & { code?: unknown };
  const known = PHRASES.find(([phrase]) => phrase.test(message));
  if (known) return new EtcdFailure(known[1], message, error);
  // The client library drops the code of an error that it gives a class of its own. The message still begins with it.
  const number =
    typeof code === 'number' ? code : Number(/^(?:\w+: )?(\d+) [A-Z_]+:/.exec(message)?.[1] ?? UNAVAILABLE);
  return new EtcdFailure(DEFINITE.has(number) ? 'REFUSED' : 'UNREACHABLE', message, error);
}
