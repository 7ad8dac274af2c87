import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Access } from '../../../src/access/access.js';
import { BadAccessFile } from '../../../src/access/access-file.js';
import type { Credential } from '../../../src/access/identities.js';
import { hashOf, newToken } from '../../../src/access/tokens.js';
import { RollcallError } from '../../../src/model/errors.js';
import { TestIssuer } from '../../support/jwts.js';
import { eventually } from '../../support/server.js';
import { ShiftedClock } from '../../support/shifted-clock.js';

/** An access file in a folder of its own, and Access on it. */
class Stage {
  readonly folder = mkdtempSync(join(tmpdir(), 'rollcall-access-'));
  readonly path = join(this.folder, 'access.yaml');
  readonly clock = new ShiftedClock();
  readonly alarms = new Map<string, string>();
  readonly warnings: string[] = [];
  changes = 0;
  access!: Access;

  static async open(t: TestContext, text: string): Promise<Stage> {
    const stage = new Stage();
    t.after(() => rmSync(stage.folder, { recursive: true }));
    stage.write(text);
    await stage.#open(t);
    return stage;
  }

  async #open(t: TestContext): Promise<void> {
    const note = (_: object, text: string): void => void this.warnings.push(text);
    const log = { debug: () => undefined, info: () => undefined, warn: note, error: note, child: () => log };
    this.access = await Access.open({
      ...{ clock: this.clock, path: this.path, keysKeepMs: () => 24 * 3_600_000 },
      telemetry: {
        log,
        counters: { add: () => undefined },
        alarms: {
          raise: ({ name }, text) => void this.alarms.set(name, text),
          clear: ({ name }) => void this.alarms.delete(name),
        },
      },
    });
    t.after(() => this.access.close());
    this.access.onChange(() => this.changes++, new AbortController().signal);
  }

  /** Replaces the file as a whole. */
  write(text: string): void {
    const next = join(this.folder, 'next');
    writeFileSync(next, text, { mode: 0o600 });
    renameSync(next, this.path);
  }

  /** Two looks: a changed file counts after them. */
  async look(): Promise<void> {
    await this.access.look();
    await this.access.look();
  }

  identify(authorization: string | undefined, others: Partial<Credential> = {}) {
    return this.access.identify({
      authorization,
      isAmbiguous: false,
      certificate: undefined,
      peerAddress: '10.0.0.1',
      ...others,
    });
  }

  /** The name of the caller, or the reason for which it is refused. */
  async who(authorization: string | undefined, others: Partial<Credential> = {}): Promise<string> {
    try {
      const principal = await this.identify(authorization, others);
      principal.rights();
      return principal.name;
    } catch (error) {
      assert.ok(error instanceof RollcallError, String(error));
      for (const [, part] of (authorization ?? '').matchAll(/([\w-]{16,})/g))
        assert.ok(!`${error.message} ${JSON.stringify(error.metadata)}`.includes(part!), 'an error repeats no secret');
      return error.reason;
    }
  }
}

const TOKEN = newToken();
const OTHER = newToken();
const entry = (name: string, token: string, rest = '', role = 'reader'): string =>
  `  - { name: ${name}, hash: "${hashOf(token)}", ${rest} grants: [{ role: ${role}, namespaces: [shop] }] }\n`;

test('A4: a token is known by its hash, and a wrong one is refused and not taken for no token', async (t) => {
  const stage = await Stage.open(
    t,
    `tokens:\n${entry('pay', TOKEN)}anonymous: [{ role: discoverer, namespaces: [open] }]`,
  );
  assert.equal(await stage.who(`Bearer ${TOKEN}`), 'token:pay');
  assert.equal(await stage.who(`bearer  ${TOKEN} `), 'token:pay');
  assert.equal(await stage.who(undefined), 'anonymous');
  assert.ok(!(stage.identify(`Bearer ${TOKEN}`) instanceof Promise), 'a token costs no promise');
  for (const wrong of [
    '',
    'Bearer',
    'Bearer ',
    `Basic ${TOKEN}`,
    TOKEN,
    `Bearer ${TOKEN}, Bearer ${TOKEN}`,
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(0, -1)}`,
    `Bearer ${OTHER}`,
    `Bearer ${hashOf(TOKEN)}`,
    `Bearer ${TOKEN.toUpperCase()}`,
    `Bearer ${'x'.repeat(65_536)}`,
    'Bearer a.b.c',
    'Bearer ...',
  ])
    assert.equal(await stage.who(wrong), 'TOKEN_REFUSED', wrong.slice(0, 80));
  assert.equal(await stage.who(`Bearer ${TOKEN}`, { isAmbiguous: true }), 'TOKEN_REFUSED');
});

test('A4: a token ends at its time, and an identity that is known already follows it', async (t) => {
  const soon = new Date(Date.now() + 3_600_000).toISOString();
  const stage = await Stage.open(t, `tokens:\n${entry('pay', TOKEN, `expires: "${soon}",`)}`);
  const principal = await stage.identify(`Bearer ${TOKEN}`);
  assert.equal(principal.expiresMs(), Date.parse(soon));
  assert.equal(principal.rights().service('read', 'shop', 'x'), true);
  stage.clock.shiftMs = 3_600_001;
  assert.throws(() => principal.rights(), { reason: 'TOKEN_EXPIRED' });
  assert.equal(await stage.who(`Bearer ${TOKEN}`), 'TOKEN_EXPIRED');
});

test('A4: a changed file counts after two equal looks, for identities that are known already, too', async (t) => {
  const stage = await Stage.open(t, `tokens:\n${entry('pay', TOKEN)}`);
  const known = await stage.identify(`Bearer ${TOKEN}`);
  const hash = stage.access.hash;
  stage.write(`tokens:\n${entry('pay', TOKEN, '', 'publisher')}${entry('cart', OTHER)}`);
  await stage.access.look();
  assert.equal(known.rights().config('config:write', 'shop', 'g', 'k'), false, 'one look is not enough');
  await stage.access.look();
  assert.equal(known.rights().config('config:write', 'shop', 'g', 'k'), true);
  assert.equal(await stage.who(`Bearer ${OTHER}`), 'token:cart');
  assert.notEqual(stage.access.hash, hash);
  assert.equal(stage.changes, 1);
  stage.write(`tokens:\n${entry('cart', OTHER)}`);
  await stage.look();
  assert.throws(() => known.rights(), { reason: 'TOKEN_REFUSED' });
  assert.equal(await stage.who(`Bearer ${TOKEN}`), 'TOKEN_REFUSED');
  assert.ok(stage.warnings.some((text) => text.includes('gives no caller the action "operate"')));
});

test('A4: a file that is written while it is read does not count', async (t) => {
  const stage = await Stage.open(t, `tokens:\n${entry('pay', TOKEN)}`);
  for (let i = 0; i < 3; i++) {
    stage.write(`tokens:\n${entry('pay', OTHER)}# ${i}`);
    await stage.access.look();
  }
  assert.equal(await stage.who(`Bearer ${TOKEN}`), 'token:pay');
  await stage.access.look();
  assert.equal(await stage.who(`Bearer ${TOKEN}`), 'TOKEN_REFUSED');
});

test('A5: a file that cannot be used changes nothing, raises the alarm, and is fatal only at the start', async (t) => {
  const good = `tokens:\n${entry('pay', TOKEN)}`;
  const stage = await Stage.open(t, good);
  for (const bad of ['', 'tokens: 1', `${good}nonsense: 1\n`, '\0', '- a']) {
    stage.write(bad);
    await stage.look();
    assert.match(stage.alarms.get('ACCESS_NOT_RELOADED')!, /the rules before stay in force$/, bad);
    assert.equal(await stage.who(`Bearer ${TOKEN}`), 'token:pay');
    stage.write(good);
    await stage.look();
    assert.equal(stage.alarms.size, 0, 'the alarm clears');
  }
  rmSync(stage.path);
  await stage.look();
  assert.match(stage.alarms.get('ACCESS_NOT_RELOADED')!, /cannot be read \(ENOENT\)/);
  writeFileSync(stage.path, Buffer.from([0xff, 0xfe]));
  await stage.look();
  assert.match(stage.alarms.get('ACCESS_NOT_RELOADED')!, /is not UTF-8/);
  assert.equal(await stage.who(`Bearer ${TOKEN}`), 'token:pay');
  assert.equal(stage.changes, 0);
  await assert.rejects(Stage.open(t, 'tokens: 1'), BadAccessFile);
});

test('an access file that every user can read is warned about', async (t) => {
  const stage = await Stage.open(t, `tokens:\n${entry('pay', TOKEN)}`);
  assert.ok(!stage.warnings.some((text) => text.includes('every user')));
  chmodSync(stage.path, 0o644);
  stage.write(`tokens:\n${entry('pay', TOKEN)}# again`);
  chmodSync(stage.path, 0o644);
  await stage.look();
  await eventually(() => stage.warnings.some((text) => text.includes('every user')));
});

test('A4: a certificate is known by its one URI or its DNS names, never by its subject', async (t) => {
  const stage = await Stage.open(
    t,
    `certificates:
  - { match: "spiffe://example.org/ns/{ns}/sa/{svc}", grants: [{ role: service, namespaces: ["{ns}"], services: ["{svc}"] }] }
  - { match: "{svc}.pay.example", grants: [{ role: reader, namespaces: [shop] }] }
  - { match: "gate.pay.example", grants: [{ role: operator, namespaces: ["*"] }] }
`,
  );
  const who = (subjectAltName: string | undefined): Promise<string> =>
    stage.who(undefined, { certificate: { subjectAltName } });
  const pay = 'URI:spiffe://example.org/ns/shop/sa/pay';
  assert.equal(await who(pay), 'certificate:spiffe://example.org/ns/shop/sa/pay');
  assert.equal(
    await who(`DNS:other.example, ${pay}, IP Address:10.0.0.1`),
    'certificate:spiffe://example.org/ns/shop/sa/pay',
  );
  assert.equal(await who('DNS:x.example, DNS:Gate.Pay.Example'), 'certificate:gate.pay.example');
  for (const other of [
    undefined,
    '',
    'DNS:other.example',
    `${pay}, URI:spiffe://example.org/ns/shop/sa/cart`,
    'URI:spiffe://example.org/ns/shop/sa/pay/x',
    'DNS:"x, URI:spiffe://example.org/ns/shop/sa/pay"',
    'DNS:spiffe://example.org/ns/shop/sa/pay',
    'email:spiffe://example.org/ns/shop/sa/pay',
    `${pay}"`,
  ])
    assert.equal(await who(other), 'CERTIFICATE_UNKNOWN', other);
  const certificate = { subjectAltName: pay };
  const known = await stage.identify(undefined, { certificate });
  assert.equal(
    known.rights().service('register', 'shop', 'pay') && !known.rights().service('register', 'shop', 'cart'),
    true,
  );
  const gate = await stage.identify(undefined, { certificate: { subjectAltName: 'DNS:gate.pay.example' } });
  assert.equal(gate.rights().everywhere('operate') && gate.rights().config('config:read', 'shop', 'g', 'k'), true);
  assert.equal(
    await stage.who(`Bearer ${TOKEN}`, { certificate }),
    'TOKEN_REFUSED',
    'a certificate saves no wrong token',
  );
  stage.write('certificates: [{ match: "spiffe://other.example/*", grants: [{ role: reader, namespaces: [shop] }] }]');
  await stage.look();
  assert.throws(() => known.rights(), { reason: 'CERTIFICATE_UNKNOWN' });
});

const jwtFile = (keys: string, ...more: string[]): string =>
  `jwt:
  - { alias: ci, issuer: "https://issuer.example", audience: rollcall, ${keys},
      grants: [{ if: { sub: "{ns}:{svc}" }, role: service, namespaces: ["{ns}"], services: ["{svc}"] }] }
${more.join('')}`;

test('A4: a JWT counts with the right signature, issuer, audience and times, and waits only once', async (t) => {
  const issuer = await TestIssuer.create();
  const foreign = await TestIssuer.create();
  const stage = await Stage.open(t, jwtFile('keys-file: KEYS'));
  writeFileSync(join(stage.folder, 'keys.json'), JSON.stringify(await issuer.jwks()));
  stage.write(jwtFile(`keys-file: "${join(stage.folder, 'keys.json')}"`));
  assert.equal(await stage.who(`Bearer ${await issuer.sign()}`), 'KEYS_UNAVAILABLE', 'no keys have been read yet');
  await stage.look();
  const jwt = await issuer.sign();
  await eventually(async () => (await stage.who(`Bearer ${jwt}`)) === 'jwt:ci:shop:pay');
  assert.ok(!(stage.identify(`Bearer ${jwt}`) instanceof Promise), 'a JWT that is known costs no promise');
  const known = await stage.identify(`Bearer ${jwt}`);
  assert.equal(
    known.rights().service('register', 'shop', 'pay') && !known.rights().service('register', 'shop', 'x'),
    true,
  );
  const seconds = Math.floor(Date.now() / 1_000);
  const [head, body, signature] = jwt.split('.') as [string, string, string];
  const json = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const confused = `${json({ alg: 'HS256', kid: 'k1' })}.${body}`;
  const hmac = createHmac('sha256', await issuer.publicKeyText())
    .update(confused)
    .digest('base64url');
  for (const [what, wrong, reason = 'TOKEN_REFUSED'] of [
    ['another signature', `${head}.${body}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`],
    ['no signature', `${json({ alg: 'none' })}.${body}.`],
    ['alg none with a signature', `${json({ alg: 'none' })}.${body}.${signature}`],
    ['a symmetric algorithm with the public key as its secret', `${confused}.${hmac}`],
    [
      'another body',
      `${head}.${json({ iss: issuer.issuer, aud: 'rollcall', sub: 'shop:cart', exp: seconds + 60 })}.${signature}`,
    ],
    ['a key of another', await foreign.sign()],
    ['an unknown key', await foreign.sign({}, { kid: 'k2' })],
    ['a key that the token brings itself', await foreign.sign({}, { jwk: (await foreign.jwks()).keys[0] })],
    [
      'a URL of keys that the token brings itself',
      await foreign.sign({}, { jku: 'https://evil.example/keys', kid: 'k3' }),
    ],
    ['another issuer', await issuer.sign({ iss: 'https://evil.example' })],
    ['another audience', await issuer.sign({ aud: 'other' })],
    ['no audience', await issuer.sign({ aud: undefined })],
    ['no end', await issuer.sign({ exp: undefined })],
    ['no subject', await issuer.sign({ sub: undefined })],
    ['a subject that is no text', await issuer.sign({ sub: 7 })],
    ['a beginning in the future', await issuer.sign({ nbf: seconds + 120 })],
    ['an end in the past', await issuer.sign({ exp: seconds - 60 }), 'TOKEN_EXPIRED'],
    ['an unknown critical header', await issuer.sign({}, { crit: ['x'], x: 1 }).catch(() => 'a.b.c')],
  ] as const)
    assert.equal(await stage.who(`Bearer ${wrong}`), reason, what);
  assert.equal(
    await stage.who(`Bearer ${await issuer.sign({ exp: seconds - 10 })}`),
    'jwt:ci:shop:pay',
    'clocks differ',
  );
  assert.equal(await stage.who(`Bearer ${await issuer.sign({ aud: ['x', 'rollcall'] })}`), 'jwt:ci:shop:pay');
  stage.clock.shiftMs = 3_700_000;
  assert.throws(() => known.rights(), { reason: 'TOKEN_EXPIRED' });
});

/** A server of keys. Returns its URL; `answer` can be replaced. */
async function keyServer(t: TestContext): Promise<{ url: string; body: string; status: number; reads: number }> {
  const state = { url: '', body: '', status: 200, reads: 0 };
  const server = createServer((_, response) => {
    state.reads++;
    response.writeHead(state.status).end(state.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
  return state;
}

test('A5: a renamed token, issuer or certificate is known by its new name, on open connections, too', async (t) => {
  const issuer = await TestIssuer.create();
  const keys = (alias: string): string =>
    jwtFile(`keys-file: "${join(stage.folder, 'keys.json')}"`).replace('alias: ci', `alias: ${alias}`);
  const stage = await Stage.open(t, 'tokens: []');
  writeFileSync(join(stage.folder, 'keys.json'), JSON.stringify(await issuer.jwks()));
  const certificate = { subjectAltName: 'URI:spiffe://x/pay, DNS:pay.example' };
  const names = (dns: boolean): string =>
    `certificates: [{ match: "${dns ? 'pay.example' : 'spiffe://x/pay'}", grants: [{ role: reader, namespaces: [shop] }] }]\n`;
  stage.write(`tokens:\n${entry('old', TOKEN)}${keys('old')}${names(true)}`);
  await stage.look();
  const jwt = `Bearer ${await issuer.sign()}`;
  await eventually(async () => (await stage.who(jwt)) === 'jwt:old:shop:pay');
  assert.equal(await stage.who(`Bearer ${TOKEN}`), 'token:old');
  assert.equal(await stage.who(undefined, { certificate }), 'certificate:pay.example');
  stage.write(`tokens:\n${entry('new', TOKEN)}${keys('new')}${names(false)}`);
  await stage.look();
  assert.equal(await stage.who(`Bearer ${TOKEN}`), 'token:new');
  assert.equal(await stage.who(undefined, { certificate }), 'certificate:spiffe://x/pay');
  await eventually(async () => (await stage.who(jwt)) === 'jwt:new:shop:pay');
});

test('A5: keys that are an empty text are no keys', async (t) => {
  const stage = await Stage.open(t, 'tokens: []');
  writeFileSync(join(stage.folder, 'keys.json'), '');
  stage.write(jwtFile(`keys-file: "${join(stage.folder, 'keys.json')}"`));
  await stage.look();
  await eventually(() => stage.alarms.get('JWKS_STALE')?.includes('is not JSON'));
});

test('A7: signatures that are wrong are verified a bounded number of times for an address, and a known credential always counts', async (t) => {
  const issuer = await TestIssuer.create();
  const foreign = await TestIssuer.create();
  const stage = await Stage.open(t, jwtFile('keys-file: KEYS'));
  writeFileSync(join(stage.folder, 'keys.json'), JSON.stringify(await issuer.jwks()));
  stage.write(jwtFile(`keys-file: "${join(stage.folder, 'keys.json')}"`));
  await stage.look();
  const good = `Bearer ${await issuer.sign()}`;
  await eventually(async () => (await stage.who(good)) === 'jwt:ci:shop:pay');
  const reasons: string[] = [];
  for (let i = 0; i < 40; i++) reasons.push(await stage.who(`Bearer ${await foreign.sign({ jti: `n${i}` })}`));
  const verified = reasons.filter((reason) => reason === 'TOKEN_REFUSED').length;
  assert.ok(verified >= 20 && verified <= 35, String(verified));
  assert.equal(reasons.at(-1), 'RATE_LIMITED');
  assert.equal(await stage.who(good), 'jwt:ci:shop:pay', 'a credential that is known counts on');
  const fresh = `Bearer ${await issuer.sign({ sub: 'shop:new' })}`;
  assert.equal(
    await stage.who(fresh, { peerAddress: '10.0.0.2' }),
    'jwt:ci:shop:new',
    'another address is not concerned',
  );
  stage.clock.shiftMs += 2_500;
  assert.equal(await stage.who(`Bearer ${await issuer.sign({ sub: 'shop:two' })}`), 'jwt:ci:shop:two');
});

test('A5: an issuer that is away refuses no caller whose key is known, and a key that is withdrawn does', async (t) => {
  const issuer = await TestIssuer.create();
  const next = await TestIssuer.create(issuer.issuer, 'k2', 'RS256');
  const keys = await keyServer(t);
  keys.body = JSON.stringify(await issuer.jwks());
  const stage = await Stage.open(t, jwtFile(`keys-url: "${keys.url}"`));
  const jwt = await issuer.sign();
  await eventually(async () => (await stage.who(`Bearer ${jwt}`)) === 'jwt:ci:shop:pay');
  keys.status = 500;
  const later = await next.sign();
  stage.clock.shiftMs = 25 * 60_000;
  assert.equal(await stage.who(`Bearer ${later}`), 'TOKEN_REFUSED', 'the new key cannot be read');
  assert.match(stage.alarms.get('JWKS_STALE')!, /answers with status 500/);
  assert.equal(
    await stage.who(`Bearer ${await issuer.sign({ sub: 'shop:two' })}`),
    'jwt:ci:shop:two',
    'the known key counts on',
  );
  keys.status = 200;
  keys.body = JSON.stringify(await next.jwks(issuer));
  const reads = keys.reads;
  for (let i = 0; i < 20; i++) await stage.who(`Bearer ${await next.sign({}, { kid: `flood-${i}` })}`);
  assert.equal(keys.reads, reads, 'unknown keys are looked for at most every 30 s');
  stage.clock.shiftMs += 31_000;
  assert.equal(await stage.who(`Bearer ${later}`), 'jwt:ci:shop:pay');
  assert.equal(stage.alarms.size, 0);
  const known = await stage.identify(`Bearer ${jwt}`);
  known.rights();
  keys.body = JSON.stringify(await next.jwks());
  stage.clock.shiftMs += 31_000;
  await stage.who(`Bearer ${await next.sign({}, { kid: 'look-again' })}`);
  assert.throws(() => known.rights(), { reason: 'TOKEN_REFUSED' }, 'its key was withdrawn');
  assert.equal(await stage.who(`Bearer ${later}`), 'jwt:ci:shop:pay');
  keys.status = 500;
  stage.clock.shiftMs += 25 * 3_600_000;
  const fresh = await next.sign({ exp: Math.floor(stage.clock.wall() / 1_000) + 60, sub: 'shop:three' });
  assert.equal(await stage.who(`Bearer ${fresh}`), 'KEYS_UNAVAILABLE', 'keys do not count for ever');
});
