/** The gRPC status codes that the product uses; the numbers are gRPC's own. */
export const Code = {
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  INTERNAL: 13,
  UNAVAILABLE: 14,
} as const;

/** The name of a status code. */
export type CodeName = keyof typeof Code;

/** Every reason an error can carry. docs/reference/errors.md shows this table; a test compares them. */
export const REASONS = {
  INVALID_REQUEST: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    meaning: 'A field breaks a rule; BadRequest names every such field, as far as an answer has room.',
  },
  MALFORMED_REQUEST: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    meaning: 'The bytes are not a message of this method, or text in it is not UTF-8.',
  },
  REQUEST_ID_REUSED: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    meaning: 'Another request was made under this request_id.',
  },
  INSTANCE_NOT_FOUND: { code: 'NOT_FOUND', retry: false, meaning: 'No such instance is registered.' },
  CONFIG_NOT_FOUND: { code: 'NOT_FOUND', retry: false, meaning: 'No such config exists.' },
  VERSION_NOT_FOUND: {
    code: 'NOT_FOUND',
    retry: false,
    meaning: 'The config never had this version, or it is no longer kept.',
  },
  VERSION_DELETED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    meaning: 'The version says that the config was deleted: it has no content to publish again.',
  },
  NOT_PROTECTED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    meaning: 'The service is not protected: there is nothing to release.',
  },
  INCARNATION_MISMATCH: { code: 'FAILED_PRECONDITION', retry: false, meaning: 'Another process run holds the id.' },
  REVISION_MISMATCH: {
    code: 'ABORTED',
    retry: false,
    meaning: 'What stands under the id is not what replaces_revision names.',
  },
  VERSION_MISMATCH: { code: 'ABORTED', retry: false, meaning: 'The current version is not expected_version.' },
  WRITE_CONFLICT: {
    code: 'ABORTED',
    retry: true,
    meaning: 'Others kept writing the same record; nothing was written.',
  },
  OUTCOME_LOST: {
    code: 'ABORTED',
    retry: false,
    meaning:
      'The reply of the store was lost, and others have written the same record since: whether this write happened is not known. Read, and decide anew.',
  },
  TOO_MANY_INSTANCES: {
    code: 'RESOURCE_EXHAUSTED',
    retry: false,
    meaning: 'The server holds as many instances as it may.',
  },
  TOO_MANY_CONFIGS: {
    code: 'RESOURCE_EXHAUSTED',
    retry: false,
    meaning: 'The server holds as many configs, or as many bytes of them, as it may.',
  },
  TOO_MANY_WATCHES: {
    code: 'RESOURCE_EXHAUSTED',
    retry: true,
    meaning: 'The server has as many open watches as it may.',
  },
  ANSWER_TOO_LARGE: {
    code: 'RESOURCE_EXHAUSTED',
    retry: false,
    meaning: 'The answer is larger than stock clients receive: use subset, a filter, or a watch.',
  },
  SLOW_READER: {
    code: 'RESOURCE_EXHAUSTED',
    retry: true,
    meaning: 'The client read nothing for a minute; it can resume from its last token.',
  },
  STORE_FULL: {
    code: 'RESOURCE_EXHAUSTED',
    retry: true,
    meaning: 'The store has no room left; nothing was written.',
  },
  STORE_UNAVAILABLE: {
    code: 'UNAVAILABLE',
    retry: true,
    meaning: 'The store did not answer; a write may have happened or not: repeat the same call.',
  },
  NOT_THAT_MEMBER: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    meaning: 'Between servers: the membership that was addressed is not, or no longer, this one.',
  },
  FENCED: {
    code: 'UNAVAILABLE',
    retry: true,
    meaning: 'The server cannot vouch for heartbeats now, and says why in its metadata: send them to another server.',
  },
  NOT_READY: { code: 'UNAVAILABLE', retry: true, meaning: 'The server has not yet read the store.' },
  STORE_REPLACED: {
    code: 'UNAVAILABLE',
    retry: true,
    meaning: 'The store has another history than before, such as after a restore: watch again, and get a snapshot.',
  },
  REVISION_NOT_REACHED: {
    code: 'UNAVAILABLE',
    retry: true,
    meaning: 'The server has not yet seen the revision that was asked for.',
  },
  SHUTTING_DOWN: { code: 'UNAVAILABLE', retry: true, meaning: 'The server is shutting down: call another one.' },
  TIMED_OUT: {
    code: 'DEADLINE_EXCEEDED',
    retry: true,
    meaning: 'The server gave up on the call after 10 s; a write may have happened or not: repeat the same call.',
  },
  INTERNAL: { code: 'INTERNAL', retry: false, meaning: 'A bug of ours; the error_id is in the log of the server.' },
} as const satisfies Record<string, { code: CodeName; retry: boolean; meaning: string }>;

/** The reason of an error. */
export type Reason = keyof typeof REASONS;

/** How long a client should wait before it repeats a call that may be repeated, unless the error says otherwise. */
const RETRY_DEFAULT_MS = 1_000;

/** A field that breaks a rule. */
export interface Violation {
  /** The path of the field, such as "instances[3].service". */
  readonly field: string;
  /** The rule, and where there is one, a value that would do. */
  readonly description: string;
}

/** An error that is told to the caller. Anything else that is thrown is a bug of ours, and is told as INTERNAL. */
export class RollcallError extends Error {
  override readonly name = 'RollcallError';
  /** Anything in the message that changes from error to error, for programs. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Every field that breaks a rule. */
  readonly violations: readonly Violation[];
  /** When to try again. Undefined: not at all. */
  readonly retryAfterMs: number | undefined;

  constructor(
    readonly reason: Reason,
    message: string,
    extra: {
      metadata?: Readonly<Record<string, string>>;
      violations?: readonly Violation[];
      retryAfterMs?: number;
      cause?: unknown;
    } = {},
  ) {
    super(message, extra.cause === undefined ? undefined : { cause: extra.cause });
    this.metadata = extra.metadata ?? {};
    this.violations = extra.violations ?? [];
    this.retryAfterMs = extra.retryAfterMs ?? (REASONS[reason].retry ? RETRY_DEFAULT_MS : undefined);
  }

  /** The status code, as a number of gRPC. */
  get code(): number {
    return Code[REASONS[this.reason].code];
  }
}

/** The error for fields that break a rule: its message names them all. */
export function invalidRequest(violations: readonly Violation[]): RollcallError {
  const message = violations.map(({ field, description }) => `${field}: ${description}`).join('; ');
  return new RollcallError('INVALID_REQUEST', message, { violations });
}
