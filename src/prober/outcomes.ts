import { ProbeOutcome } from '../gen/rollcall/v1/check.js';

/** The end of a probe, before its latency is known. */
export interface ProbeEnd {
  readonly outcome: ProbeOutcome;
  readonly error: string;
  /** When the certificate of the target ends, in milliseconds of the wall clock. Absent: it showed none. */
  readonly certificateEndsMs?: number;
}

export const PASS: ProbeEnd = { outcome: ProbeOutcome.PROBE_OUTCOME_PASS, error: '' };
export const fail = (error: string): ProbeEnd => ({ outcome: ProbeOutcome.PROBE_OUTCOME_FAIL, error });
export const degraded = (error: string): ProbeEnd => ({ outcome: ProbeOutcome.PROBE_OUTCOME_DEGRADED, error });
export const denied = (error: string): ProbeEnd => ({ outcome: ProbeOutcome.PROBE_OUTCOME_DENIED, error });
export const inconclusive = (error: string): ProbeEnd => ({
  outcome: ProbeOutcome.PROBE_OUTCOME_INCONCLUSIVE,
  error,
});

/** Codes of errors that say something about this machine, and nothing about the target. */
const OURS: ReadonlySet<string> = new Set([
  ...['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL', 'EAGAIN'],
  ...['ENETUNREACH', 'ENETDOWN', 'EACCES', 'EPERM', 'EAFNOSUPPORT'],
]);

/** A code that node or the system made, such as ECONNREFUSED: it holds no byte of the target. */
const CODE = /^[A-Z][A-Z0-9_]{1,63}$/;

/** The end of a probe by an error. Only its code is kept. */
export function endOf(error: unknown): ProbeEnd {
  const { code } = error as { code?: unknown };
  const text = typeof code === 'string' && CODE.test(code) ? code : 'PROTOCOL_ERROR';
  return OURS.has(text) ? inconclusive(text) : fail(text);
}
