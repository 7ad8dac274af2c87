import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSettings } from '../../../src/settings/settings.js';
import { errorsOf, FILES } from './files.js';

const etcd = (...args: string[]): readonly string[] =>
  errorsOf(['--store', 'etcd', '--etcd-endpoints', 'https://a:1', ...args]);

test('a host beyond loopback needs access control and TLS, or --insecure, and then is warned about', () => {
  for (const host of ['localhost', '127.0.0.1', '127.9.9.9', '::1']) {
    const { settings, warnings } = readSettings(['--host', host], {});
    assert.deepEqual([settings.host, warnings], [host, []]);
  }
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.org']) {
    assert.match(
      errorsOf(['--host', host]).join(),
      /^--host: .* give --access and --tls-cert, or allow it with --insecure$/,
    );
    assert.match(errorsOf([], { ROLLCALL_HOST: host, ROLLCALL_INSECURE: 'false' }).join(), /^ROLLCALL_HOST: /);
    const { settings, warnings } = readSettings(['--insecure'], { ROLLCALL_HOST: host });
    assert.equal(settings.host, host);
    assert.match(warnings.join(), /^ROLLCALL_HOST: the server listens on .* without TLS and access control/);
    assert.deepEqual(errorsOf(['--host', host], { ROLLCALL_INSECURE: 'true' }), []);
    const tls = ['--tls-cert', FILES.cert, '--tls-key', FILES.key];
    const safe = readSettings(['--host', host, '--access', 'access.yaml', ...tls], {});
    assert.deepEqual([safe.settings.insecure, safe.warnings], [undefined, []]);
    assert.match(errorsOf(['--host', host, '--access', 'access.yaml']).join(), /^--host: /);
    assert.match(errorsOf(['--host', host, ...tls]).join(), /^--host: /);
    const clear = readSettings(['--host', host, '--access', 'access.yaml', '--insecure'], {});
    assert.match(clear.warnings.join(), /without TLS; tokens and contents can be read on the way$/);
    assert.match(readSettings(['--host', host, ...tls, '--insecure'], {}).warnings.join(), /without access control/);
  }
});

test('settings of etcd are refused for the embedded store, unless they equal the default', () => {
  const env = { ROLLCALL_ETCD_ENDPOINTS: 'http://a:1' };
  assert.deepEqual(errorsOf(['--etcd-prefix', 'x/', '--etcd-user', 'root'], env), [
    'ROLLCALL_ETCD_ENDPOINTS: is only for --store etcd',
    '--etcd-prefix: is only for --store etcd',
    '--etcd-user: is only for --store etcd',
  ]);
  assert.deepEqual(errorsOf(['--etcd-prefix', 'rollcall/'], { ROLLCALL_ETCD_USER: '' }), []);
});

test('the embedded store needs a folder, and etcd ignores it', () => {
  assert.deepEqual(errorsOf(['--data-dir', '']), ['--data-dir: must not be empty']);
  assert.deepEqual(etcd('--data-dir', ''), []);
});

test('etcd needs endpoints', () => {
  assert.deepEqual(errorsOf(['--store', 'etcd']), ['--etcd-endpoints: is required for --store etcd']);
});

test('certificates for etcd need https', () => {
  const plain = ['--store', 'etcd', '--etcd-endpoints', 'http://a:1'];
  for (const args of [
    ['--etcd-ca', FILES.ca],
    ['--etcd-cert', FILES.cert, '--etcd-key', FILES.key],
  ]) {
    assert.deepEqual(errorsOf([...plain, ...args]), ['--etcd-endpoints: must be https, because certificates are set']);
    assert.deepEqual(etcd(...args), []);
  }
});

test('certificate and key need each other, and so do user and password file', () => {
  assert.deepEqual(etcd('--etcd-cert', FILES.cert), ['--etcd-cert: needs --etcd-key']);
  assert.deepEqual(etcd('--etcd-key', FILES.key), ['--etcd-key: needs --etcd-cert']);
  assert.deepEqual(etcd('--etcd-user', 'root'), ['--etcd-user: needs --etcd-password-file']);
  assert.deepEqual(etcd('--etcd-password-file', FILES.password), ['--etcd-password-file: needs --etcd-user']);
  assert.deepEqual(etcd('--etcd-user', 'root', '--etcd-password-file', FILES.password), []);
});

test('files of TLS are refused that do not fit together, or that lack another', () => {
  const pair = ['--tls-cert', FILES.cert, '--tls-key', FILES.key];
  const cases: readonly (readonly [args: readonly string[], errors: readonly string[]])[] = [
    [pair, []],
    [['--tls-cert', FILES.cert], ['--tls-cert: needs --tls-key']],
    [['--tls-key', FILES.key], ['--tls-key: needs --tls-cert']],
    [['--tls-cert', FILES.cert, '--tls-key', FILES.serverKey], [`--tls-key: must be the private key of ${FILES.cert}`]],
    [['--tls-cert', FILES.garbage, '--tls-key', FILES.key], ['--tls-cert: must hold a certificate in PEM']],
    [
      ['--tls-cert', FILES.cert, '--tls-key', FILES.garbage],
      ['--tls-key: must hold a private key in PEM, without a password'],
    ],
    [['--tls-client-certs', 'required'], ['--tls-client-certs: needs --tls-client-ca']],
    [
      ['--tls-client-ca', FILES.ca],
      [
        '--tls-client-ca: needs --tls-cert',
        '--tls-client-ca: verifies nobody: set --tls-client-certs to optional or required',
      ],
    ],
    [[...pair, '--tls-client-certs', 'optional', '--tls-client-ca', FILES.ca, '--tls-crl', FILES.crl], []],
    [
      [...pair, '--tls-client-certs', 'optional', '--tls-client-ca', FILES.ca, '--tls-crl', FILES.garbage],
      ['--tls-crl: must hold lists of revoked certificates in PEM'],
    ],
    [
      [...pair, '--tls-client-certs', 'optional', '--tls-client-ca', FILES.garbage],
      ['--tls-client-ca: must hold certificates in PEM'],
    ],
    [[...pair, '--peer-ca', FILES.ca], ['--peer-ca: is only for --store etcd']],
  ];
  for (const [args, errors] of cases) assert.deepEqual(errorsOf(args), errors, args.join(' '));
  assert.deepEqual(etcd(...pair, '--peer-ca', FILES.ca, '--peer-name', 'rollcall'), []);
  assert.deepEqual(etcd('--peer-name', 'rollcall'), ['--peer-name: needs --tls-cert']);
  assert.deepEqual(etcd('--etcd-cert', FILES.cert, '--etcd-key', FILES.serverKey), [
    `--etcd-key: must be the private key of ${FILES.cert}`,
  ]);
});

test('a server of a cluster needs a pair that it can show to the others as a client', () => {
  const pair = ['--tls-cert', FILES.serverCert, '--tls-key', FILES.serverKey];
  assert.deepEqual(errorsOf(pair), []);
  assert.match(etcd(...pair).join(), /^--tls-cert: must have the extended key usage clientAuth beside serverAuth/);
});

test('a rule over several settings is skipped if one of them breaks its own rule', () => {
  assert.deepEqual(errorsOf(['--host', '0.0.0.0'], { ROLLCALL_INSECURE: 'yes' }), [
    'ROLLCALL_INSECURE: must be true or false, but is "yes"',
  ]);
  assert.equal(etcd('--etcd-cert', FILES.cert, '--etcd-key', FILES.missing).length, 1);
});

test('the path of a secret file is not in an error: it may be the secret itself', () => {
  const wrong = ['--etcd-user', 'root', '--etcd-password-file', 'hunter2', '--etcd-key', 'hunter2'];
  for (const errors of [etcd(...wrong), errorsOf(wrong)]) {
    assert.ok(errors.length > 1);
    assert.doesNotMatch(errors.join(), /hunter2/);
  }
  assert.ok(etcd(...wrong).includes('--etcd-key: must be a file that can be read (ENOENT)'));
});
