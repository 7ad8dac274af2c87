import { createScanner, type ParseError, parse, printParseErrorCode } from 'jsonc-parser';
import { FaultAt } from '../../../base/places.js';
import { faultAt, type Inspection, quoteKey, type SyntaxFault, Warnings } from './places.js';

/** The nesting that Go takes. Python refuses before that: between 900 and 1,000 levels. */
const DEPTH_MAX = 10_000;

/** The digits of an integer that Python takes. Go refuses numbers beyond 1.8e308, so such an integer has one reader at most. */
const INTEGER_DIGITS_MAX = 4_300;

/** JSON.parse decides, and two rules that it does not have. It does not report places, so jsonc-parser finds them. */
export function inspectJson(text: string): Inspection {
  if (text.startsWith('\uFEFF')) return { fault: faultAt(text, 0, 'a byte order mark is not JSON'), warnings: [] };
  try {
    JSON.parse(text);
  } catch {
    return { fault: findFault(text), warnings: [] };
  }
  try {
    return { fault: undefined, warnings: checkTokens(text) };
  } catch (error) {
    if (!(error instanceof FaultAt)) throw error;
    return { fault: faultAt(text, error.offset, error.message), warnings: [] };
  }
}

/** Reads the tokens of valid JSON. Returns warnings about keys; throws FaultAt for depth and numbers. */
function checkTokens(text: string): readonly string[] {
  const scanner = createScanner(text, true);
  const warnings = new Warnings(text);
  /** The keys of each map that is open. `undefined` stands for a list. */
  const open: (Set<string> | undefined)[] = [];
  /** A string that is a key if a colon follows. */
  let last = { offset: 0, value: '' };
  for (;;) {
    scanner.scan();
    const offset = scanner.getTokenOffset();
    const sign = text[offset];
    if (sign === undefined) return warnings.list();
    if (sign === '{' || sign === '[') {
      if (open.length === DEPTH_MAX) throw new FaultAt(offset, `is nested deeper than ${DEPTH_MAX}`);
      open.push(sign === '{' ? new Set() : undefined);
    } else if (sign === '}' || sign === ']') {
      open.pop();
    } else if (sign === '"') {
      last = { offset, value: scanner.getTokenValue() };
    } else if (sign === ':') {
      const keys = open.at(-1)!;
      if (keys.has(last.value)) warnings.add(last.offset, `The key ${quoteKey(last.value)} is used again`);
      keys.add(last.value);
    } else if (scanner.getTokenLength() > INTEGER_DIGITS_MAX) {
      checkNumber(offset, scanner.getTokenValue());
    }
  }
}

function checkNumber(offset: number, number: string): void {
  const isInteger = /^-?\d+$/.test(number);
  if (isInteger && number.replace('-', '').length > INTEGER_DIGITS_MAX)
    throw new FaultAt(offset, `the integer has more than ${INTEGER_DIGITS_MAX} digits`);
}

function findFault(text: string): SyntaxFault {
  const faults: ParseError[] = [];
  try {
    parse(text, faults, { disallowComments: true, allowTrailingComma: false, allowEmptyContent: false });
  } catch (error) {
    // This parser recurses, unlike JSON.parse.
    if (!(error instanceof RangeError)) throw error;
  }
  const [fault] = faults;
  if (!fault) return faultAt(text, text.length, 'is not JSON');
  return faultAt(text, fault.offset, words(printParseErrorCode(fault.error)));
}

/** "PropertyNameExpected" as "property name expected". */
function words(code: string): string {
  return code.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter}`).toLowerCase();
}
