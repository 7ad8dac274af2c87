import { FaultAt } from './places.js';

/** A document of a YAML text, with its directives and its marker. */
export interface DocumentRange {
  readonly start: number;
  readonly end: number;
  /** The offset behind `---`. `undefined` if the document has no marker. */
  readonly afterMarker: number | undefined;
}

/** A line up to its end. Only CR and LF end a line; the caller has replaced the other line breaks of YAML. */
const LINE = /[^\r\n]*(?:\r\n?|\n|$)/y;
const MARKER = /^(?:---|\.\.\.)(?=[ \t\r\n]|$)/;
const AFTER_DOTS = /^\.\.\.(?: +#.*| *)[\r\n]*$/;
const EMPTY = /^ *(?:#.*)?[\r\n]*$/;
const DIRECTIVE = /^%[\w-]+(?=[ \t\r\n]|$)/;

/**
 * Splits a YAML text at its markers. No scalar and no collection goes on behind a line that begins with `---` or `...`, so
 * the lines alone decide. Throws FaultAt for content that no document holds.
 */
export function splitDocuments(text: string): DocumentRange[] {
  const documents: DocumentRange[] = [];
  let start = text.startsWith('\uFEFF') ? 1 : 0;
  let afterMarker: number | undefined;
  /** Where the directives above the next `---` begin. */
  let directives: number | undefined;
  /** False between `...` and `---`, where only comments and directives may be. */
  let isOpen = true;
  let isEmpty = true;
  const close = (end: number): void => {
    if (isOpen && (!isEmpty || afterMarker !== undefined)) documents.push({ start, end, afterMarker });
  };
  for (let at = start; at < text.length; at = LINE.lastIndex) {
    LINE.lastIndex = at;
    const line = LINE.exec(text)![0];
    const marker = MARKER.exec(line)?.[0];
    if (marker === '---') {
      const end = directives ?? at;
      close(end);
      [start, afterMarker, directives, isOpen, isEmpty] = [end, at + 3, undefined, true, true];
    } else if (marker === '...') {
      if (isOpen && isEmpty && afterMarker === undefined) throw new FaultAt(at, '"..." ends no document');
      if (!AFTER_DOTS.test(line)) throw new FaultAt(at + 3, 'only a comment may follow "..."');
      close(at);
      [afterMarker, directives, isOpen] = [undefined, undefined, false];
    } else if (DIRECTIVE.test(line)) {
      directives ??= at;
    } else if (!EMPTY.test(line)) {
      if (!isOpen) throw new FaultAt(at, 'only "---" begins another document after "..."');
      if (isEmpty && afterMarker === undefined && line.startsWith('%'))
        throw new FaultAt(at, 'the name of a directive is invalid');
      [isEmpty, directives] = [false, undefined];
    }
  }
  if (directives !== undefined && (isEmpty || !isOpen))
    throw new FaultAt(directives, 'a directive needs "---" below it');
  close(text.length);
  return documents;
}
