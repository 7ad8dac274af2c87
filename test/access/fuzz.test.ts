import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from 'node:http2';
import { join } from 'node:path';
import { test } from 'node:test';
import { accessFile, callerWith, startWithAccess } from '../support/access.js';
import { Dice } from '../support/dice.js';
import { TestIssuer } from '../support/jwts.js';
import { temporaryFolder } from '../support/server.js';

/** Credentials that are tried, and between how many of them each valid one has to get in. */
const TRIED = 100_000;
const ROUND = 1_000;
/** Calls on their way at a time. */
const TOGETHER = 100;

/** The status of OK and UNAUTHENTICATED in gRPC. */
const [OK, UNAUTHENTICATED] = ['0', '16'];

test('A4: of 100,000 credentials mutated from valid ones none gets in, and each valid one gets in all the time', async (t) => {
  const seed = Number(process.env['ROLLCALL_TEST_SEED'] ?? Date.now() % 1_000_000);
  t.diagnostic(`ROLLCALL_TEST_SEED=${seed}`);
  const dice = new Dice(seed);
  const issuer = await TestIssuer.create();
  const stranger = await TestIssuer.create();
  const keys = join(temporaryFolder(), 'keys.json');
  writeFileSync(keys, JSON.stringify(await issuer.jwks()));
  const root = callerWith('root', '{ role: admin, namespaces: ["*"] }');
  const jwt = `jwt:
  - { alias: idp, issuer: "${issuer.issuer}", audience: rollcall, keys-file: "${keys}",
      grants: [{ role: reader, namespaces: ["*"] }] }
`;
  const server = await startWithAccess(t, accessFile([root], jwt), '--trusted-proxies', '127.0.0.1');
  const session = connect(`http://${server.address}`);
  t.after(() => session.destroy());
  const valid = [root.token, await issuer.sign()];
  const secret = await issuer.publicKeyText();
  const counts = new Map<string, number>();
  for (let round = 0; round < TRIED / ROUND; round++) {
    for (const token of valid) assert.equal(await statusOf(session, `Bearer ${token}`), OK, 'a valid credential');
    const mutants = Array.from({ length: ROUND }, () => mutate(dice, dice.pick(valid), secret));
    mutants.push(`Bearer ${await stranger.sign()}`); // the key of another under the same name
    while (mutants.length > 0) {
      const tried = mutants.splice(0, TOGETHER).filter((one) => !isValid(one, valid));
      const statuses = await Promise.all(tried.map((one) => statusOf(session, one)));
      statuses.forEach((status, i) => {
        counts.set(status, (counts.get(status) ?? 0) + 1);
        assert.equal(status, UNAUTHENTICATED, JSON.stringify(tried[i]));
      });
    }
  }
  t.diagnostic(JSON.stringify(Object.fromEntries(counts)));
  assert.ok([...counts.values()].reduce((sum, n) => sum + n) > 0.9 * TRIED);
  for (const token of valid) assert.equal(await statusOf(session, `Bearer ${token}`), OK, 'a valid credential');
});

/** Returns true if a header is a valid credential all the same: the last letter of a signature has bits that mean nothing. */
function isValid(header: string, valid: readonly string[]): boolean {
  const [, tried] = /^Bearer (\S+)$/.exec(header) ?? [];
  if (tried === undefined) return false;
  return valid.some((token) => token === tried || (token.includes('.') && bytesOf(token) === bytesOf(tried)));
}

const bytesOf = (jwt: string): string =>
  jwt
    .split('.')
    .map((part) => Buffer.from(part, 'base64url').toString('hex'))
    .join('.');

let calls = 0;

/** Calls a method that needs a right, each time from another address: signatures of one address are bounded. */
function statusOf(session: ClientHttp2Session, authorization: string): Promise<string> {
  const headers: OutgoingHttpHeaders = {
    ':method': 'POST',
    ':path': '/rollcall.v1.RegistryService/ListNamespaces',
    'content-type': 'application/grpc',
    te: 'trailers',
    authorization,
    'x-forwarded-for': `10.${(calls >> 16) & 255}.${(calls >> 8) & 255}.${calls++ & 255}`,
  };
  return new Promise((resolve, reject) => {
    const stream = session.request(headers);
    let status = '';
    const take = (given: OutgoingHttpHeaders): void => {
      const found = given['grpc-status'];
      if (found !== undefined) status = String(found);
    };
    stream.on('response', take);
    stream.on('trailers', take);
    stream.on('error', reject);
    stream.on('close', () => resolve(status));
    stream.resume().end(Buffer.alloc(5));
  });
}

const below = (dice: Dice, end: number): number => Math.floor(dice.fraction() * end);

const SWAPPED = ['none', 'None', 'HS256', 'HS512', 'RS256', 'PS256', 'ES384', 'EdDSA', '', 'ES256 '];

/** Changes a valid credential in one of the ways of an attacker. */
function mutate(dice: Dice, token: string, secret: string): string {
  const parts = token.split('.');
  const bearer = `Bearer ${token}`;
  const at = below(dice, token.length);
  switch (below(dice, parts.length === 3 ? 10 : 6)) {
    case 0: // one bit
      return `Bearer ${token.slice(0, at)}${flipped(dice, token[at]!)}${token.slice(at + 1)}`;
    case 1: // a cut, at either end or in the middle
      return `Bearer ${dice.pick([token.slice(0, at), token.slice(at + 1), token.slice(0, at) + token.slice(at + 2)])}`;
    case 2: // twice
      return dice.pick([`${bearer}, ${bearer}`, `${bearer} ${token}`, `${bearer},${token}`, `Bearer ${token}${token}`]);
    case 3: // another scheme, or none
      return dice.pick([
        token,
        `Basic ${token}`,
        `Token ${token}`,
        `Bearer${token}`,
        `Bearer:${token}`,
        `DPoP ${token}`,
      ]);
    case 4: // other letters
      return `Bearer ${dice.pick([swapCase(token, at), `${token}=`, `"${token}"`, `%20${token}`, `${token}%00`])}`;
    case 5: // a piece of something else
      return `Bearer ${token.slice(0, at)}${randomText(dice, token.length - at)}`;
    case 6: // another algorithm, signed or not
      return `Bearer ${withHeader(token, { alg: dice.pick(SWAPPED) })}`;
    case 7: // the header says where the key is
      return `Bearer ${withHeader(token, dice.pick([{ jwk: JSON.parse(secret) as object }, { jku: 'http://127.0.0.1:1/keys' }, { kid: '../k1' }, { kid: '' }, { crit: ['exp'] }]))}`;
    case 8: // other claims under the same signature
      return `Bearer ${parts[0]}.${base64({ ...claimsOf(token), sub: 'shop:root', exp: 9e9 })}.${parts[2]}`;
    default: // no signature
      return `Bearer ${dice.pick([`${parts[0]}.${parts[1]}.`, `${parts[0]}.${parts[1]}`, `.${parts[1]}.${parts[2]}`, `${token}.${parts[2]}`])}`;
  }
}

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const decoded = (part: string): object => JSON.parse(Buffer.from(part, 'base64url').toString()) as object;
const claimsOf = (token: string): object => decoded(token.split('.')[1]!);

function withHeader(token: string, fields: object): string {
  const [header, claims, signature] = token.split('.');
  return `${base64({ ...decoded(header!), ...fields })}.${claims}.${signature}`;
}

/** Another character that a header may have. */
function flipped(dice: Dice, letter: string): string {
  const other = String.fromCharCode(letter.charCodeAt(0) ^ (1 << below(dice, 7)));
  return /[!-~]/.test(other) ? other : '!';
}

function swapCase(token: string, at: number): string {
  const letter = token[at]!;
  const other = letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
  return other === letter ? `${token}x` : token.slice(0, at) + other + token.slice(at + 1);
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.';
const randomText = (dice: Dice, length: number): string =>
  Array.from({ length }, () => LETTERS[below(dice, LETTERS.length)]).join('');
