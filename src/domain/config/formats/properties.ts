import { faultAt, type Inspection, quoteKey, Warnings } from './places.js';

/** A natural line with its end, as java.util.Properties sees it: after the white space at its start. */
const LINE = /[ \t\f]*([^\r\n]*)(?:\r\n|\r|\n|$)/y;

/** A key and its value in one text, with continued lines joined. */
interface LogicalLine {
  readonly text: string;
  /** Where each joined part begins: in the joined text and in the file. */
  readonly parts: readonly { readonly at: number; readonly offset: number }[];
}

/** Follows java.util.Properties.load: only `\u` without four hexadecimal digits is an error. */
export function inspectProperties(text: string): Inspection {
  const warnings = new Warnings(text);
  if (text.startsWith('\uFEFF')) warnings.add(0, 'A byte order mark becomes a part of the first key');
  const keys = new Set<string>();
  for (const line of logicalLines(text)) {
    const escapes = [...line.text.matchAll(/\\(?:u[\da-fA-F]{4}|[^])/g)];
    const escape = escapes.find(([found]) => found === '\\u');
    if (escape) {
      return {
        fault: faultAt(text, offsetOf(line, escape.index), '"\\u" needs four hexadecimal digits'),
        warnings: [],
      };
    }
    const key = unescape(/^(?:\\[^]|[^\\=: \t\f])*/.exec(line.text)![0]);
    if (keys.has(key)) warnings.add(offsetOf(line, 0), `The key ${quoteKey(key)} is used again`);
    keys.add(key);
  }
  return { fault: undefined, warnings: warnings.list() };
}

function* logicalLines(text: string): Generator<LogicalLine> {
  let joined = '';
  let parts: { at: number; offset: number }[] = [];
  for (let at = 0; at < text.length; at = LINE.lastIndex) {
    LINE.lastIndex = at;
    const line = LINE.exec(text)!;
    const content = line[1]!;
    if (parts.length === 0 && /^(?:[#!]|$)/.test(content)) continue;
    const isContinued = endsWithOddBackslashes(content);
    parts.push({ at: joined.length, offset: at + line[0].indexOf(content) });
    joined += isContinued ? content.slice(0, -1) : content;
    if (isContinued) continue;
    yield { text: joined, parts };
    [joined, parts] = ['', []];
  }
  if (parts.length > 0) yield { text: joined, parts };
}

function endsWithOddBackslashes(text: string): boolean {
  let end = text.length;
  while (text[end - 1] === '\\') end--;
  return (text.length - end) % 2 === 1;
}

/** The offset in the file of a position in a logical line. */
function offsetOf({ parts }: LogicalLine, position: number): number {
  const part = parts.findLast(({ at }) => at <= position)!;
  return part.offset + position - part.at;
}

const ESCAPES: Readonly<Record<string, string>> = { t: '\t', n: '\n', r: '\r', f: '\f' };

function unescape(text: string): string {
  return text.replace(/\\(?:u([\da-fA-F]{4})|([^]))/g, (_, code: string | undefined, letter: string) =>
    code === undefined ? (ESCAPES[letter] ?? letter) : String.fromCharCode(parseInt(code, 16)),
  );
}
