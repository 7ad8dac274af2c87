import { Lines } from '../../../base/places.js';

/** The place and the reason of a syntax error. Lines and columns count from 1. */
export interface SyntaxFault {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** The result of looking at a text in a format. */
export interface Inspection {
  /** The first syntax error. `undefined` if the text is valid, or if its format has no syntax. */
  readonly fault: SyntaxFault | undefined;
  /** Probable slips that every reader takes: one sentence each, with line and column. At most 10 per text, then "and N more". */
  readonly warnings: readonly string[];
}

/** A syntax error with the place of an offset. */
export function faultAt(text: string, offset: number, message: string): SyntaxFault {
  return { ...new Lines(text).place(offset), message };
}

/** The number of warnings about one text. Users do not read more, and a hostile text could have one for each line. */
const WARNINGS_MAX = 10;

/** The warnings about a text, in the order in which they are found. It keeps the first 10 and counts the others. */
export class Warnings {
  readonly #text: string;
  readonly #kept: string[] = [];
  #lines: Lines | undefined;
  #others = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Adds a warning: a sentence without its end, which "at line 3, column 1." becomes. */
  add(offset: number, sentence: string): void {
    if (this.#kept.length === WARNINGS_MAX) {
      this.#others++;
      return;
    }
    this.#lines ??= new Lines(this.#text);
    const { line, column } = this.#lines.place(offset);
    this.#kept.push(`${sentence} at line ${line}, column ${column}.`);
  }

  list(): readonly string[] {
    return this.#others > 0 ? [...this.#kept, `and ${this.#others} more`] : this.#kept;
  }
}

/** A key for a message: in quotes, and cut after 60 characters. */
export function quoteKey(key: string): string {
  return JSON.stringify(key.length > 60 ? `${key.slice(0, 60)}...` : key);
}
