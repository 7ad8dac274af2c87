import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { BrokenRule } from '../../../src/settings/parse.js';
import { ROWS, type SettingName, type SettingValues } from '../../../src/settings/table.js';
import type { PemFile } from '../../../src/tls/pem.js';
import { FILES } from './files.js';

/** Texts that a setting takes, each with its value, and texts that it refuses. */
interface Examples<T> {
  readonly good: readonly (readonly [text: string, value: T])[];
  readonly bad: readonly string[];
  /** Any text is taken. */
  readonly anyText?: true;
}

const port: Examples<number> = {
  good: [
    ['0', 0],
    ['7400', 7_400],
    ['65535', 65_535],
  ],
  bad: ['', 'x', '-1', '65536', '1.5', '1e3', ' 1', '0x10'],
};
const pem = (path: string): Examples<PemFile> => ({
  good: [[path, { path, content: readFileSync(path) }]],
  bad: [FILES.missing, '.', '\0'],
});

const EXAMPLES: { readonly [Name in SettingName]: Examples<SettingValues[Name]> } = {
  host: { good: ['127.0.0.1', '::', 'example.org'].map((host) => [host, host]), bad: [''] },
  'grpc-port': port,
  'http-port': { ...port, good: [...port.good, ['off', 'off']] },
  'http-hosts': {
    good: [
      ['', []],
      ['a.example, 10.0.0.1,::1', ['a.example', '10.0.0.1', '::1']],
    ],
    bad: ['a b', 'http://a', 'a/b', 'ä'],
  },
  'http-cors-origins': {
    good: [
      ['', []],
      ['https://a.example,http://[::1]:8080', ['https://a.example', 'http://[::1]:8080']],
    ],
    bad: ['*', 'a.example', 'https://a/', 'https://A', 'ftp://a', 'https://a:1:2'],
  },
  'trusted-proxies': {
    good: [
      ['', []],
      ['10.0.0.1', [{ address: '10.0.0.1', bits: 32 }]],
      [
        '10.0.0.0/8, fd00::/64,::1',
        [
          { address: '10.0.0.0', bits: 8 },
          { address: 'fd00::', bits: 64 },
          { address: '::1', bits: 128 },
        ],
      ],
    ],
    bad: ['a.example', '10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/8/8', '10.0.0.0/-1', '300.1.1.1'],
  },
  store: {
    good: [
      ['embedded', 'embedded'],
      ['etcd', 'etcd'],
    ],
    bad: ['', 'sqlite', 'ETCD'],
  },
  'etcd-endpoints': {
    good: [
      ['http://10.0.0.1:2379', ['http://10.0.0.1:2379']],
      ['https://a:1, https://[::1]:2,', ['https://a:1', 'https://[::1]:2']],
    ],
    bad: [',', 'a:1', 'http://a', 'http://a:1/x', 'ftp://a:1', 'http://a:1,https://b:2', 'http://a:1,b:2'],
  },
  'etcd-prefix': {
    good: ['rollcall/', '!', 'x'.repeat(128)].map((prefix) => [prefix, prefix]),
    bad: ['', 'a b', 'ä', 'x'.repeat(129)],
  },
  'etcd-ca': pem(FILES.ca),
  'etcd-cert': pem(FILES.cert),
  'etcd-key': pem(FILES.key),
  'etcd-user': { good: [['root', 'root']], bad: [], anyText: true },
  'etcd-password-file': { good: [[FILES.password, 'a secret']], bad: [FILES.missing, '.', '\0'] },
  advertise: {
    good: ['10.0.0.1:7400', '[::1]:1', 'rc-1.example:65535'].map((address) => [address, address]),
    bad: ['10.0.0.1', 'rc-1:0', 'rc-1:65536', ':7400', 'a b:1', '::1:7400'],
  },
  node: { good: ['rc-1', 'ä'.repeat(128)].map((node) => [node, node]), bad: ['x'.repeat(129)] },
  'protection-max-hours': {
    good: [
      ['1', 1],
      ['24', 24],
      ['8760', 8_760],
    ],
    bad: ['', '0', '8761', '-1', '1.5', 'a'],
  },
  'stream-age-seconds': {
    good: [
      ['10', 10],
      ['1200', 1_200],
      ['86400', 86_400],
    ],
    bad: ['', '0', '9', '86401', '1.5', '20m'],
  },
  checks: {
    good: (['on', 'registered-address', 'off'] as const).map((word) => [word, word] as const),
    bad: ['', 'true', 'On'],
  },
  'check-networks': {
    good: [
      ['10.0.0.0/8', ['10.0.0.0/8']],
      ['10.0.0.0/8, fd00::/8', ['10.0.0.0/8', 'fd00::/8']],
    ],
    bad: ['', '10.0.0.0', '10.0.0.0/33', 'fd00::/129', 'pay/8', '10.0.0.0/8,'],
  },
  'check-ports': {
    good: ['80', '80,443,1024-65535', '1-65535'].map((text) => [text, text]),
    bad: ['', '0', '65536', '443-80', '80,', 'http'],
  },
  'check-ca': pem(FILES.ca),
  'check-open-max': {
    good: [
      ['1', 1],
      ['20000', 20_000],
    ],
    bad: ['', '0', '20001', '-1', '1.5'],
  },
  'data-dir': { good: [['./data', './data']], bad: [], anyText: true },
  settings: { good: [['settings.yaml', 'settings.yaml']], bad: [''] },
  'otlp-endpoint': {
    good: ['http://10.0.0.1:4318', 'https://collector.example/otlp/v1/traces'].map((url) => [url, url]),
    bad: ['10.0.0.1:4318', 'ftp://a:1', 'http://me:secret@a:1', 'http://?', 'somewhere'],
  },
  'trace-share': {
    good: [
      ['0', 0],
      ['0.01', 0.01],
      ['1', 1],
      ['1.0', 1],
    ],
    bad: ['', '1.1', '-0.1', '1e-2', '1 %', '.5', 'x'],
  },
  'log-level': {
    good: [
      ['silent', 'silent'],
      ['debug', 'debug'],
    ],
    bad: ['', 'loud', 'INFO'],
  },
  'tls-cert': pem(FILES.cert),
  'tls-key': pem(FILES.key),
  'tls-client-certs': {
    good: [
      ['none', 'none'],
      ['optional', 'optional'],
      ['required', 'required'],
    ],
    bad: ['', 'NONE', 'true'],
  },
  'tls-client-ca': pem(FILES.ca),
  'tls-crl': pem(FILES.crl),
  'peer-ca': pem(FILES.ca),
  'peer-name': { good: [['rollcall.example', 'rollcall.example']], bad: ['a b', 'a:1', 'https://a'] },
  access: { good: [['access.yaml', 'access.yaml']], bad: [''] },
  'jwt-keys-max-hours': {
    good: [
      ['1', 1],
      ['720', 720],
    ],
    bad: ['', '0', '721', '1.5', 'a'],
  },
  'audit-log': { good: ['stderr', '/var/log/rollcall-audit.log'].map((path) => [path, path]), bad: [''] },
  audit: {
    good: [
      ['writes', 'writes'],
      ['all', 'all'],
    ],
    bad: ['', 'none', 'ALL'],
  },
  'audit-required': {
    good: [
      ['true', true],
      ['false', false],
    ],
    bad: ['', 'yes'],
  },
  insecure: {
    good: [
      ['true', true],
      ['false', false],
    ],
    bad: ['', 'yes', '1', 'TRUE'],
  },
};

for (const [name, { good, bad, anyText }] of Object.entries(EXAMPLES)) {
  test(`--${name} takes good values, and refuses bad ones without repeating them`, () => {
    const { parse } = ROWS[name as SettingName];
    assert.ok(good.length > 0 && (bad.length > 0 || anyText));
    for (const [text, value] of good) assert.deepEqual(parse(text), value);
    for (const text of bad) {
      assert.throws(
        () => parse(text),
        (error) => error instanceof BrokenRule && !(text.length > 3 && error.message.includes(text)),
        JSON.stringify(text),
      );
    }
  });
}

test('the default of a setting obeys the rule of the setting', () => {
  for (const [name, row] of Object.entries(ROWS)) {
    if ('default' in row) assert.doesNotThrow(() => row.parse(row.default), name);
  }
});

test('the files with the private key and the password are secret', () => {
  const secret = Object.entries(ROWS).filter(([, row]) => 'secret' in row);
  assert.deepEqual(
    secret.map(([name]) => name),
    ['etcd-key', 'etcd-password-file', 'tls-key'],
  );
});
