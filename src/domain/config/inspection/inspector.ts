import type { ConfigFormat } from '../../../gen/rollcall/v1/config.js';
import { inspect, type Inspection } from '../inspect.js';

/** A text, and the format to parse it in. */
export interface FormattedText {
  readonly format: ConfigFormat;
  readonly text: string;
}

/** Looks for syntax errors in the texts of one request. */
export interface Inspector {
  /**
   * One result for each text. Throws VALIDATOR_BUSY or VALIDATION_TOO_COSTLY, and TIMED_OUT once `signal` is aborted:
   * the caller has gone.
   */
  inspect(texts: readonly FormattedText[], signal: AbortSignal): Promise<readonly Inspection[]>;
}

/** Inspects texts in the thread that calls. */
export function inspectAll(texts: readonly FormattedText[]): Inspection[] {
  return texts.map(({ format, text }) => inspect(format, text));
}
