import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BadAccessFile, readAccessFile } from '../../../src/access/access-file.js';
import { hashOf, isToken, newToken } from '../../../src/access/tokens.js';

const HASH = hashOf(newToken());

/** The mistakes of a text, each with its place. */
function mistakesIn(text: string): string[] {
  try {
    readAccessFile('a.yaml', text);
    return [];
  } catch (error) {
    assert.ok(error instanceof BadAccessFile, String(error));
    return error.message.split('\n');
  }
}

test('a full access file is read with all its parts', () => {
  const file = readAccessFile(
    'a.yaml',
    `
roles: { auditor: [operate, "config:read"] }
tokens:
  - { name: pay, hash: "${HASH}", expires: 2027-06-30, grants: [{ role: service, namespaces: [shop], services: [pay] }] }
jwt:
  - { alias: ci, issuer: "https://ci", audience: rollcall, keys-url: "https://ci/keys", ca: ca.crt,
      grants: [{ if: { sub: "x:{ns}" }, role: auditor, namespaces: ["{ns}"] }] }
  - { alias: k8s, issuer: "https://k", audience: rollcall, keys-file: keys.json, grants: [{ role: reader, namespaces: ["*"] }] }
certificates:
  - { match: "spiffe://x/{svc}", grants: [{ role: service, namespaces: [shop], services: ["{svc}"] }] }
anonymous:
  - { role: discoverer, namespaces: [open], services: ["a*"] }
`,
  );
  const [token] = file.tokens;
  assert.deepEqual([token?.name, token?.hash], ['pay', HASH]);
  assert.equal(new Date(token!.expiresMs!).toISOString(), '2027-07-01T00:00:00.000Z', 'the day counts to its end');
  assert.deepEqual(
    file.issuers.map(({ keys }) => keys),
    [{ url: 'https://ci/keys', ca: 'ca.crt' }, { file: 'keys.json' }],
  );
  assert.deepEqual(file.issuers[0]!.grants[0]!.role.parts, [{ actions: ['operate', 'config:read'], reach: 'NAMED' }]);
  assert.equal(file.certificates[0]!.match, 'spiffe://x/{svc}');
  assert.deepEqual(file.anonymous[0]!.services, ['a*']);
});

test('A4: every mistake of an access file is named with its place', () => {
  const grant = 'grants: [{ role: reader, namespaces: ["*"] }]';
  for (const [text, ...expected] of [
    ['', 'a.yaml: is empty'],
    ['# only a comment\n', 'a.yaml: is empty'],
    ['tokens: [', /^a\.yaml:1:\d+: /],
    ['a: 1\n---\nb: 2\n', /a second document/],
    ['- 1', 'a.yaml:1:1: must be a map with tokens, jwt, certificates, anonymous or roles'],
    ['token: []', 'a.yaml:1:1: token is not known here; did you mean tokens?'],
    ['tokens: []\ntokens: []', /duplicated mapping key/],
    [`tokens:\n  - { name: a, ${grant} }`, /^a\.yaml:2:\d+: tokens\.0\.hash is required/],
    [
      `tokens: [{ name: a, hash: "sha256:x", ${grant} }]`,
      /tokens\.0\.hash must be the hash that "rollcall token new" prints/,
    ],
    [`tokens: [{ name: "a b", hash: "${HASH}", ${grant} }]`, /tokens\.0\.name must be 1 to 64 ASCII letters/],
    [`tokens: [{ name: a, hash: "${HASH}", expires: tomorrow, ${grant} }]`, /tokens\.0\.expires must be a day/],
    [
      `tokens: [{ name: a, hash: "${HASH}", expires: 2027-02-29, ${grant} }]`,
      /tokens\.0\.expires must be a day that exists/,
    ],
    [`tokens: [{ name: a, hash: "${HASH}", grants: [] }]`, /tokens\.0\.grants must be a list of grants/],
    [
      `tokens: [{ name: a, hash: "${HASH}", ${grant} }, { name: b, hash: "${HASH}", ${grant} }]`,
      /tokens\.1\.hash is the hash of another token, too/,
    ],
    [
      'anonymous: [{ role: reder, namespaces: ["*"] }]',
      'a.yaml:1:21: anonymous.0.role is not a role; did you mean reader?',
    ],
    ['anonymous: [{ role: reader }]', /anonymous\.0\.namespaces is required/],
    ['anonymous: [{ role: reader, namespaces: [] }]', /anonymous\.0\.namespaces must be a list of namespaces/],
    [
      'anonymous: [{ role: reader, namespaces: ["a*b"] }]',
      'a.yaml:1:42: anonymous.0.namespaces.0 must have a "*" only at its end',
    ],
    [
      'anonymous: [{ role: reader, namespaces: [a], configs: [app.yaml] }]',
      /configs\.0 must be "\*", or a group, "\/" and a key/,
    ],
    ['anonymous: [{ role: reader, namespaces: ["{ns}"] }]', /namespaces\.0 uses \{ns\}, which nothing captures/],
    ['anonymous: [{ role: service, namespaces: [a] }]', /anonymous\.0 must have "services"/],
    ['anonymous: [{ if: { a: b }, role: reader, namespaces: [a] }]', /anonymous\.0\.if is not known here/],
    [`certificates: [{ match: "{a}{b}", ${grant} }]`, /certificates\.0\.match must have, after each capture/],
    [
      `certificates: [{ match: "a.example", ${grant} }, { match: "a.example", ${grant} }]`,
      /match is used by another entry/,
    ],
    [`roles: { reader: [read] }`, /roles\.reader is a role of Rollcall already/],
    [`roles: { mine: [fly] }`, /roles\.mine\.0 must be read, register/],
    [`jwt: [{ alias: a, issuer: i, audience: x, ${grant} }]`, /jwt\.0 must have either keys-url or keys-file/],
    [
      `jwt: [{ alias: a, issuer: i, audience: x, keys-url: "http://idp/k", ${grant} }]`,
      /keys-url must be an https URL/,
    ],
    [
      `jwt: [{ alias: a, issuer: i, audience: x, keys-url: "https://u:p@idp/k", ${grant} }]`,
      /keys-url must be an https URL/,
    ],
    [
      `jwt: [{ alias: a, issuer: i, audience: x, keys-file: k, ca: c, ${grant} }]`,
      /ca is only for a keys-url with https/,
    ],
    [`jwt: [{ alias: a, issuer: i, keys-file: k, ${grant} }]`, /jwt\.0\.audience is required/],
    ['tokens: 1\njwt: 2', 'a.yaml:1:9: tokens must be a list of tokens', 'a.yaml:2:6: jwt must be a list of issuers'],
  ] as const) {
    const mistakes = mistakesIn(text);
    assert.equal(mistakes.length, expected.length, `${text}: ${mistakes.join('; ')}`);
    expected.forEach((one, i) =>
      typeof one === 'string' ? assert.equal(mistakes[i], one) : assert.match(mistakes[i]!, one, text),
    );
  }
});

test('A4: a token has 256 random bits, and its hash does not contain it', () => {
  const tokens = new Set(Array.from({ length: 1_000 }, newToken));
  assert.equal(tokens.size, 1_000);
  for (const token of tokens) {
    assert.match(token, /^rc_[A-Za-z0-9_-]{43}$/);
    assert.equal(isToken(token) && !isToken(token.slice(1)) && !isToken(`${token}A`), true);
    assert.ok(!hashOf(token).includes(token.slice(3)));
  }
});
