import { z } from 'zod';
import { ACTIONS, type Action } from './actions.js';
import { faultOfMatch, faultOfTemplate } from './patterns.js';
import { CALLER_NAME, TOKEN_HASH } from './tokens.js';

/** The greatest number of characters of a pattern: a config's name has up to 128 for its group and 512 bytes for its key. */
const PATTERN_CHARS_MAX = 700;

const { pattern: NAME, words: NAME_RULE } = CALLER_NAME;
/** A day, or a time with an offset. */
const END = /^\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2}))?$/;
const DAY_MS = 24 * 3_600_000;

const text = (rule: string) => z.string(rule);
const name = text(NAME_RULE).regex(NAME, NAME_RULE);
const list = <T extends z.ZodType>(item: T, rule: string) => z.array(item, rule).min(1, rule);

/** A text with a rule that returns a fault. */
const ruled = (faultOf: (given: string) => string | undefined) =>
  text('must be a text').check(({ value, issues }) => {
    const fault =
      value === '' || value.length > PATTERN_CHARS_MAX
        ? `must be 1 to ${PATTERN_CHARS_MAX} characters`
        : faultOf(value);
    if (fault !== undefined) issues.push({ code: 'custom', message: fault, input: value });
  });

const pattern = ruled(faultOfTemplate);
const configPattern = ruled(
  (given) =>
    faultOfTemplate(given) ??
    (given === '*' || given.includes('/') ? undefined : 'must be "*", or a group, "/" and a key'),
);

const grant = {
  role: text('must be the name of a role').describe('A role of Rollcall, or one of "roles".'),
  namespaces: list(pattern, 'must be a list of namespaces, such as [shop]; ["*"] is all').describe(
    'Namespaces: exact names, or beginnings that end in "*".',
  ),
  services: list(pattern, 'must be a list of services, such as ["pay", "pay-*"]')
    .optional()
    .describe('Services: exact names, or beginnings that end in "*". Default: all. The role "service" needs it.'),
  configs: list(configPattern, 'must be a list of configs, such as ["default/*"]')
    .optional()
    .describe(
      'Configs as group/key: exact names, or beginnings that end in "*". Default: all; for the role "service": none.',
    ),
};
const MAP = 'must be a map';
const grants = <T extends z.ZodType>(item: T) => list(item, 'must be a list of grants');
const plainGrant = z.strictObject(grant, MAP);
const grantIf = z.strictObject(
  {
    if: z
      .record(
        z.string(),
        ruled((given) => faultOfMatch(given)),
        'must be a map of claims and their texts',
      )
      .optional()
      .describe('Claims that the token must have, by name. A text may end in "*" and hold captures such as {ns}.'),
    ...grant,
  },
  MAP,
);

const URL_RULE = 'must be an https URL; http is allowed for addresses of loopback';
const isKeysUrl = (given: string): boolean => {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (!url || url.username !== '' || url.password !== '') return false;
  return (
    url.protocol === 'https:' ||
    (url.protocol === 'http:' && /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname))
  );
};

/** A limit: a whole number. */
const rate = (max: number) => {
  const rule = `must be a whole number from 1 to ${max}`;
  return z.int(rule).min(1, rule).max(max, rule).optional();
};

/** The shape of an access file. */
export const ACCESS_SCHEMA = z.strictObject(
  {
    roles: z
      .record(
        z.string().regex(NAME, NAME_RULE),
        list(
          z.enum(Object.keys(ACTIONS) as [Action], `must be ${Object.keys(ACTIONS).join(', ')}`),
          'must be a list of actions',
        ),
        'must be a map of roles and their actions',
      )
      .optional()
      .describe('Own roles: each is a list of actions.'),
    tokens: z
      .array(
        z.strictObject(
          {
            name: name.describe('The name of the caller. Two tokens may have the same: one replaces the other.'),
            hash: text('must be a text')
              .regex(TOKEN_HASH, 'must be the hash that "rollcall token new" prints: sha256: and 43 characters')
              .describe('The hash of the token, as "rollcall token new" prints it.'),
            expires: text('must be a text')
              .regex(END, {
                error: 'must be a day such as 2027-06-30, or a time such as 2027-06-30T12:00:00Z',
                abort: true,
              })
              .refine(isDay, 'must be a day that exists')
              .optional()
              .describe('The last day, in UTC, or the time at which the token ends. Default: never.'),
            grants: grants(plainGrant),
          },
          MAP,
        ),
        'must be a list of tokens',
      )
      .optional()
      .describe('Callers that show a bearer token.'),
    jwt: z
      .array(
        z.strictObject(
          {
            alias: name.describe('A short name of the issuer, for names of callers such as jwt:k8s:....'),
            issuer: text('must be a text').min(1, 'must not be empty').describe('The claim "iss" of its tokens.'),
            audience: text('must be a text')
              .min(1, 'must not be empty')
              .describe('A value that the claim "aud" of its tokens must have.'),
            'keys-url': text(URL_RULE)
              .refine(isKeysUrl, URL_RULE)
              .optional()
              .describe('The URL of its keys (JWKS), read every 10 min.'),
            'keys-file': text('must be a path')
              .min(1, 'must not be empty')
              .optional()
              .describe('A file with its keys (JWKS), read every 10 s.'),
            ca: text('must be a path')
              .min(1, 'must not be empty')
              .optional()
              .describe('CA certificates (PEM) used to verify the URL. Default: those of the system.'),
            grants: grants(grantIf),
          },
          MAP,
        ),
        'must be a list of issuers',
      )
      .optional()
      .describe('Callers that show a JWT of an issuer.'),
    certificates: z
      .array(
        z.strictObject(
          {
            match: ruled((given) => faultOfMatch(given, !given.includes('://'))).describe(
              'The SPIFFE ID, or any other URI, or the DNS name of the certificate. It may end in "*" and hold captures such as {ns}.',
            ),
            grants: grants(plainGrant),
          },
          MAP,
        ),
        'must be a list of certificates',
      )
      .optional()
      .describe('Callers that show a certificate.'),
    quotas: z
      .array(
        z.strictObject(
          {
            callers: list(
              ruled((given) => (given.slice(0, -1).includes('*') ? 'must have a "*" only at its end' : undefined)),
              'must be a list of callers, such as ["token:ci"]',
            ).describe(
              'Names of callers, such as token:ci, jwt:k8s:* or anonymous. The first entry that has a name counts.',
            ),
            'calls-per-second': rate(1_000_000).describe(
              'Calls a second apart from heartbeats; those of two seconds may come at once.',
            ),
            'beats-per-second': rate(10_000_000).describe(
              'Items of heartbeats a second. A heartbeat that is refused may cost an instance its health.',
            ),
            watches: rate(100_000).describe('Open watches.'),
          },
          MAP,
        ),
        'must be a list of quotas',
      )
      .optional()
      .describe(
        'Limits of callers, for each server. Those of anonymous are for each address, or each /64 of IPv6. Default: none.',
      ),
    anonymous: z
      .array(plainGrant, 'must be a list of grants')
      .optional()
      .describe('Callers that show nothing. Default: they may do nothing.'),
  },
  'must be a map with tokens, jwt, certificates, anonymous or roles',
);

/** The contents of an access file that has this shape. */
export type AccessContent = z.infer<typeof ACCESS_SCHEMA>;

/** Returns true if the day of a time exists: JavaScript reads the 31st of February as one in March. */
function isDay(given: string): boolean {
  const day = given.slice(0, 10);
  const ms = Date.parse(`${day}T00:00:00Z`);
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(day) && !Number.isNaN(endMs(given));
}

/** The milliseconds at which a day ends, or of a time. */
export function endMs(given: string): number {
  return given.length === 10 ? Date.parse(`${given}T00:00:00Z`) + DAY_MS : Date.parse(given.replace(' ', 'T'));
}

/** A grant in such a file. */
export type GrantContent = z.infer<typeof grantIf>;

/** A place where a file does not have the shape. */
export type ShapeIssue = z.core.$ZodIssue;
