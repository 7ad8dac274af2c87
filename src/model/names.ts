import { LIMITS } from './limits.js';

/** The rule for one kind of name, as a pattern and in words. */
export interface NameRule {
  readonly pattern: RegExp;
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
const scopeWords = `must be 1 to ${nameChars} letters, digits, ".", "_" or "-", with a letter or digit first and last`;

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
  words: `must be 1 to ${nameChars} letters, digits, ".", "_", ":" or "-"`,
  propose: proposeId(nameChars),
};

/** Incarnations and request ids. */
export const RUN_ID: NameRule = {
  pattern: idPattern(LIMITS.INCARNATION_CHARS.value),
  words: `must be 1 to ${LIMITS.INCARNATION_CHARS.value} letters, digits, ".", "_", ":" or "-"`,
  propose: proposeId(LIMITS.INCARNATION_CHARS.value),
};

const configKeyChars = LIMITS.CONFIG_KEY_CHARS.value;
const realSegments = (key: string): string[] => key.split('/').filter((part) => !['', '.', '..'].includes(part));

/** Config keys: a path without empty, "." or ".." segments. */
export const CONFIG_KEY: NameRule = {
  pattern: new RegExp(
    `^(?=.{1,${configKeyChars}}$)(?!\\.{1,2}(/|$))[A-Za-z0-9._-]+(/(?!\\.{1,2}(/|$))[A-Za-z0-9._-]+)*$`,
  ),
  words: `must be 1 to ${configKeyChars} letters, digits, ".", "_", "-" or "/", without empty, "." or ".." segments`,
  propose: (key) =>
    realSegments(
      realSegments(key.normalize('NFKD').replace(/[^A-Za-z0-9._/-]+/g, '-'))
        .join('/')
        .slice(0, configKeyChars),
    ).join('/'),
};

/** The beginning of a config key: any text that can be completed to a valid key. */
export const CONFIG_PREFIX_PATTERN = new RegExp(
  `^(?=.{1,${configKeyChars}}$)((?!\\.{1,2}/)[A-Za-z0-9._-]+/)*[A-Za-z0-9._-]*$`,
);

/** The reason why a name is refused, with a valid proposal. `undefined` if the name is valid. */
export function refuseName(rule: NameRule, name: string): string | undefined {
  if (rule.pattern.test(name)) return undefined;
  const proposal = rule.propose(name);
  return rule.pattern.test(proposal) ? `${rule.words}; "${proposal}" would do` : rule.words;
}
