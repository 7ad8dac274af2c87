import { status } from '@grpc/grpc-js';
import type { Outcome } from './wire.js';

/** A value that a field must not have, and what a request that has it is told. */
export interface Row extends Outcome {
  readonly value: unknown;
}

/** The rows of a field, whose name in errors is such as "instance.endpoints[0].port". */
export type Rule = (field: string) => Row[];

/** A row that is told INVALID_REQUEST and these fields. */
export const refused = (value: unknown, ...fields: string[]): Row => ({
  value,
  code: status.INVALID_ARGUMENT,
  reason: 'INVALID_REQUEST',
  fields,
});

/** A row that breaks no rule of a field, but comes to an error all the same. */
export const failed = (value: unknown, code: status, reason: string): Row => ({ value, code, reason, fields: [] });

export const rows =
  (...given: Row[]): Rule =>
  () =>
    given;

export const all =
  (...rules: Rule[]): Rule =>
  (field) =>
    rules.flatMap((rule) => rule(field));

/** Values that are refused, each by itself. */
export const each =
  (...values: unknown[]): Rule =>
  (field) =>
    values.map((value) => refused(value, field));

/** The rule of a part of the field; `wrap` makes the value of the field out of that of the part. */
const part =
  (suffix: string, rule: Rule, wrap: (value: unknown) => unknown): Rule =>
  (field) =>
    rule(field + suffix).map((row) => ({ ...row, value: wrap(row.value) }));

export const times = <T>(count: number, make: (i: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));
export const long = (max: number): string => 'a'.repeat(max + 1);

const INT32 = { min: -(2 ** 31), max: 2 ** 31 - 1 };
export const INT64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n };

/** What no kind of name may be. */
const NO_NAMES = ['a\0b', 'a\nb', 'a\n', '\x7f', 'a\x85', 'a b', ' ', 'a\\b', '/', '../a', '%2e', 'é', '\u202ea', '💥'];

export const required = each('');
export const namespace = each(...NO_NAMES, long(63), 'a/b', '..', '__proto__', 'A', 'a.b', '-a', 'a-');
export const scope = each(...NO_NAMES, long(128), 'a/b', '..', '__proto__', '.a', 'a.', '-a', 'a:b');
export const instanceId = each(...NO_NAMES, long(128), 'a/b');
export const runId = each(...NO_NAMES, long(64), 'a/b');
/** What no config key may be: keys have letters of any script, but one spelling, and nothing invisible. */
const NO_KEYS = [
  ...NO_NAMES.filter((name) => name !== 'é'),
  ...[
    'e\u0301',
    'a\u200bb',
    'a\u00adb',
    'a\ufe0f',
    '\u0301a',
    'a/\u0301',
    '\u3164',
    '①',
    '“a”',
    '配'.repeat(171),
    long(256),
  ],
];
export const configKey = each(...NO_KEYS, '/a', 'a/', 'a//b', '.', '..', 'a/./b', 'a/..');
export const configPrefix = each(...NO_KEYS, '/a', 'a//b', './', 'a/../');
export const address = each(
  ...['a b', 'a\0', '10.0.0.7\n', '::1%\n', 'a/b', 'a..b', '../a', '[::1]', 'a:80', '-a', 'é', long(253)],
  ...[
    '0.0.0.0',
    '::',
    '0::0',
    '224.0.0.1',
    'ff02::1',
    '255.255.255.255',
    'fe80::1%eth0',
    '1.2.3',
    '10.0.0.256',
    '0x7f',
  ],
);

/** Text of one line. */
export const line = (maxChars: number): Rule =>
  each(long(maxChars), '💥'.repeat(maxChars / 2 + 1), 'a\0b', 'a\nb', '\x1b[31m', '\x7f', '\x85');
/** Text of any number of lines. */
export const prose = (maxBytes: number): Rule =>
  each(long(maxBytes), 'é'.repeat(maxBytes / 2 + 1), 'a\0b', '\x1b[31m', '\x7f', '\x85');

export const list = (max: number, one: Rule, make = (i: number): unknown => `a${i}`): Rule =>
  all(
    each(times(max + 1, make)),
    part('[0]', one, (value) => [value]),
  );
export const labels = (maxPairs: number, value: Rule): Rule =>
  all(
    each(Object.fromEntries(times(maxPairs + 1, (i) => [`k${i}`, 'v']))),
    part('[""]', each('v'), (v) => ({ '': v })),
    part(`["${'a'.repeat(32)}"] key`, each('v'), (v) => ({ [long(128)]: v })),
    part('["a\\u0000b"] key', each('v'), (v) => ({ 'a\0b': v })),
    part('["k"]', value, (v) => ({ k: v })),
  );

export const range = (min: number, max: number): Rule => each(min - 1, max + 1, INT32.min, INT32.max);
export const notNegative = each(-1n, INT64.min);
export const enumeration = each(-1, 99, INT32.min, INT32.max);
export const minRevision = all(notNegative, rows(failed(INT64.max, status.UNAVAILABLE, 'REVISION_NOT_REACHED')));

const base64url = (json: string): string => Buffer.from(json).toString('base64url');
const NO_TOKENS = ['a', '..', 'a\0', 'é', long(1_024), base64url('[]'), base64url('{"__proto__":1}')];

export const pageSize = each(-1, INT32.min);
export const pageToken = each(...NO_TOKENS, base64url('["p"]'), base64url('["p","another list","a"]'));
export const resumeToken = each(
  ...NO_TOKENS,
  ...['["w"]', '["w","epoch",1,"s"]', '["w","epoch","-1","s"]', '["w","epoch","zzzzzzzzzzzz","s"]'].map(base64url),
);
