/** The gRPC status codes that the product uses; the numbers are gRPC's own. */
export const Code = {
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

/** The name of a status code. */
export type CodeName = keyof typeof Code;

/** Every reason that an error can carry. docs/reference/errors.md shows this table; a test compares them. */
export const REASONS = {
  INVALID_REQUEST: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    meaning: 'A field breaks a rule. BadRequest names every such field, up to the size of an answer.',
  },
  MALFORMED_REQUEST: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    meaning: 'The bytes are not a message of this method, or a text in it is not UTF-8.',
  },
  REQUEST_TOO_LARGE: {
    code: 'RESOURCE_EXHAUSTED',
    retry: false,
    meaning: 'The request is larger than the server takes, before or after decompression.',
  },
  UNKNOWN_COMPRESSION: {
    code: 'UNIMPLEMENTED',
    retry: false,
    meaning: 'The request is compressed in a way that the server does not know. It knows gzip.',
  },
  COMPRESSION_NOT_NAMED: {
    code: 'INTERNAL',
    retry: false,
    meaning: 'A message is marked as compressed, and no header names the compression. gRPC sets this code for it.',
  },
  NOT_ONE_MESSAGE: {
    code: 'UNIMPLEMENTED',
    retry: false,
    meaning: 'The method takes one message, and the request has none or several.',
  },
  UNKNOWN_METHOD: { code: 'UNIMPLEMENTED', retry: false, meaning: 'The server has no such method.' },
  NOT_OVER_HTTP: {
    code: 'UNIMPLEMENTED',
    retry: false,
    meaning: 'The method needs a stream of requests, which only gRPC has. Use gRPC, or call Heartbeat.',
  },
  NOT_FROM_THERE: {
    code: 'PERMISSION_DENIED',
    retry: false,
    meaning: 'The HTTP request names a host, or comes from a web page, that the server does not answer.',
  },
  CERTIFICATE_REQUIRED: {
    code: 'UNAUTHENTICATED',
    retry: false,
    meaning: 'The server answers only clients that show a certificate, and this one showed none.',
  },
  CERTIFICATE_UNTRUSTED: {
    code: 'UNAUTHENTICATED',
    retry: false,
    meaning:
      'The certificate of the client cannot be verified: of another authority, ended, revoked, or for servers only.',
  },
  CERTIFICATE_UNKNOWN: {
    code: 'UNAUTHENTICATED',
    retry: false,
    meaning: 'The certificate of the client was verified, and no entry of the access file has its name.',
  },
  CREDENTIAL_REQUIRED: {
    code: 'UNAUTHENTICATED',
    retry: false,
    meaning: 'The call needs a right that callers without a credential do not have. Show a token or a certificate.',
  },
  TOKEN_REFUSED: {
    code: 'UNAUTHENTICATED',
    retry: false,
    meaning:
      'The header "authorization" has no token that counts: unknown, removed, malformed, or a JWT that fails a check.',
  },
  TOKEN_EXPIRED: {
    code: 'UNAUTHENTICATED',
    retry: false,
    meaning: 'The token has ended. Call again with a new one; a watch continues with the last resume_token.',
  },
  NOT_ALLOWED: {
    code: 'PERMISSION_DENIED',
    retry: false,
    meaning: 'No grant of the caller allows the action. The metadata name the caller, the action and the object.',
  },
  PEER_NOT_PROVEN: {
    code: 'UNAUTHENTICATED',
    retry: false,
    meaning: 'The method is for the members of the cluster, and the caller did not prove that it is one.',
  },
  REQUEST_ID_REUSED: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    meaning: 'Another request was made with this request_id.',
  },
  UNKNOWN_SERVICE: {
    code: 'NOT_FOUND',
    retry: false,
    meaning: 'A health check asked about a service that this server does not have.',
  },
  INSTANCE_NOT_FOUND: { code: 'NOT_FOUND', retry: false, meaning: 'No such instance is registered.' },
  CONFIG_NOT_FOUND: {
    code: 'NOT_FOUND',
    retry: false,
    meaning: 'No such config exists. The text and the metadata say whether it was deleted.',
  },
  VERSION_NOT_FOUND: {
    code: 'NOT_FOUND',
    retry: false,
    meaning: 'The config never had this version, or the version is no longer kept.',
  },
  VERSION_DELETED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    meaning: 'The version records a deletion. It has no content to publish again.',
  },
  NODE_NOT_FOUND: { code: 'NOT_FOUND', retry: false, meaning: 'No member of this node is remembered.' },
  NOT_EMBEDDED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    meaning: 'The call is for the embedded store, and this server is on etcd.',
  },
  BACKUP_RUNNING: {
    code: 'RESOURCE_EXHAUSTED',
    retry: true,
    meaning: 'Another backup of this server is being read. One is made at a time.',
  },
  NODE_IS_MEMBER: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    meaning: 'A server of this node is a member now, so it cannot be forgotten.',
  },
  WOULD_EMPTY: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    meaning: 'The override would leave too few instances of the service up. force sets it all the same.',
  },
  OVERRIDE_NOT_FOUND: { code: 'NOT_FOUND', retry: false, meaning: 'The instance has no override in force.' },
  OVERRIDE_CHANGED: {
    code: 'ABORTED',
    retry: false,
    meaning:
      'The override of the instance is not at expected_revision. The metadata name its revision; 0: none is in force.',
  },
  TOO_MANY_OVERRIDES: {
    code: 'RESOURCE_EXHAUSTED',
    retry: false,
    meaning: 'The server holds as many overrides as it may.',
  },
  NOT_PROTECTED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    meaning: 'The service is not protected, so there is nothing to release.',
  },
  DEREGISTERED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    meaning: 'This incarnation was deregistered. Draw a new one, or name the removal in replaces_revision to undo it.',
  },
  INCARNATION_REQUIRED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    meaning:
      'A client named the incarnation that holds the id. Give the incarnation, or name the record in replaces_revision.',
  },
  INCARNATION_MISMATCH: { code: 'FAILED_PRECONDITION', retry: false, meaning: 'Another incarnation holds the id.' },
  REVISION_MISMATCH: {
    code: 'ABORTED',
    retry: false,
    meaning: 'The current record of the id does not have the revision that replaces_revision names.',
  },
  VERSION_MISMATCH: { code: 'ABORTED', retry: false, meaning: 'The current version is not expected_version.' },
  WRITE_CONFLICT: {
    code: 'ABORTED',
    retry: true,
    meaning: 'At every try, another write changed the record first. This call wrote nothing.',
  },
  OUTCOME_LOST: {
    code: 'ABORTED',
    retry: false,
    meaning:
      'The reply of the store was lost, and others have written the same record since. The outcome of this write is unknown.',
  },
  TOO_MANY_INSTANCES: {
    code: 'RESOURCE_EXHAUSTED',
    retry: false,
    meaning: 'The server has reached its limit of instances.',
  },
  TOO_MANY_CONFIGS: {
    code: 'RESOURCE_EXHAUSTED',
    retry: false,
    meaning: 'The server has reached its limit of configs, or of their bytes.',
  },
  TOO_MANY_WATCHES: {
    code: 'RESOURCE_EXHAUSTED',
    retry: true,
    meaning: 'The connection or the server has reached its limit of open streams.',
  },
  RATE_LIMITED: {
    code: 'RESOURCE_EXHAUSTED',
    retry: true,
    meaning: 'The caller has used up a limit of the access file, or too many tokens from its address were refused.',
  },
  ANSWER_TOO_LARGE: {
    code: 'RESOURCE_EXHAUSTED',
    retry: false,
    meaning: 'The answer is larger than clients accept by default. Use subset, a filter, or a watch.',
  },
  SLOW_READER: {
    code: 'RESOURCE_EXHAUSTED',
    retry: true,
    meaning: 'The client read nothing for 60 s, or for 10 s while memory was short. It can resume from its last token.',
  },
  UNREAD_ANSWERS: {
    code: 'RESOURCE_EXHAUSTED',
    retry: true,
    meaning: 'For 10 s, answers of 16 MiB on the connection, or of 128 MiB in all with watches, were not read.',
  },
  VALIDATION_TOO_COSTLY: {
    code: 'RESOURCE_EXHAUSTED',
    retry: false,
    meaning: 'Parsing the configs of the request takes more than 5 s, or too much memory. Nothing was written.',
  },
  STORE_FULL: {
    code: 'RESOURCE_EXHAUSTED',
    retry: true,
    meaning: 'The store is full. Nothing was written.',
  },
  STORE_UNAVAILABLE: {
    code: 'UNAVAILABLE',
    retry: true,
    meaning: 'The store did not answer. A write may have happened or not; repeat the same call.',
  },
  NOT_THAT_MEMBER: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    meaning: 'Between servers: the request was addressed to another membership, or to one that has ended.',
  },
  FENCED: {
    code: 'UNAVAILABLE',
    retry: true,
    meaning: 'The server cannot acknowledge heartbeats now; the metadata give the cause. Send them to another server.',
  },
  AUDIT_UNAVAILABLE: {
    code: 'UNAVAILABLE',
    retry: true,
    meaning: 'The audit cannot be written, and the server was started with --audit-required. Nothing was written.',
  },
  KEYS_UNAVAILABLE: {
    code: 'UNAVAILABLE',
    retry: true,
    meaning: 'The keys of the issuer of the JWT cannot be read, so it can be neither accepted nor refused now.',
  },
  NOT_READY: { code: 'UNAVAILABLE', retry: true, meaning: 'The server has not read the store yet.' },
  STORE_REPLACED: {
    code: 'UNAVAILABLE',
    retry: true,
    meaning: 'The history of the store was replaced, for example by a restore. Watch again to get a snapshot.',
  },
  REVISION_NOT_REACHED: {
    code: 'UNAVAILABLE',
    retry: true,
    meaning: 'The server has not seen the requested revision yet.',
  },
  VALIDATOR_BUSY: {
    code: 'UNAVAILABLE',
    retry: true,
    meaning: 'Too many large configs are being parsed. Nothing was written.',
  },
  STREAM_AGE: {
    code: 'UNAVAILABLE',
    retry: true,
    meaning:
      'The stream has reached the age at which streams end, 20 to 25 min by default. Call again with the last token.',
  },
  SHUTTING_DOWN: { code: 'UNAVAILABLE', retry: true, meaning: 'The server is shutting down. Call another server.' },
  TIMED_OUT: {
    code: 'DEADLINE_EXCEEDED',
    retry: true,
    meaning: 'The server ended the call after 10 s. A write may have happened or not; repeat the same call.',
  },
  DEADLINE_PASSED: {
    code: 'DEADLINE_EXCEEDED',
    retry: true,
    meaning: 'The deadline of the client passed first. A write may have happened or not; repeat the same call.',
  },
  CANCELLED: { code: 'CANCELLED', retry: false, meaning: 'The client went away before its request had arrived.' },
  INTERNAL: { code: 'INTERNAL', retry: false, meaning: 'A bug in Rollcall. The log of the server holds the error_id.' },
} as const satisfies Record<string, { code: CodeName; retry: boolean; meaning: string }>;

/** The reason of an error. */
export type Reason = keyof typeof REASONS;

/** The delay before a retry, unless the error sets another one. */
const RETRY_DEFAULT_MS = 1_000;

/** A field that breaks a rule. */
export interface Violation {
  /** The path of the field, such as "instances[3].service". */
  readonly field: string;
  /** The rule, with a valid value where there is one. */
  readonly description: string;
}

/** An error that the caller receives. Any other exception is a bug in Rollcall, and the caller receives INTERNAL. */
export class RollcallError extends Error {
  override readonly name = 'RollcallError';
  /** The parts of the message that change from error to error, for programs. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Every field that breaks a rule. */
  readonly violations: readonly Violation[];
  /** The delay before a retry. `undefined` if a retry does not help. */
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
    const { stackTraceLimit } = Error;
    // An answer, not a bug: its stack is never read, and would be half of the cost of a refused call.
    Error.stackTraceLimit = 0;
    super(message, extra.cause === undefined ? undefined : { cause: extra.cause });
    Error.stackTraceLimit = stackTraceLimit;
    this.metadata = extra.metadata ?? {};
    this.violations = extra.violations ?? [];
    this.retryAfterMs = extra.retryAfterMs ?? (REASONS[reason].retry ? RETRY_DEFAULT_MS : undefined);
  }

  /** The gRPC status code, as a number. */
  get code(): number {
    return Code[REASONS[this.reason].code];
  }
}

/** Violations as one text. */
export function inWords(violations: readonly Violation[]): string {
  return violations.map(({ field, description }) => `${field}: ${description}`).join('; ');
}

/** Returns the error for fields that break a rule. Its message names all of them. */
export function invalidRequest(violations: readonly Violation[]): RollcallError {
  return new RollcallError('INVALID_REQUEST', inWords(violations), { violations });
}
