import type { Log } from '../../base/telemetry.js';
import type { Random } from '../../base/random.js';
import type { Any } from '../../gen/google/protobuf/any.js';
import { BadRequest, ErrorInfo, RetryInfo } from '../../gen/google/rpc/error_details.js';
import { type Status } from '../../gen/google/rpc/status.js';
import { RollcallError } from '../../model/errors.js';
import { toDuration } from '../../model/time.js';

/** The domain of every ErrorInfo. */
const DOMAIN = 'rollcall';
const TYPE_PREFIX = 'type.googleapis.com/google.rpc.';

/** The error that a call ends with, as every edge sends it. */
export interface Failure {
  /** The status code, as a number of gRPC. */
  readonly code: number;
  readonly message: string;
  /** google.rpc.Status with the details. */
  readonly status: Status;
  /** The error as it was thrown. It is for observers and is never sent. */
  readonly error: RollcallError;
}

/**
 * Turns a thrown value into the error that the caller gets. Anything but a RollcallError is a bug in this program: it is
 * logged with an id, and the caller gets INTERNAL with that id.
 */
export function toFailure(thrown: unknown, log: Log, random: Random): Failure {
  if (thrown instanceof RollcallError) return Object.isFrozen(thrown) ? keptFailureOf(thrown) : failureOf(thrown);
  const errorId = random.id();
  log.error({ err: thrown, errorId }, 'internal error');
  return failureOf(new RollcallError('INTERNAL', `internal error ${errorId}`, { metadata: { error_id: errorId } }));
}

/** The failures of errors that are thrown again and again. Such errors are frozen, and those made for one call are not. */
const kept = new WeakMap<RollcallError, Failure>();

function keptFailureOf(error: RollcallError): Failure {
  let failure = kept.get(error);
  if (!failure) kept.set(error, (failure = Object.freeze(failureOf(error))));
  return failure;
}

function failureOf(error: RollcallError): Failure {
  const { code, message } = error;
  return { code, message, status: { code, message, details: detailsOf(error) }, error };
}

function detailsOf({ reason, metadata, violations, retryAfterMs }: RollcallError): Any[] {
  const info = ErrorInfo.fromPartial({ reason, domain: DOMAIN, metadata: new Map(Object.entries(metadata)) });
  const details = [toAny('ErrorInfo', ErrorInfo.encode(info).finish())];
  if (violations.length > 0) {
    const fieldViolations = violations.map(({ field, description }) => ({ field, description, reason: '' }));
    details.push(toAny('BadRequest', BadRequest.encode(BadRequest.fromPartial({ fieldViolations })).finish()));
  }
  if (retryAfterMs !== undefined) {
    details.push(toAny('RetryInfo', RetryInfo.encode({ retryDelay: toDuration(retryAfterMs) }).finish()));
  }
  return details;
}

const toAny = (name: string, value: Uint8Array): Any => ({ typeUrl: TYPE_PREFIX + name, value: Buffer.from(value) });
