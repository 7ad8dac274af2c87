import { parse, TomlError } from 'smol-toml';
import { FaultAt } from '../../../base/places.js';
import { faultAt, type Inspection, type SyntaxFault } from './places.js';

/** Lists and inline tables nested deeper than this are refused. The specification has no bound; Python has one near 400. */
const DEPTH_MAX = 1_000;

/** Strings, comments, signs, line ends, and other words of a TOML text. A string without an end is a token too. */
const TOKEN =
  /"""(?:[^\\"]|\\[^]|"(?!""))*(?:"{3,5}|$)|'''[^]*?(?:'{3,5}|$)|"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?|#[^\r\n]*|\r?\n|[{}[\],=]|[^\s"'#{}[\],=]+/g;

/**
 * Finds the first syntax error by the specification of TOML 1.0. smol-toml parses. It also takes what came with TOML 1.1,
 * dates that do not exist and integers of any size; these are searched in the tokens afterwards.
 */
export function inspectToml(text: string): Inspection {
  return { fault: findFault(text), warnings: [] };
}

function findFault(text: string): SyntaxFault | undefined {
  if (text.startsWith('\uFEFF')) return faultAt(text, 0, 'a byte order mark is not TOML');
  const fault = findParserFault(text, SECTION_MOVES_MAX);
  if (fault) return fault;
  try {
    new TokenCheck().check(text);
    return undefined;
  } catch (error) {
    if (!(error instanceof FaultAt)) throw error;
    return faultAt(text, error.offset, error.message);
  }
}

/** The number of tables that are moved for one text, which bounds the time: the text is parsed again after each. */
const SECTION_MOVES_MAX = 10;

function findParserFault(text: string, moves: number): SyntaxFault | undefined {
  try {
    parse(text, { integersAsBigInt: true, maxDepth: DEPTH_MAX });
    return undefined;
  } catch (error) {
    if (!(error instanceof TomlError)) return { line: 1, column: 1, message: 'is not TOML' };
    if (/excessively nested/.test(error.message))
      return { line: error.line, column: error.column, message: `is nested deeper than ${DEPTH_MAX}` };
    const moved = moves > 0 && /redefine/.test(error.message) ? moveTableUp(text, error.line) : undefined;
    if (moved !== undefined && !findParserFault(moved, moves - 1)) return undefined;
    return { line: error.line, column: error.column, message: reason(error) };
  }
}

function reason(error: TomlError): string {
  return error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, '');
}

/**
 * The text with the table of a line moved before all other tables. smol-toml refuses a dotted key that goes into a table
 * which only the name of a deeper one has made so far: `q.b = 1` in `[p]` behind `[p.q.r]`. The specification allows it. In
 * the other order smol-toml takes it, and refuses it still if the table was really defined.
 */
function moveTableUp(text: string, line: number): string | undefined {
  const lines = text.split('\n');
  const offset = lines.slice(0, line - 1).join('\n').length + 1;
  const headers = tableOffsets(text);
  const index = headers.findLastIndex((header) => header < offset);
  // The first table has no other before it, and only a key can meet this: neither the name of a table nor the root.
  if (index < 1 || /^[ \t]*\[/.test(lines[line - 1]!)) return undefined;
  const [first, start, end] = [headers[0]!, headers[index]!, headers[index + 1] ?? text.length];
  return `${text.slice(0, first)}${text.slice(start, end)}\n${text.slice(first, start)}${text.slice(end)}`;
}

/** Where the tables of a text begin. */
function tableOffsets(text: string): number[] {
  const offsets: number[] = [];
  let depth = 0;
  let isStatement = true;
  for (const { index, 0: token } of text.matchAll(TOKEN)) {
    if (isStatement && token === '[') offsets.push(index);
    if (token === '[' || token === '{') depth++;
    else if (token === ']' || token === '}') depth--;
    isStatement = depth === 0 && token.endsWith('\n');
  }
  return offsets;
}

/** Checks the tokens of a text that the parser takes. */
class TokenCheck {
  /** The lists and inline tables around the present token. */
  readonly #open: ('[' | '{')[] = [];
  /** Returns true behind "=" and in lists, where a word is a value and not a key. */
  #isValue = false;
  #isTableName = false;
  #lastToken = '\n';

  check(text: string): void {
    for (const { index, 0: token } of text.matchAll(TOKEN)) {
      this.#checkToken(index, token);
      if (!token.startsWith('#')) this.#lastToken = token;
    }
  }

  #checkToken(offset: number, token: string): void {
    const around = this.#open.at(-1);
    switch (token[0]) {
      case '[':
        this.#isTableName ||= !this.#isValue && around === undefined;
        if (!this.#isTableName) this.#open.push('[');
        return;
      case '{':
        this.#open.push('{');
        this.#isValue = false;
        return;
      case '}':
        if (this.#lastToken === ',') throw new FaultAt(offset, 'an inline table must not end with ","');
        return this.#close();
      case ']':
        if (!this.#isTableName) this.#close();
        return;
      case '=':
        this.#isValue = true;
        return;
      case ',':
        this.#isValue = around === '[';
        return;
      case '\r':
      case '\n':
      case '#':
        if (around === '{') throw new FaultAt(offset, 'an inline table must be in one line and without comments');
        if (around === undefined && token.endsWith('\n')) this.#isValue = this.#isTableName = false;
        return;
      case '"':
        return checkEscapes(offset, token);
      case "'":
        return;
      default:
        if (this.#isValue) checkWord(offset, token);
    }
  }

  #close(): void {
    this.#open.pop();
    this.#isValue = true;
  }
}

function checkEscapes(offset: number, text: string): void {
  for (const { index, 0: escape } of text.matchAll(/\\[^]/g)) {
    if (escape === '\\e' || escape === '\\x') throw new FaultAt(offset + index, `${escape} is no escape in TOML 1.0`);
  }
}

function checkWord(offset: number, word: string): void {
  const date = /^(\d{4})-(\d\d)-(\d\d)/.exec(word);
  if (date && !isDate(Number(date[1]), Number(date[2]), Number(date[3])))
    throw new FaultAt(offset, 'the date does not exist');
  if (/(?:^|[Tt])\d\d:\d\d(?!:)/.test(word)) throw new FaultAt(offset, 'a time needs seconds');
  if (!date && isIntegerBeyond64Bits(word)) throw new FaultAt(offset, 'the integer needs more than 64 bits');
}

function isDate(year: number, month: number, day: number): boolean {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
}

function isIntegerBeyond64Bits(word: string): boolean {
  const match = /^([+-]?)(?:(0x)0*([\da-fA-F]+)|(0[ob])?0*(\d+))$/.exec(word.replaceAll('_', ''));
  if (!match) return false;
  const base = match[2] ?? match[4] ?? '';
  const digits = match[3] ?? match[5]!;
  // No integer of more than 64 digits fits, in any base.
  if (digits.length > 64) return true;
  return BigInt(base + digits) > (match[1] === '-' ? 2n ** 63n : 2n ** 63n - 1n);
}
