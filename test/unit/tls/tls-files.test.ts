import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Alarm } from '../../../src/base/telemetry.js';
import { contentsOf, faultOf, type PemFile, type PemFiles } from '../../../src/tls/pem.js';
import { TlsFiles } from '../../../src/tls/tls-files.js';
import { processTelemetry } from '../../../src/telemetry/telemetry.js';
import { systemClock } from '../../../src/base/clock.js';
import { Authority, type Pair } from '../../../src/tls/authority.js';
import { fileWith } from '../settings/files.js';

const DAY_MS = 24 * 3_600_000;
const authority = await Authority.create('tests', 100 * DAY_MS);
const issue = (validMs = 100 * DAY_MS): Promise<Pair> => authority.issue({ name: 'server', validMs });

let number = 0;
/** Files of a pair, and the means to write others in their place. */
class Files {
  readonly #name = `tls-${++number}`;
  files: PemFiles & { readonly cert: PemFile; readonly key: PemFile };

  constructor({ cert, key }: Pair) {
    const written = (name: string, content: string): PemFile => ({
      path: fileWith(`${this.#name}.${name}`, content),
      content: Buffer.from(content),
    });
    this.files = { cert: written('crt', cert), key: written('key', key) };
  }

  write({ cert, key }: Partial<Pair>): void {
    if (cert !== undefined) writeFileSync(this.files.cert.path, cert);
    if (key !== undefined) writeFileSync(this.files.key.path, key);
  }
}

function open(files: PemFiles): { tls: TlsFiles; changes: () => number; alarms: () => readonly string[] } {
  const telemetry = processTelemetry('silent', systemClock);
  const tls = new TlsFiles({ clock: systemClock, telemetry, uses: { server: files } });
  let changes = 0;
  tls.of('server')!.onChange(() => changes++, new AbortController().signal);
  const alarms = (): string[] =>
    telemetry.alarms
      .raised()
      .map(({ name, message }: Pick<Alarm, 'name'> & { message: string }) => `${name}: ${message}`);
  tls.close(); // the tests say when it looks
  return { tls, changes: () => changes, alarms };
}

test('A3: a pair that was renewed is used', async () => {
  const [first, second] = [await issue(), await issue()];
  const files = new Files(first);
  const { tls, changes } = open(files.files);
  await tls.look();
  assert.deepEqual([tls.of('server')!.contents().cert?.toString(), changes()], [first.cert, 0]);
  files.write(second);
  await Promise.all([tls.look(), tls.look()]);
  assert.deepEqual(
    [tls.of('server')!.contents().cert?.toString(), tls.of('server')!.contents().key?.toString(), changes()],
    [second.cert, second.key, 1],
  );
});

test('A3: files that do not fit together, or are broken or gone, are not used: the ones before stay, with an alarm', async () => {
  const [first, second] = [await issue(), await issue()];
  const files = new Files(first);
  const { tls, changes, alarms } = open(files.files);
  const certPath = files.files.cert.path;
  for (const [step, fault] of [
    [(): void => files.write({ cert: second.cert }), /must be the private key of/],
    [(): void => files.write({ cert: 'garbage' }), /must hold a certificate in PEM/],
    [(): void => files.write({ cert: '' }), /must hold a certificate in PEM/],
    [(): void => files.write({ cert: first.cert, key: 'garbage' }), /must hold a private key in PEM/],
    [
      (): void => files.write({ cert: `${first.cert}${second.cert.slice(0, 200)}`, key: first.key }),
      /must hold a cert/,
    ],
    [(): void => rmSync(certPath), /cannot be read \(ENOENT\)/],
  ] as const) {
    step();
    await tls.look();
    assert.equal(alarms().length, 1);
    assert.match(alarms()[0]!, /^TLS_NOT_RELOADED: /);
    assert.match(alarms()[0]!, fault);
    assert.deepEqual([tls.of('server')!.contents().cert?.toString(), changes()], [first.cert, 0]);
  }
  files.write(second);
  await tls.look();
  assert.deepEqual([alarms(), tls.of('server')!.contents().cert?.toString()], [[], second.cert]);
});

test('an alarm comes 14 days before the end of a certificate, and goes when it was renewed', async () => {
  const files = new Files(await issue(13 * DAY_MS));
  const { tls, alarms } = open(files.files);
  assert.match(alarms().join(), /^CERTIFICATE_EXPIRES: the certificate of "server" is valid until 2\d{3}-/);
  const { notAfterMs } = tls.ends()[0]!;
  assert.ok(Math.abs(notAfterMs - Date.now() - 13 * DAY_MS) < 60_000);
  files.write(await issue(15 * DAY_MS));
  await tls.look();
  assert.deepEqual(alarms(), []);
});

test('A2: each list of revoked certificates in a file counts, and one that is broken refuses the file', async () => {
  const other = await Authority.create('other', DAY_MS);
  const crl = (...texts: string[]): PemFile => ({ path: 'crl.pem', content: Buffer.from(texts.join('')) });
  const lists = [await authority.revoke(), await other.revoke()];
  assert.equal(faultOf({ crl: crl(...lists) }), undefined);
  assert.equal(contentsOf({ crl: crl(...lists) }).crl?.length, 2);
  const broken = [crl(), crl('x'), crl(lists[0]!, lists[1]!.slice(0, 80)), crl(lists[0]!.replace(/\nM/, '\n!'))];
  for (const one of broken) assert.equal(faultOf({ crl: one })?.part, 'crl');
});
