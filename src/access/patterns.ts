/** Names that are compared with a pattern: an exact name, or a beginning that ends in "*". */
export class Pattern {
  /** The text before the "*"; `undefined` if the pattern is an exact name. */
  readonly #beginning: string | undefined;

  constructor(readonly text: string) {
    this.#beginning = text.endsWith('*') ? text.slice(0, -1) : undefined;
  }

  /** Returns true if the pattern has this name. */
  has(name: string): boolean {
    return this.#beginning === undefined ? name === this.text : name.startsWith(this.#beginning);
  }

  /** Returns true if the pattern has every name with this beginning, also those that are made later. */
  hasAll(beginning: string): boolean {
    return this.#beginning !== undefined && beginning.startsWith(this.#beginning);
  }
}

/** The names that captures found, by capture. */
export type Captures = Readonly<Record<string, string>>;

/** A capture in the text of a template, such as {ns}. */
const CAPTURE = /\{([a-z][a-z0-9_]*)\}/g;
/** The characters that a capture can hold. A label of a DNS name is a segment of its own, so it ends at a dot. */
const SEGMENT = '[A-Za-z0-9._-]+';
const LABEL = '[A-Za-z0-9_-]+';

/** The captures that a template has, in order. */
export const capturesIn = (text: string): string[] => [...text.matchAll(CAPTURE)].map(([, name]) => name!);

/** Puts captured names into a template. Each is compared exactly: a capture can hold no "*". */
export const fill = (text: string, captures: Captures): string =>
  text.replace(CAPTURE, (_, name: string) => captures[name]!);

/** The rule that the text of a template breaks; `undefined` if it breaks none. */
export function faultOfTemplate(text: string): string | undefined {
  if (text.slice(0, -1).includes('*')) return 'must have a "*" only at its end';
  if (/[{}]/.test(text.replace(CAPTURE, '')))
    return 'must have braces only around a capture, such as {ns}: a letter, then letters, digits or "_", all lower-case';
  return undefined;
}

/** The same for a template that names are matched with: it must say without doubt where a capture ends. */
export function faultOfMatch(text: string, ofDns = false): string | undefined {
  const fault = faultOfTemplate(text);
  if (fault !== undefined) return fault;
  const isOpen = ofDns ? /\}[A-Za-z0-9_{*-]/ : /\}[A-Za-z0-9._{*-]/;
  if (isOpen.test(text))
    return `must have, after each capture, its end or a character that a capture cannot hold, such as ${ofDns ? '"."' : '"/" or ":"'}`;
  const names = capturesIn(text);
  return new Set(names).size < names.length ? 'must have each capture once' : undefined;
}

/** Matches names, and captures parts of them. */
export class Matcher {
  readonly #pattern: RegExp;

  /** The text must be free of faults; see `faultOfMatch`. */
  constructor(text: string, ofDns = false) {
    const segment = ofDns ? LABEL : SEGMENT;
    const escaped = text
      .split(/(\{\w+\})/)
      .map((part) =>
        /^\{\w+\}$/.test(part) ? `(?<${part.slice(1, -1)}>${segment})` : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'),
      )
      .join('');
    this.#pattern = new RegExp(`^${escaped.replace(/\\\*$/, '[^]*')}$`);
  }

  /** The captures of a name; `undefined` if the name does not match. */
  match(name: string): Captures | undefined {
    const found = this.#pattern.exec(name);
    return found ? { ...found.groups } : undefined;
  }
}
