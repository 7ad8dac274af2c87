import type { Failure } from '../../api/call/failure.js';
import { unpaddedBase64 } from '../wire/grpc-status.js';
import type { Json } from './json.js';

/** A status code as HTTP and as the Connect protocol write it; see "Error Codes" of Connect. */
interface CodeRow {
  readonly name: Lowercase<string>;
  readonly status: number;
}

/** The status codes of gRPC by number. Handlers of this server use those of CodeName; a protocol has to know all. */
const CODES: readonly (CodeRow | undefined)[] = [
  undefined,
  { name: 'canceled', status: 499 },
  { name: 'unknown', status: 500 },
  { name: 'invalid_argument', status: 400 },
  { name: 'deadline_exceeded', status: 504 },
  { name: 'not_found', status: 404 },
  { name: 'already_exists', status: 409 },
  { name: 'permission_denied', status: 403 },
  { name: 'resource_exhausted', status: 429 },
  { name: 'failed_precondition', status: 400 },
  { name: 'aborted', status: 409 },
  { name: 'out_of_range', status: 400 },
  { name: 'unimplemented', status: 501 },
  { name: 'internal', status: 500 },
  { name: 'unavailable', status: 503 },
  { name: 'data_loss', status: 500 },
  { name: 'unauthenticated', status: 401 },
];

const rowOf = ({ code }: Failure): CodeRow => CODES[code] ?? { name: 'unknown', status: 500 };

/** The HTTP status of a failed call. */
export const httpStatusOf = (failure: Failure): number => rowOf(failure).status;

/** The HTTP status of a failed call on a path for people: one that Connect fixes otherwise would make clients call again. */
export const plainStatusOf = (failure: Failure): number =>
  failure.error.reason === 'REQUEST_TOO_LARGE' ? 413 : httpStatusOf(failure);

/** An error as Connect writes it: in the body of a unary call, and in the last message of a stream. */
export function connectError(failure: Failure, json: Json): object {
  const details = failure.status.details.map(({ typeUrl, value }) => {
    const type = typeUrl.slice(typeUrl.lastIndexOf('/') + 1);
    return { type, value: unpaddedBase64(value), debug: json.detail(type, value) };
  });
  return { code: rowOf(failure).name, message: failure.message, ...(details.length > 0 && { details }) };
}

/** An error for people, and for programs without protobuf. */
export function plainError(failure: Failure): object {
  const { reason, violations, metadata, retryAfterMs } = failure.error;
  return {
    ...{ code: rowOf(failure).name, message: failure.message, reason },
    ...(Object.keys(metadata).length > 0 && { metadata }),
    ...(violations.length > 0 && { violations }),
    ...(retryAfterMs !== undefined && { retry_after_ms: retryAfterMs }),
  };
}

/** The headers of a failed call: when to call again, in whole seconds, and the kind of credential that is missing. */
export function errorHeaders(failure: Failure): Record<string, string> {
  const { retryAfterMs } = failure.error;
  return {
    ...(retryAfterMs !== undefined && { 'retry-after': String(Math.ceil(retryAfterMs / 1_000)) }),
    ...(httpStatusOf(failure) === 401 && { 'www-authenticate': 'Bearer' }),
  };
}
