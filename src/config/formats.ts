import { type ParseError as JsonParseError, parse as parseJsonLeniently, printParseErrorCode } from 'jsonc-parser';
import { parse as parseToml, TomlError } from 'smol-toml';
import { LineCounter, parseAllDocuments } from 'yaml';
import { ConfigFormat } from '../gen/rollcall/v1/config.js';

/** Where and why a text does not parse. Lines and columns count from 1. */
export interface SyntaxFault {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

const SUFFIXES: readonly (readonly [RegExp, ConfigFormat])[] = [
  [/\.json$/i, ConfigFormat.CONFIG_FORMAT_JSON],
  [/\.ya?ml$/i, ConfigFormat.CONFIG_FORMAT_YAML],
  [/\.toml$/i, ConfigFormat.CONFIG_FORMAT_TOML],
  [/\.properties$/i, ConfigFormat.CONFIG_FORMAT_PROPERTIES],
];

/** The format that a key's suffix says; without a suffix that is known, what the content is. */
export function inferFormat(key: string, isData: boolean): ConfigFormat {
  const bySuffix = SUFFIXES.find(([suffix]) => suffix.test(key))?.[1];
  return bySuffix ?? (isData ? ConfigFormat.CONFIG_FORMAT_BINARY : ConfigFormat.CONFIG_FORMAT_TEXT);
}

/** The name of a format as people write it. */
export function formatName(format: ConfigFormat): string {
  return ConfigFormat[format].replace('CONFIG_FORMAT_', '').toLowerCase();
}

/** Parses the formats that can be wrong. Undefined: the text is fine. */
export function findSyntaxFault(format: ConfigFormat, text: string): SyntaxFault | undefined {
  switch (format) {
    case ConfigFormat.CONFIG_FORMAT_JSON:
      return findJsonFault(text);
    case ConfigFormat.CONFIG_FORMAT_YAML:
      return findYamlFault(text);
    case ConfigFormat.CONFIG_FORMAT_TOML:
      return findTomlFault(text);
    default:
      return undefined;
  }
}

/** JSON.parse decides; as it does not say where, a second parser is asked for the place. */
function findJsonFault(text: string): SyntaxFault | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch {
    const faults: JsonParseError[] = [];
    parseJsonLeniently(text, faults, { disallowComments: true, allowTrailingComma: false, allowEmptyContent: false });
    const fault = faults[0];
    if (!fault) return { ...position(text, text.length), message: 'is not JSON' };
    return { ...position(text, fault.offset), message: words(printParseErrorCode(fault.error)) };
  }
}

function findYamlFault(text: string): SyntaxFault | undefined {
  const documents = parseAllDocuments(text, { lineCounter: new LineCounter(), prettyErrors: true });
  const fault =
    'empty' in documents ? documents.errors[0] : documents.find(({ errors }) => errors.length > 0)?.errors[0];
  if (!fault) return undefined;
  const { line = 1, col = 1 } = fault.linePos?.[0] ?? {};
  return { line, column: col, message: firstLine(fault.message) };
}

function findTomlFault(text: string): SyntaxFault | undefined {
  try {
    parseToml(text);
    return undefined;
  } catch (error) {
    if (!(error instanceof TomlError)) return { line: 1, column: 1, message: 'is not TOML' };
    return { line: error.line, column: error.column, message: firstLine(error.message) };
  }
}

function position(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset).split('\n');
  return { line: before.length, column: before[before.length - 1]!.length + 1 };
}

/** "PropertyNameExpected" as "property name expected". */
function words(code: string): string {
  return code.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter}`).toLowerCase();
}

function firstLine(message: string): string {
  return message
    .split('\n')[0]!
    .replace(/ at line \d+, column \d+:?$/, '')
    .replace(/^Invalid TOML document: /, '');
}
