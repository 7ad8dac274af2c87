import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import type { AddressRange } from '../base/hosts.js';
import { isNetwork, parsePorts } from '../model/probe-rule.js';
import type { PemFile } from '../tls/pem.js';

/** The text of a setting breaks its rule. The message is the rule ("must be ...") and never contains the text. */
export class BrokenRule extends Error {
  override readonly name = 'BrokenRule';

  constructor(
    message: string,
    /** The text must not be shown beside the rule if this is true: it may hold a secret. */
    readonly hidesText = false,
  ) {
    super(message);
  }
}

/** A JSON Schema of the values that a setting can have in a settings file. */
export type ValueSchema = Readonly<Record<string, unknown>>;

/** Reads the text of one setting. Throws BrokenRule. */
export interface Parse<T> {
  (text: string): T;
  /** The values that an editor should expect in a settings file. Default: a text. */
  readonly schema?: ValueSchema;
}

/** A parser with the schema of its values. */
const withSchema = <T>(schema: ValueSchema, parse: (text: string) => T): Parse<T> => Object.assign(parse, { schema });

/** A parser that takes the text unchanged where a pattern matches it. */
const matching =
  (pattern: RegExp, rule: string): Parse<string> =>
  (text) => {
    if (!pattern.test(text)) throw new BrokenRule(rule);
    return text;
  };

/** Any text, also none. */
export const anyText: Parse<string> = (text) => text;

/** Any text but an empty one. */
export const someText: Parse<string> = matching(/^[^]/, 'must not be empty');

/** Any text up to a length. */
export const textUpTo = (charsMax: number): Parse<string> =>
  matching(new RegExp(`^[^]{0,${charsMax}}$`), `must have at most ${charsMax} characters`);

/** A name of a host. */
export const hostName: Parse<string> = matching(/^[A-Za-z0-9.-]{1,253}$/, 'must be the name of a host');

/** Printable ASCII without spaces. */
export const printable = (charsMax: number): Parse<string> =>
  matching(new RegExp(`^[!-~]{1,${charsMax}}$`), `must be 1 to ${charsMax} printable ASCII characters without spaces`);

/** A whole number, in decimal digits. */
export function wholeNumber(min: number, max: number): Parse<number> {
  const digits = new RegExp(`^\\d{1,${String(max).length}}$`);
  return withSchema({ type: 'integer', minimum: min, maximum: max }, (text) => {
    const value = digits.test(text) ? Number(text) : NaN;
    if (!(value >= min && value <= max)) throw new BrokenRule(`must be a whole number from ${min} to ${max}`);
    return value;
  });
}

/** One of a few words. */
export function oneOf<const Word extends string>(words: readonly Word[]): Parse<Word> {
  return withSchema({ enum: words }, (text) => {
    const word = words.find((known) => known === text);
    if (word === undefined) throw new BrokenRule(`must be ${words.slice(0, -1).join(', ')} or ${words.at(-1)}`);
    return word;
  });
}

/** A switch. */
export const trueOrFalse: Parse<boolean> = withSchema(
  { type: 'boolean' },
  (text) => oneOf(['true', 'false'])(text) === 'true',
);

/** Where a server can be reached: an IPv6 address in brackets, an IPv4 address or a name; and a port. */
export const hostAndPort: Parse<string> = (text) => {
  const [, port] = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})$/.exec(text) ?? [];
  if (!(Number(port) >= 1 && Number(port) <= 65_535))
    throw new BrokenRule('must be HOST:PORT with a port from 1 to 65535');
  return text;
};

/** A list of a settings file. */
const TEXT_OR_LIST: ValueSchema = { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] };

/** URLs with a port and commas between them, all of one scheme. */
export const urls: Parse<readonly string[]> = withSchema(TEXT_OR_LIST, (text) => {
  const found = text
    .split(',')
    .map((url) => url.trim())
    .filter((url) => url !== '');
  if (text.includes('@')) throw new BrokenRule('must not have a user or a password; see --etcd-user', true);
  if (found.length === 0 || !found.every((url) => /^https?:\/\/[^/\s]+:\d{1,5}$/.test(url)))
    throw new BrokenRule('must be URLs such as http://10.0.0.1:2379, separated by commas');
  if (new Set(found.map((url) => url.startsWith('https:'))).size > 1)
    throw new BrokenRule('must be all http or all https');
  return found;
});

/** The rule that a text breaks as a plain URL of HTTP, with or without a path; `undefined` if it breaks none. */
export function faultOfUrl(text: string): BrokenRule | undefined {
  if (/[@?#]/.test(text)) return new BrokenRule('must not have a user, a password or a query', true);
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return undefined;
  return new BrokenRule('must be a URL such as http://collector:4318');
}

/** A plain URL of HTTP. */
export const httpUrl: Parse<string> = (text) => {
  const fault = faultOfUrl(text);
  if (fault) throw fault;
  return text;
};

/** A part of all: a number from 0 to 1. */
export const share: Parse<number> = withSchema({ type: 'number', minimum: 0, maximum: 1 }, (text) => {
  const value = /^\d{1,3}(?:\.\d{1,9})?$/.test(text) ? Number(text) : NaN;
  if (!(value >= 0 && value <= 1)) throw new BrokenRule('must be a number from 0 to 1, such as 0.01');
  return value;
});

/** A port, or no port at all. */
export const portOrOff: Parse<number | 'off'> = withSchema(
  { anyOf: [{ type: 'integer', minimum: 0, maximum: 65_535 }, { const: 'off' }] },
  (text) => {
    if (text === 'off') return 'off';
    try {
      return wholeNumber(0, 65_535)(text);
    } catch {
      throw new BrokenRule('must be "off" or a whole number from 0 to 65535');
    }
  },
);

/** Texts with commas between them, each of which matches a pattern; none if there is no text. */
const listOf = (pattern: RegExp, rule: string): Parse<readonly string[]> =>
  withSchema(TEXT_OR_LIST, (text) => {
    const found = text
      .split(',')
      .map((one) => one.trim())
      .filter((one) => one !== '');
    if (!found.every((one) => pattern.test(one))) throw new BrokenRule(rule);
    return found;
  });

/** Names of hosts and IP addresses, without ports. */
export const hostNames = listOf(
  /^[A-Za-z0-9.:_-]{1,253}$/,
  'must be names or addresses without ports, separated by commas',
);

/** Ranges of IP addresses in CIDR notation. A bare address is a range of one. */
export const addressRanges: Parse<readonly AddressRange[]> = withSchema(TEXT_OR_LIST, (text) =>
  listOf(
    /^/,
    '',
  )(text).map((range) => {
    const [, address = '', given] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(range) ?? [];
    const most = { 0: -1, 4: 32, 6: 128 }[isIP(address)]!;
    const bits = given === undefined ? most : Number(given);
    if (bits < 0 || bits > most)
      throw new BrokenRule('must be IP addresses or ranges such as 192.168.0.0/16, separated by commas');
    return { address, bits };
  }),
);

/** Origins of web pages, as browsers send them. */
export const origins = listOf(
  /^https?:\/\/(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/,
  'must be origins such as https://console.example.org, in lower case and without a path, separated by commas',
);

/** The content of a file. The text is the path. */
const file: Parse<Buffer> = (path) => {
  try {
    return readFileSync(path);
  } catch (error) {
    // The message of the system repeats the path, which may be a secret given by mistake. The code does not.
    throw new BrokenRule(`must be a file that can be read (${(error as NodeJS.ErrnoException).code})`);
  }
};

/** A file of PEM text, which is read again while the server runs. The text is the path. */
export const pemFile: Parse<PemFile> = (path) => ({ path, content: file(path) });

/** The content of a text file, without white space at its end. */
export const textFile: Parse<string> = (path) => file(path).toString('utf8').trimEnd();

/** Networks, such as "10.0.0.0/8,fd00::/8". */
export const networks: Parse<readonly string[]> = withSchema(TEXT_OR_LIST, (text) => {
  const all = text.split(',').map((one) => one.trim());
  if (!all.every(isNetwork)) throw new BrokenRule('must be networks such as 192.168.0.0/16, separated by commas');
  return all;
});

/** Ports and ranges of ports, such as "80,1024-65535". */
export const ports: Parse<string> = (text) => {
  if (!parsePorts(text)) throw new BrokenRule('must be ports and ranges of ports, such as 80,443,1024-65535');
  return text;
};
