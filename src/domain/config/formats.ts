import { type ParseError as JsonParseError, parse as parseJsonLeniently, printParseErrorCode } from 'jsonc-parser';
import { parse as parseToml, TomlError } from 'smol-toml';
import { Composer, type CST, type Document, isScalar, Lexer, LineCounter, Parser, visit } from 'yaml';
import { ConfigFormat } from '../../gen/rollcall/v1/config.js';

/** The place and the reason of a syntax error. Lines and columns count from 1. */
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

/** The format by the suffix of the key. Without a known suffix it follows from the content: bytes are BINARY, text is TEXT. */
export function inferFormat(key: string, isData: boolean): ConfigFormat {
  const bySuffix = SUFFIXES.find(([suffix]) => suffix.test(key))?.[1];
  return bySuffix ?? (isData ? ConfigFormat.CONFIG_FORMAT_BINARY : ConfigFormat.CONFIG_FORMAT_TEXT);
}

/** The name of a format in lower case, for messages. */
export function formatName(format: ConfigFormat): string {
  return ConfigFormat[format].replace('CONFIG_FORMAT_', '').toLowerCase();
}

/** Finds the first syntax error of a text. `undefined` if the text is valid, or if its format has no syntax. */
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

/** JSON.parse decides. It does not report the place of the error, so a second parser finds it. */
function findJsonFault(text: string): SyntaxFault | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch {
    const fault = findJsonFaultLeniently(text);
    if (!fault) return { ...position(text, text.length), message: 'is not JSON' };
    return { ...position(text, fault.offset), message: words(printParseErrorCode(fault.error)) };
  }
}

function findJsonFaultLeniently(text: string): JsonParseError | undefined {
  const faults: JsonParseError[] = [];
  try {
    parseJsonLeniently(text, faults, { disallowComments: true, allowTrailingComma: false, allowEmptyContent: false });
  } catch (error) {
    // This parser recurses, unlike JSON.parse.
    if (!(error instanceof RangeError)) throw error;
  }
  return faults[0];
}

/** YAML with deeper nesting is refused: its parser recurses, and a stack overflow in it can end the process. */
const YAML_DEPTH_MAX = 100;

class NestedTooDeep extends Error {}

function findYamlFault(text: string): SyntaxFault | undefined {
  const lines = new LineCounter();
  lines.addNewLine(0);
  const fault = (offset: number, message: string): SyntaxFault => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col, message };
  };
  const parser = new Parser(lines.addNewLine);
  // The composer's own check compares every key with all earlier keys, which can take half a minute.
  const composer = new Composer({ uniqueKeys: false });
  try {
    for (const document of composer.compose(tokens(parser, text))) {
      const [error] = document.errors;
      if (error) return fault(error.pos[0], firstLine(error.message));
      const twice = findKeyUsedTwice(document);
      if (twice !== undefined) return fault(twice, 'Map keys must be unique');
    }
    // A text without a document can have invalid directives.
    const [error] = composer.streamInfo().errors;
    return error && fault(error.pos[0], firstLine(error.message));
  } catch (error) {
    if (error instanceof NestedTooDeep) return fault(parser.offset, error.message);
    throw error;
  }
}

function* tokens(parser: Parser, text: string): Generator<CST.Token> {
  for (const lexeme of new Lexer().lex(text)) {
    yield* parser.next(lexeme);
    if (parser.stack.length > YAML_DEPTH_MAX) throw new NestedTooDeep(`is nested deeper than ${YAML_DEPTH_MAX}`);
  }
  yield* parser.end();
}

/** The offset of the first key that is used twice in its map. `undefined` if there is none. */
function findKeyUsedTwice(document: Document.Parsed): number | undefined {
  let place: number | undefined;
  visit(document, {
    Map(_, { items }) {
      const keys = new Set<unknown>();
      for (const { key } of items) {
        if (!isScalar(key)) continue;
        if (keys.has(key.value)) {
          place = key.range?.[0] ?? 0;
          return visit.BREAK;
        }
        keys.add(key.value);
      }
      return undefined;
    },
  });
  return place;
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
