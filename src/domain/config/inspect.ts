import { ConfigFormat } from '../../gen/rollcall/v1/config.js';
import { findSyntaxFault } from './formats.js';

/** The place and the reason of a syntax error. Lines and columns count from 1. */
export interface SyntaxFault {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** The result of looking at a text in a format. */
export interface Inspection {
  readonly fault: SyntaxFault | undefined;
  readonly warnings: readonly string[];
}

/** Looks for the first syntax error of a text. */
export function inspect(format: ConfigFormat, text: string): Inspection {
  return { fault: findSyntaxFault(format, text), warnings: [] };
}

/** Returns true if texts of the format need a parser. */
export function hasSyntax(format: ConfigFormat): boolean {
  return [ConfigFormat.CONFIG_FORMAT_JSON, ConfigFormat.CONFIG_FORMAT_YAML, ConfigFormat.CONFIG_FORMAT_TOML].includes(
    format,
  );
}
