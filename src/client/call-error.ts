import type { ServiceError } from '@grpc/grpc-js';
import { Code } from '../model/errors.js';
import { BadRequest, ErrorInfo, RetryInfo } from '../gen/google/rpc/error_details.js';
import { Status } from '../gen/google/rpc/status.js';

/** A field of a request that breaks a rule. */
export interface FieldViolation {
  /** The path of the field, such as "instance.port". */
  readonly field: string;
  /** The rule. */
  readonly description: string;
}

/** The error of a call, with the details that a server of Rollcall sends. */
export class CallError extends Error {
  override readonly name = 'CallError';

  constructor(
    message: string,
    /** The status code, as a number of gRPC. */
    readonly code: number,
    /** The reason, such as "NOT_ALLOWED"; docs/reference/errors.md lists them. Empty if the error is not one of a server of Rollcall. */
    readonly reason: string = '',
    /** The parts of the message that change from error to error. */
    readonly metadata: ReadonlyMap<string, string> = new Map(),
    readonly violations: readonly FieldViolation[] = [],
    /** When to call again, in milliseconds; `undefined` if the server does not say that it helps. */
    readonly retryAfterMs: number | undefined = undefined,
  ) {
    super(message);
  }

  /** True if no server answered: the connection failed, or the deadline passed before an answer. */
  get isUnreachable(): boolean {
    return this.reason === '' && (this.code === Code.UNAVAILABLE || this.code === Code.DEADLINE_EXCEEDED);
  }

  /** True if another server, or a later call, may succeed with the same request. */
  get isPassing(): boolean {
    return this.isUnreachable || this.code === Code.UNAVAILABLE || this.retryAfterMs !== undefined;
  }

  /** The error of grpc-js as a CallError. Anything else is returned unchanged. */
  static from(thrown: unknown): unknown {
    if (!isServiceError(thrown)) return thrown;
    const [bytes] = thrown.metadata.get('grpc-status-details-bin');
    const { details } = bytes instanceof Buffer ? Status.decode(bytes) : { details: [] };
    const find = (name: string): Uint8Array | undefined =>
      details.find(({ typeUrl }) => typeUrl.endsWith(`/google.rpc.${name}`))?.value;
    const [info, bad, retry] = [find('ErrorInfo'), find('BadRequest'), find('RetryInfo')];
    const { reason, metadata } = info ? ErrorInfo.decode(info) : { reason: '', metadata: new Map<string, string>() };
    const delay = retry && RetryInfo.decode(retry).retryDelay;
    return new CallError(
      textOf(thrown),
      thrown.code,
      reason,
      metadata,
      bad ? BadRequest.decode(bad).fieldViolations : [],
      delay && Number(delay.seconds) * 1_000 + delay.nanos / 1e6,
    );
  }
}

/** True if there was no connection to send a call on: the library says so in its text alone. */
export const wasNotSent = (thrown: unknown): boolean =>
  isServiceError(thrown) && thrown.details.startsWith('No connection established');

/** The parts that the library adds to a text, which say nothing to a person. */
const NOISE = /^No connection established\. Last error: (?:Error: |null\. ?)?| ?Resolution note: $/g;

const textOf = ({ details, message }: ServiceError): string =>
  (details || message).replace(NOISE, '').trim() || 'there is no connection';

const isServiceError = (thrown: unknown): thrown is ServiceError =>
  thrown instanceof Error && 'code' in thrown && 'details' in thrown && 'metadata' in thrown;
