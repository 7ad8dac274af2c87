import { LIMITS } from './limits.js';

/** The rule for one kind of name, as a pattern and in words. */
export interface NameRule {
  readonly pattern: { test(name: string): boolean };
  readonly words: string;
  /** Turns a refused name into a valid one. The result is empty if no usable character is left. */
  readonly propose: (name: string) => string;
}

const nameChars = LIMITS.NAME_CHARS.value;
const idPattern = (max: number): RegExp => new RegExp(`^[A-Za-z0-9._:-]{1,${max}}$`);

/** Removes characters that must not be first or last, and cuts the name to its maximum length. */
function trim(name: string, ends: RegExp, max: number): string {
  return name.replace(ends, '').slice(0, max).replace(ends, '');
}

const proposeName = (name: string): string =>
  trim(name.normalize('NFKD').replace(/[^A-Za-z0-9._-]+/g, '-'), /^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, nameChars);
const proposeId =
  (max: number) =>
  (name: string): string =>
    trim(name.normalize('NFKD').replace(/[^A-Za-z0-9._:-]+/g, '-'), /^-+|-+$/g, max);

const scopePattern = new RegExp(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,${nameChars - 2}}[A-Za-z0-9])?$`);
const scopeWords = `must be 1 to ${nameChars} ASCII letters, digits, ".", "_" or "-", with a letter or digit first and last`;

export const NAMESPACE: NameRule = {
  pattern: new RegExp(`^[a-z0-9]([a-z0-9-]{0,${LIMITS.NAMESPACE_CHARS.value - 2}}[a-z0-9])?$`),
  words: `must be a DNS label: 1 to ${LIMITS.NAMESPACE_CHARS.value} lower-case letters, digits or "-", with a letter or digit first and last`,
  propose: (name) =>
    trim(
      name
        .normalize('NFKD')
        .toLowerCase()
        .replace(/[^a-z0-9-]+/g, '-'),
      /^[^a-z0-9]+|[^a-z0-9]+$/g,
      LIMITS.NAMESPACE_CHARS.value,
    ),
};

/** Services, compared exactly. */
export const SERVICE: NameRule = { pattern: scopePattern, words: scopeWords, propose: proposeName };

/** Config groups. */
export const GROUP: NameRule = SERVICE;

/** Instance ids. */
export const INSTANCE_ID: NameRule = {
  pattern: idPattern(nameChars),
  words: `must be 1 to ${nameChars} ASCII letters, digits, ".", "_", ":" or "-"`,
  propose: proposeId(nameChars),
};

/** Incarnations and request ids. */
export const RUN_ID: NameRule = {
  pattern: idPattern(LIMITS.INCARNATION_CHARS.value),
  words: `must be 1 to ${LIMITS.INCARNATION_CHARS.value} ASCII letters, digits, ".", "_", ":" or "-"`,
  propose: proposeId(LIMITS.INCARNATION_CHARS.value),
};

const { CONFIG_KEY_CHARS, CONFIG_KEY_BYTES } = LIMITS;
/** Letters and digits of any script. */
const LETTERS = '\\p{L}\\p{Nd}';
const MARKS = '\\p{M}';
const PUNCTUATION = '._:,@+=~\\-';
/** Characters that are not shown, such as a joiner: two keys that differ in them look the same. */
const INVISIBLE = /\p{Default_Ignorable_Code_Point}/u;
/** A segment of a key: not empty, not "." or "..", and without a mark first, which would join the slash before it. */
const SEGMENT = `(?!\\.{1,2}(?:/|$))[${LETTERS}${PUNCTUATION}][${LETTERS}${MARKS}${PUNCTUATION}]*`;
const KEY_CHARS = new RegExp(`^${SEGMENT}(?:/${SEGMENT})*$`, 'u');
const PREFIX_CHARS = new RegExp(`^(?:${SEGMENT}/)*(?:${SEGMENT}|\\.{0,2})$`, 'u');
const OTHER_CHARS = new RegExp(`[^${LETTERS}${MARKS}${PUNCTUATION}/]+`, 'gu');
/** The longest text that is looked at: more code points than a key may have, each of two units. */
const LOOKED_AT_CHARS = 4 * CONFIG_KEY_CHARS.value;

/** Returns true if a text has a length that a key may have, is NFC, and shows all of its characters. */
function isKeyText(text: string): boolean {
  if (text.length > LOOKED_AT_CHARS || [...text].length > CONFIG_KEY_CHARS.value) return false;
  if (Buffer.byteLength(text) > CONFIG_KEY_BYTES.value) return false;
  return text.normalize() === text && !INVISIBLE.test(text);
}

/** The beginning of a text that is short enough for a key, cut between two characters. */
function cutToKey(text: string): string {
  let cut = '';
  let count = 0;
  for (const character of text) {
    if (++count > CONFIG_KEY_CHARS.value || Buffer.byteLength(cut + character) > CONFIG_KEY_BYTES.value) break;
    cut += character;
  }
  return cut;
}

/** The segments that a key may have, without marks at their beginning. */
const realSegments = (key: string): string[] =>
  key
    .split('/')
    .map((part) => part.replace(/^\p{M}+/u, ''))
    .filter((part) => !['', '.', '..'].includes(part));

const keyWords =
  `must be 1 to ${CONFIG_KEY_CHARS.value} letters, marks and digits of any script, or any of "._-/:,@+=~", up to ` +
  `${CONFIG_KEY_BYTES.value} bytes of UTF-8 in form NFC, without invisible characters and without empty, "." or ".." segments`;

/** Config keys: a path without empty, "." or ".." segments. Equal keys have equal bytes, because a key is NFC. */
export const CONFIG_KEY: NameRule = {
  pattern: { test: (key) => KEY_CHARS.test(key) && isKeyText(key) },
  words: keyWords,
  propose: (key) => {
    const visible = key.slice(0, LOOKED_AT_CHARS).normalize().replace(new RegExp(INVISIBLE, 'gu'), '');
    return realSegments(cutToKey(realSegments(visible.replace(OTHER_CHARS, '-')).join('/'))).join('/');
  },
};

/** The beginning of a config key: any text that can be completed to a valid key. */
export const CONFIG_PREFIX: Pick<NameRule, 'pattern' | 'words'> = {
  pattern: { test: (prefix) => PREFIX_CHARS.test(prefix) && isKeyText(prefix) },
  words: keyWords.replace('1 to', 'up to'),
};

/** A name itself if it is valid, or one like it. `undefined` if nothing of it can be a name. */
export function validName(rule: NameRule, name: string): string | undefined {
  if (rule.pattern.test(name)) return name;
  const proposal = rule.propose(name);
  return rule.pattern.test(proposal) && /[\p{L}\p{Nd}]/u.test(proposal) ? proposal : undefined; // separators alone name nothing
}

/** The reason why a name is refused, with a valid proposal. `undefined` if the name is valid. */
export function refuseName(rule: NameRule, name: string): string | undefined {
  const valid = validName(rule, name);
  if (valid === name) return undefined;
  return valid === undefined ? rule.words : `${rule.words}; "${valid}" would do`;
}
