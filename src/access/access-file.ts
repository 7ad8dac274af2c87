import { CORE_SCHEMA, load } from 'js-yaml';
import { didYouMean } from '../base/near.js';
import { FaultAt, Lines } from '../base/places.js';
import { beginningIn, childAt, parseOnlyDocument, type YamlNode } from '../base/yaml-nodes.js';
import { ACCESS_SCHEMA, type AccessContent, endMs, type GrantContent, type ShapeIssue } from './access-schema.js';
import { ownRole, type Role, ROLES } from './actions.js';
import { capturesIn } from './patterns.js';
import type { Limits } from './quotas.js';

/** An access file of this size is something else. */
export const ACCESS_FILE_BYTES_MAX = 4 * 1_024 * 1_024;
/** The access file nests up to five levels; a bound for the parser. */
const DEPTH_MAX = 20;

/** One grant as an access file has it, with its role. */
export interface GrantText {
  readonly role: Role;
  readonly if: Readonly<Record<string, string>>;
  readonly namespaces: readonly string[];
  readonly services: readonly string[] | undefined;
  readonly configs: readonly string[] | undefined;
}

/** A token that an access file allows. */
export interface TokenEntry {
  readonly name: string;
  readonly hash: string;
  /** Wall-clock milliseconds at which it ends; `undefined` if never. */
  readonly expiresMs: number | undefined;
  readonly grants: readonly GrantText[];
}

/** An issuer of JWTs. */
export interface IssuerEntry {
  readonly alias: string;
  readonly issuer: string;
  readonly audience: string;
  /** Where its keys are. */
  readonly keys: { readonly url: string; readonly ca: string | undefined } | { readonly file: string };
  readonly grants: readonly GrantText[];
}

/** Certificates that an access file allows. */
export interface CertificateEntry {
  readonly match: string;
  readonly grants: readonly GrantText[];
}

/** An access file, checked and complete. */
export interface AccessFile {
  readonly tokens: readonly TokenEntry[];
  readonly issuers: readonly IssuerEntry[];
  readonly certificates: readonly CertificateEntry[];
  readonly anonymous: readonly GrantText[];
  readonly quotas: readonly QuotaEntry[];
}

/** Limits of some callers. */
export interface QuotaEntry {
  /** Names of callers, exact or beginnings that end in "*". */
  readonly callers: readonly string[];
  readonly limits: Limits;
}

/** An access file that cannot be used. Each line of the message names a place and the rule that is broken there. */
export class BadAccessFile extends Error {
  override readonly name = 'BadAccessFile';
}

/** A mistake: the path of the value, and the rule. */
interface Mistake {
  readonly path: readonly PropertyKey[];
  readonly rule: string;
}

/** Reads the text of an access file. Throws BadAccessFile with all mistakes. `path` is the file, for its message. */
export function readAccessFile(path: string, content: string): AccessFile {
  let root: YamlNode | undefined;
  let value: unknown;
  const lines = new Lines(content);
  const placeOf = (offset: number): string => {
    const { line, column } = lines.place(offset);
    return `${path}:${line}:${column}`;
  };
  try {
    root = parseOnlyDocument(content, DEPTH_MAX);
    value = valueOf(content);
  } catch (error) {
    if (!(error instanceof FaultAt)) throw error;
    throw new BadAccessFile(`${placeOf(error.offset)}: ${error.message}`, { cause: error });
  }
  // An empty file would lock everybody out. It is rather half of a file.
  if (value === null || value === undefined) throw new BadAccessFile(`${path}: is empty`);
  const parsed = ACCESS_SCHEMA.safeParse(value);
  const mistakes = parsed.success
    ? mistakesIn(parsed.data)
    : parsed.error.issues.flatMap((issue) => mistakesOf(issue, value));
  if (mistakes.length > 0 || !parsed.success) {
    const texts = mistakes.map(({ path: at, rule }) => {
      const node = root && childAt(root, at);
      return `${placeOf(node ? beginningIn(content, node) : 0)}: ${at.join('.')}${at.length > 0 ? ' ' : ''}${rule}`;
    });
    throw new BadAccessFile(texts.join('\n'));
  }
  return fileOf(parsed.data);
}

/** The value of a YAML text. */
function valueOf(content: string): unknown {
  try {
    return load(content, { schema: CORE_SCHEMA });
  } catch (error) {
    const { mark, reason } = error as { mark?: { position: number }; reason?: string };
    throw new FaultAt(mark?.position ?? 0, reason ?? String(error));
  }
}

function mistakesOf(issue: ShapeIssue, content: unknown): Mistake[] {
  if (issue.code !== 'unrecognized_keys') {
    const isMissing = valueAt(content, issue.path) === undefined;
    return [{ path: issue.path, rule: isMissing ? `is required: it ${issue.message}` : issue.message }];
  }
  return issue.keys.map((key) => ({ path: [...issue.path, key], rule: `is not known here${didYouMean(key, KEYS)}` }));
}

/** The value at a path; `undefined` if there is none. */
const valueAt = (content: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce((value, key) => (value as Record<PropertyKey, unknown> | null | undefined)?.[key], content);

/** The keys that an access file can have, for proposals. */
const KEYS = [
  ...['roles', 'tokens', 'jwt', 'certificates', 'anonymous', 'name', 'hash', 'expires', 'grants', 'role', 'if'],
  ...['namespaces', 'services', 'configs', 'alias', 'issuer', 'audience', 'keys-url', 'keys-file', 'ca', 'match'],
  ...['quotas', 'callers', 'calls-per-second', 'beats-per-second', 'watches'],
];

/** The mistakes that concern several values. */
function mistakesIn(content: AccessContent): Mistake[] {
  const { tokens = [], jwt = [], certificates = [], anonymous = [], roles = {} } = content;
  const known: Readonly<Record<string, unknown>> = { ...ROLES, ...roles };
  const mistakes: Mistake[] = Object.keys(roles)
    .filter((role) => Object.hasOwn(ROLES, role))
    .map((role) => ({ path: ['roles', role], rule: 'is a role of Rollcall already' }));

  const grantMistakes = (
    at: readonly PropertyKey[],
    given: readonly GrantContent[],
    captured: readonly string[],
  ): void =>
    given.forEach((one, i) => {
      const path = [...at, i];
      const { role, namespaces, services = [], configs = [] } = one;
      if (!Object.hasOwn(known, role))
        mistakes.push({ path: [...path, 'role'], rule: `is not a role${didYouMean(role, Object.keys(known))}` });
      else if (role === 'service' && services.length === 0)
        mistakes.push({ path, rule: 'must have "services": the role "service" registers those that are named' });
      const captures = [...captured, ...Object.values(one.if ?? {}).flatMap(capturesIn)];
      const texts = { namespaces, services, configs };
      for (const [key, patterns] of Object.entries(texts))
        patterns.forEach((text, k) => {
          const unknown = capturesIn(text).find((capture) => !captures.includes(capture));
          if (unknown !== undefined)
            mistakes.push({ path: [...path, key, k], rule: `uses {${unknown}}, which nothing captures` });
        });
    });

  const hashes = new Set<string>();
  tokens.forEach(({ hash, grants: given }, i) => {
    if (hashes.has(hash)) mistakes.push({ path: ['tokens', i, 'hash'], rule: 'is the hash of another token, too' });
    hashes.add(hash);
    grantMistakes(['tokens', i, 'grants'], given, []);
  });
  const aliases = new Set<string>();
  jwt.forEach((one, i) => {
    if (aliases.has(one.alias)) mistakes.push({ path: ['jwt', i, 'alias'], rule: 'is used by another issuer, too' });
    aliases.add(one.alias);
    if ((one['keys-url'] === undefined) === (one['keys-file'] === undefined))
      mistakes.push({ path: ['jwt', i], rule: 'must have either keys-url or keys-file' });
    if (one.ca !== undefined && !one['keys-url']?.startsWith('https:'))
      mistakes.push({ path: ['jwt', i, 'ca'], rule: 'is only for a keys-url with https' });
    grantMistakes(['jwt', i, 'grants'], one.grants, []);
  });
  const matches = new Set<string>();
  certificates.forEach(({ match, grants: given }, i) => {
    if (matches.has(match))
      mistakes.push({ path: ['certificates', i, 'match'], rule: 'is used by another entry, too' });
    matches.add(match);
    grantMistakes(['certificates', i, 'grants'], given, capturesIn(match));
  });
  grantMistakes(['anonymous'], anonymous, []);
  return mistakes;
}

function fileOf({
  tokens = [],
  jwt = [],
  certificates = [],
  anonymous = [],
  roles = {},
  quotas = [],
}: AccessContent): AccessFile {
  const own = Object.fromEntries(Object.entries(roles).map(([role, actions]) => [role, ownRole(actions)]));
  const known: Readonly<Record<string, Role>> = { ...own, ...ROLES };
  const textsOf = (given: readonly GrantContent[]): GrantText[] =>
    given.map(({ role, if: conditions = {}, namespaces, services, configs }) => ({
      ...{ role: known[role]!, if: conditions, namespaces, services, configs },
    }));
  return {
    tokens: tokens.map((token) => ({
      ...{ name: token.name, hash: token.hash, grants: textsOf(token.grants) },
      expiresMs: token.expires === undefined ? undefined : endMs(token.expires),
    })),
    issuers: jwt.map((one) => ({
      ...{ alias: one.alias, issuer: one.issuer, audience: one.audience, grants: textsOf(one.grants) },
      keys: one['keys-file'] === undefined ? { url: one['keys-url']!, ca: one.ca } : { file: one['keys-file'] },
    })),
    certificates: certificates.map(({ match, grants: given }) => ({ match, grants: textsOf(given) })),
    anonymous: textsOf(anonymous),
    quotas: quotas.map((entry) => ({
      callers: entry.callers,
      limits: {
        callsPerSecond: entry['calls-per-second'],
        beatsPerSecond: entry['beats-per-second'],
        watches: entry.watches,
      },
    })),
  };
}
