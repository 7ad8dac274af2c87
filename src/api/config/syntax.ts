import type { FormattedText, Inspector } from '../../domain/config/inspection/inspector.js';
import { formatName } from '../../model/config-format.js';
import { Validator } from '../call/validator.js';

/** A text that must parse, and the field of the request that holds it. */
export interface FieldText extends FormattedText {
  readonly field: string;
}

/**
 * Checks the syntax of the texts of a request. Returns warnings about probable slips, each with its field. Throws
 * INVALID_REQUEST with the first fault of every text that does not parse, and TIMED_OUT if the call ended meanwhile.
 */
export async function validateSyntax(
  inspector: Inspector,
  texts: readonly FieldText[],
  signal: AbortSignal,
): Promise<string[]> {
  if (texts.length === 0) return [];
  const given = texts.map(({ format, text }) => ({ format, text }));
  const inspections = await inspector.inspect(given, signal);
  const validator = new Validator();
  inspections.forEach(({ fault }, i) => {
    const { field, format } = texts[i]!;
    if (!fault) return;
    const { line, column, message } = fault;
    validator.refuse(field, `does not parse as ${formatName(format)}: line ${line}, column ${column}: ${message}`);
  });
  validator.done();
  return inspections.flatMap(({ warnings }, i) => warnings.map((warning) => `${texts[i]!.field}: ${warning}`));
}
