import { Metadata, type StatusObject } from '@grpc/grpc-js';
import type { Log } from '../../base/observe.js';
import type { Random } from '../../base/random.js';
import type { Any } from '../../gen/google/protobuf/any.js';
import { BadRequest, ErrorInfo, RetryInfo } from '../../gen/google/rpc/error_details.js';
import { Status } from '../../gen/google/rpc/status.js';
import { RollcallError } from '../../model/errors.js';
import { toDuration } from '../../model/time.js';

/** The domain of every ErrorInfo. */
const DOMAIN = 'rollcall';
const TYPE_PREFIX = 'type.googleapis.com/google.rpc.';

/** Turns what was thrown into what the caller is told. A bug of ours is told as an id that is in the log. */
export function toStatus(error: unknown, log: Log, random: Random): StatusObject {
  if (error instanceof RollcallError) return statusOf(error);
  const errorId = random.id();
  log.error({ err: error, errorId }, 'internal error');
  return statusOf(new RollcallError('INTERNAL', `internal error ${errorId}`, { metadata: { error_id: errorId } }));
}

/** One code, one message, and google.rpc.Status with the details. */
function statusOf(error: RollcallError): StatusObject {
  const { code, message } = error;
  const metadata = new Metadata();
  const status = Status.encode({ code, message, details: detailsOf(error) }).finish();
  metadata.set('grpc-status-details-bin', Buffer.from(status));
  return { code, details: message, metadata };
}

function detailsOf({ reason, metadata, violations, retryAfterMs }: RollcallError): Any[] {
  const info = ErrorInfo.fromPartial({ reason, domain: DOMAIN, metadata: new Map(Object.entries(metadata)) });
  const details = [any('ErrorInfo', ErrorInfo.encode(info).finish())];
  if (violations.length > 0) {
    const fieldViolations = violations.map(({ field, description }) => ({ field, description, reason: '' }));
    details.push(any('BadRequest', BadRequest.encode(BadRequest.fromPartial({ fieldViolations })).finish()));
  }
  if (retryAfterMs !== undefined) {
    details.push(any('RetryInfo', RetryInfo.encode({ retryDelay: toDuration(retryAfterMs) }).finish()));
  }
  return details;
}

const any = (name: string, value: Uint8Array): Any => ({ typeUrl: TYPE_PREFIX + name, value: Buffer.from(value) });
