import { FaultAt } from '../../../base/places.js';
import { type DocumentRange, splitDocuments } from '../../../base/yaml-documents.js';
import { parseNodes, type YamlNode } from '../../../base/yaml-nodes.js';
import { faultAt, type Inspection, quoteKey, type SyntaxFault } from './places.js';
import { findTagFault, isListOfPairs, isMergeKey, isString } from './yaml-tags.js';

/** Lists and maps nested deeper than this are refused. Readers begin to refuse between 300 and 500 levels. */
const DEPTH_MAX = 300;

/** An implicit key is followed by its colon within this number of characters: a rule of YAML. */
const KEY_CHARACTERS_MAX = 1024;

/** SnakeYAML refuses a document with more aliases of lists and maps. A second reader refuses only if they multiply too much. */
const ALIASES_MAX = 50;

const FORBIDDEN = /[\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x84\x86-\x9F\uFFFE\uFFFF]/;

const TAB = 'a tab where only spaces may be';

const BLANKS = /[ \t]*/y;
const WHITE_SPACE = /[ \t\r\n]*/y;
/** White space and comments before a value. */
const SPACE = /(?:[ \t\r\n]|(?<![^\s])#[^\r\n]*)*/y;
/** The same with tags and anchors. */
const SPACE_AND_PROPERTIES = /(?:[ \t\r\n]|(?<![^\s])#[^\r\n]*|[&!][^\s,[\]{}]*)*/y;

/**
 * Finds the first syntax error of a YAML text. The rules are those on which the readers of YAML 1.1 agree; see
 * docs/reference/config-formats.md. js-yaml parses, and the rules here and in the files beside this one add the rest.
 */
export function inspectYaml(text: string): Inspection {
  return { fault: findFault(text), warnings: [] };
}

function findFault(text: string): SyntaxFault | undefined {
  const adapted = new AdaptedText(text);
  try {
    const forbidden = FORBIDDEN.exec(text);
    if (forbidden) throw new FaultAt(adapted.adaptedOffset(forbidden.index), 'the character is not allowed in YAML');
    for (const range of splitDocuments(adapted.text)) checkDocument(adapted.text, range);
    return undefined;
  } catch (error) {
    if (!(error instanceof FaultAt)) throw error;
    return faultAt(text, adapted.originalOffset(error.offset), error.message);
  }
}

/** A text with the constructs replaced that the readers know and js-yaml does not. */
class AdaptedText {
  readonly text: string;
  /** Where a space was inserted, as offsets of the original text. */
  readonly #spaces: number[] = [];

  constructor(original: string) {
    this.text = original
      // These characters end a line in YAML 1.1.
      .replace(/[\x85\u2028\u2029]/g, '\n')
      // "-" and "?" are texts if a comma or bracket follows.
      .replace(/(?<=[\s,[{])[-?](?=[,\]}])/g, '\uE000')
      // "*name: value" is "*name : value". A space more changes nothing inside of other texts.
      .replace(/(?=:(?:\s|$))(?<=(?:^|[\s,[{])\*[\w-]+)/g, (_, offset: number) => {
        this.#spaces.push(offset);
        return ' ';
      });
  }

  originalOffset(offset: number): number {
    let inserted = 0;
    while (inserted < this.#spaces.length && this.#spaces[inserted]! + inserted < offset) inserted++;
    return offset - inserted;
  }

  adaptedOffset(offset: number): number {
    return offset + this.#spaces.filter((space) => space <= offset).length;
  }
}

function checkDocument(text: string, { start, end, afterMarker }: DocumentRange): void {
  // js-yaml takes a second byte order mark for another one; the readers take it for text.
  const source = text
    .slice(start, end)
    .replace(/^\uFEFF/, '\uE000')
    .replace(/^%TAG[ \t]+![\w-]*_[\w-]*!(?=[ \t])[^\r\n]*/gm, (directive) => {
      // js-yaml does not know "_" in the handle of a tag.
      return '#'.padEnd(directive.length);
    });
  try {
    const root = parse(source);
    if (!root) return;
    new DocumentCheck(source).check(root, afterMarker === undefined ? undefined : afterMarker - start);
  } catch (error) {
    if (!(error instanceof FaultAt)) throw error;
    throw new FaultAt(Math.min(start + error.offset, text.length), error.message);
  }
}

function parse(source: string): YamlNode | undefined {
  try {
    return parseNodes(source, DEPTH_MAX + 2);
  } catch (error) {
    if (!(error instanceof FaultAt)) throw error;
    // js-yaml refuses "|" and ">" at the end of a text.
    if (error.message === 'missing indentation for block scalar' && error.offset >= source.length) return undefined;
    throw inOurWords(source, error);
  }
}

/** A plain text cannot begin with these; see "indicators" in YAML. */
const RESERVED = /[@`%]/y;

/** The fault with a message that says what to do, where the one of js-yaml says only where it stopped. */
function inOurWords(source: string, { offset, message }: FaultAt): FaultAt {
  if (/exceeded maxDepth/.test(message)) return new FaultAt(offset, `is nested deeper than ${DEPTH_MAX}`);
  if (/unacceptable YAML version/.test(message)) return new FaultAt(0, 'the version of YAML must be 1.1 or 1.2');
  const alias = /^unidentified alias "(.*)"$/.exec(message)?.[1];
  if (alias !== undefined)
    return new FaultAt(source.lastIndexOf(`*${alias}`, offset), `the alias *${alias} has no anchor before it`);
  RESERVED.lastIndex = offset;
  const isBegin = /[\s[{,]/.test(source[offset - 1] ?? ' ');
  if (isBegin && RESERVED.test(source))
    return new FaultAt(offset, `a text that begins with "${source[offset]}" needs quotes`);
  return new FaultAt(offset, message);
}

/** The rules about the nodes of one document. */
class DocumentCheck {
  readonly #source: string;
  readonly #hasTabs: boolean;
  readonly #hasEscapes: boolean;
  /** The texts and the outermost flow collections, in their order. Between them are only spaces, signs and comments. */
  readonly #covered: { start: number; end: number }[] = [];
  #aliases = 0;

  constructor(source: string) {
    this.#source = source;
    this.#hasTabs = source.includes('\t');
    this.#hasEscapes = source.includes('\\');
  }

  check(root: YamlNode, afterMarker: number | undefined): void {
    if (afterMarker !== undefined) this.#checkMarkerLine(root, afterMarker);
    this.#checkValue(root, false);
    if (this.#hasTabs) this.#checkTabsBetween();
    if (this.#aliases > ALIASES_MAX && isExpandedTooMuch(root)) throw new FaultAt(0, `the aliases add too many values`);
  }

  /** A list or a map without brackets begins on a line of its own, not behind `---`. */
  #checkMarkerLine(root: YamlNode, afterMarker: number): void {
    if ((root.kind !== 'list' && root.kind !== 'map') || this.#isFlow(root)) return;
    const at = this.#contentStart(root);
    if (!/[\r\n]/.test(this.#source.slice(afterMarker, at)))
      throw new FaultAt(at, 'a list or a map must not begin on the line of "---"');
  }

  #checkValue(node: YamlNode, inFlow: boolean): void {
    if (isMergeKey(node)) this.#refuse(node, '"<<" without quotes is not a value');
    this.#checkNode(node, inFlow);
  }

  #checkNode(node: YamlNode, inFlow: boolean): void {
    this.#checkAnchor(node);
    const reason = findTagFault(node);
    if (reason !== undefined) this.#refuse(node, reason);
    if (node.kind === 'scalar') this.#checkScalar(node, inFlow);
    else if (node.kind === 'list' || node.kind === 'map') this.#checkCollection(node, inFlow);
    else if (node.target) this.#aliases++;
  }

  #checkCollection(node: YamlNode, inFlow: boolean): void {
    const isFlow = inFlow || this.#coverFlow(node);
    if (node.kind === 'map') this.#checkMap(node, isFlow);
    else if (isListOfPairs(node)) for (const pair of node.children) this.#checkPair(pair!, isFlow);
    else for (const item of node.children) if (item) this.#checkValue(item, isFlow);
  }

  /** An item of !!omap or !!pairs. Its key may be a list or a map. */
  #checkPair({ children: [key, value] }: YamlNode, inFlow: boolean): void {
    if (key) this.#checkNode(key, inFlow);
    if (value) this.#checkValue(value, inFlow);
  }

  #checkMap(node: YamlNode, inFlow: boolean, areKeysUnique = true): void {
    const keys = new Set<string>();
    for (let i = 0; i < node.children.length; i += 2) {
      const [key, value] = [node.children[i], node.children[i + 1]];
      if (key) this.#checkKey(key, inFlow);
      if (key && isMergeKey(key)) {
        this.#checkMerge(key, value, inFlow);
        continue;
      }
      if (key && areKeysUnique) this.#checkUnique(keys, key);
      if (value) this.#checkValue(value, inFlow);
    }
  }

  #checkUnique(keys: Set<string>, key: YamlNode): void {
    const identity = this.#identity(key);
    if (keys.has(identity)) this.#refuse(key, `the key ${quoteKey(key.value)} is used twice in its map`);
    keys.add(identity);
  }

  /** Equal for keys that two of three readers take for the same: the same text, and both a string or both none. */
  #identity(key: YamlNode): string {
    if (key.kind === 'alias') return `alias ${this.#source.slice(key.start, key.end).trim()}`;
    return `${isString(key) ? 'string' : 'other'} ${key.value}`;
  }

  #checkKey(key: YamlNode, inFlow: boolean): void {
    if (key.kind === 'list' || key.kind === 'map' || key.target) this.#refuse(key, 'a list or a map cannot be a key');
    const fault = this.#findImplicitKeyFault(key, inFlow);
    if (fault !== undefined && !this.#isExplicit(key)) this.#refuse(key, fault);
    if (isMergeKey(key)) this.#checkAnchor(key);
    else this.#checkNode(key, inFlow);
    if (isMergeKey(key)) this.#checkScalar(key, inFlow);
  }

  #findImplicitKeyFault(key: YamlNode, inFlow: boolean): string | undefined {
    if (key.kind === 'empty' && key.tag === undefined && key.anchor === undefined)
      return 'the key is missing before ":"';
    if (inFlow && key.tag === '?' && key.value.startsWith(':')) return 'a key cannot begin with ":" here';
    if (key.end - key.start <= KEY_CHARACTERS_MAX) return undefined;
    const characters = Array.from(this.#source.slice(key.start, key.end)).length;
    return characters > KEY_CHARACTERS_MAX ? `the key is longer than ${KEY_CHARACTERS_MAX} characters` : undefined;
  }

  /** Returns true if the key has a "?" before it. */
  #isExplicit(key: YamlNode): boolean {
    return this.#source.slice(0, key.start).trimEnd().endsWith('?');
  }

  /** `<<` takes a map or a list of maps, or an alias of one. */
  #checkMerge(key: YamlNode, value: YamlNode | null | undefined, inFlow: boolean): void {
    const source = value?.target ?? value;
    const maps = source?.kind === 'list' ? source.children : [source];
    const areMaps = maps.every((map) => (map?.target ?? map)?.kind === 'map');
    if (!value || !areMaps) this.#refuse(key, '"<<" needs a map or a list of maps');
    if (value.kind !== 'map') return this.#checkNode(value, inFlow);
    // The readers take over the entries: two of three check neither the tag of the map nor its keys for uniqueness.
    this.#checkAnchor(value);
    this.#checkMap(value, inFlow || this.#coverFlow(value), false);
  }

  /** The name of an anchor has letters of ASCII, digits, "-" and "_". A ":" behind it begins a plain text. */
  #checkAnchor({ anchor, start, tag }: YamlNode): void {
    if (anchor === undefined || /^[\w-]+$/.test(anchor) || (tag === '?' && /^[\w-]+:[^:]+$/.test(anchor))) return;
    throw new FaultAt(
      this.#source.indexOf(`&${anchor}`, start),
      'an anchor may only have letters, digits, "-" and "_"',
    );
  }

  #checkScalar(node: YamlNode, inFlow: boolean): void {
    if (!this.#hasTabs && !this.#hasEscapes) return;
    const start = this.#contentStart(node);
    // The parser can stop before the white space behind a plain text.
    const end = node.tag === '?' ? this.#skip(inFlow ? WHITE_SPACE : BLANKS, node.end) : node.end;
    if (!inFlow) this.#covered.push({ start, end });
    const text = this.#source.slice(start, end);
    if (text.startsWith('"')) this.#checkEscapes(start, text);
    else if (/^[|>]/.test(text)) this.#refuseTab(start, /^[^\r\n]*?\t/.exec(text));
    else if (node.tag === '?') this.#refuseTab(start, /[\r\n] *\t/.exec(text));
  }

  #refuseTab(start: number, match: RegExpExecArray | null): void {
    if (match) throw new FaultAt(start + match.index + match[0].length - 1, TAB);
  }

  #checkEscapes(start: number, text: string): void {
    for (const { index, 0: escape } of text.matchAll(/\\(?:U[\da-fA-F]{8}|[^])/g)) {
      const isBeyondUnicode = escape.length > 2 && parseInt(escape.slice(2), 16) > 0x10ffff;
      if (escape === '\\/' || isBeyondUnicode) throw new FaultAt(start + index, 'most readers do not know this escape');
    }
  }

  /** Tabs are white space in brackets and in texts only, and free in comments. */
  #checkTabsBetween(): void {
    let at = 0;
    for (const { start, end } of [...this.#covered, { start: this.#source.length, end: 0 }]) {
      for (const { index, 0: found } of this.#source.slice(at, start).matchAll(/\t|(?<!\S)#[^\r\n]*/g)) {
        if (found === '\t') throw new FaultAt(at + index, TAB);
      }
      at = Math.max(at, end);
    }
  }

  /** Returns true if the list or map has brackets, and keeps its place. */
  #coverFlow(node: YamlNode): boolean {
    const isFlow = this.#isFlow(node);
    if (isFlow) this.#covered.push({ start: this.#contentStart(node), end: node.end });
    return isFlow;
  }

  #isFlow(node: YamlNode): boolean {
    const first = this.#source[this.#contentStart(node)];
    return first === '[' || first === '{';
  }

  /** Where the value of the node begins, behind its tag and anchor. */
  #contentStart(node: YamlNode): number {
    return this.#skip(SPACE_AND_PROPERTIES, node.start);
  }

  #skip(pattern: RegExp, from: number): number {
    pattern.lastIndex = from;
    pattern.test(this.#source);
    return pattern.lastIndex;
  }

  #refuse(node: YamlNode, message: string): never {
    throw new FaultAt(this.#skip(SPACE, node.start), message);
  }
}

/** The rule of go-yaml: the share of values that aliases add may be 99 % up to 400,000 values, and 10 % from 4,000,000. */
function isExpandedTooMuch({ written, expanded }: YamlNode): boolean {
  const share = 1 - written / expanded;
  const above = Math.min(Math.max(expanded - 400_000, 0) / 3_600_000, 1);
  return expanded > 1000 && share > 0.99 - 0.89 * above;
}
