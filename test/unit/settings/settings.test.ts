import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { DEFAULT_PORTS } from '../../../src/model/probe-rule.js';
import {
  BadSettings,
  readSettings,
  type Settings,
  SETTINGS,
  settingsHelp,
  type StoreSettings,
} from '../../../src/settings/settings.js';
import type { PemFile } from '../../../src/tls/pem.js';
import { errorsOf, FILES } from './files.js';

test('without flags and variables every setting has its default', () => {
  const { settings, warnings } = readSettings([], {});
  assert.deepEqual(settings, {
    host: '127.0.0.1',
    grpcPort: 7400,
    httpPort: 7401,
    httpHosts: [],
    httpCorsOrigins: [],
    trustedProxies: [],
    store: { kind: 'embedded', dataDir: './data' },
    tls: undefined,
    access: undefined,
    jwtKeysMaxMs: 24 * 3_600_000,
    audit: { log: undefined, calls: 'writes', required: false },
    insecure: undefined,
    advertise: undefined,
    node: undefined,
    protectionMaxMs: 24 * 3_600_000,
    streamAgeMs: 1_200_000,
    traces: undefined,
    checks: {
      ...{ loopback: true, onlyRegistrants: false, networks: undefined, ca: undefined, openMax: 2_000 },
      ports: DEFAULT_PORTS,
    },
    logLevel: 'info',
  });
  assert.deepEqual(warnings, []);
});

test('flags win over variables, and variables over defaults', () => {
  const env = { ROLLCALL_GRPC_PORT: '7500', ROLLCALL_DATA_DIR: '/tmp/x' };
  const { settings } = readSettings(['--grpc-port', '0'], env);
  assert.equal(settings.grpcPort, 0);
  assert.deepEqual(settings.store, { kind: 'embedded', dataDir: '/tmp/x' });
  assert.equal(settings.logLevel, 'info');
});

test('every value says where it comes from', () => {
  const { origins } = readSettings(['--grpc-port', '0'], { ROLLCALL_GRPC_PORT: '1', ROLLCALL_NODE: 'a' });
  assert.deepEqual(origins['grpc-port'], { source: 'flag', place: '--grpc-port' });
  assert.deepEqual(origins.node, { source: 'variable', place: 'ROLLCALL_NODE' });
  assert.deepEqual(origins.host, { source: 'default', place: '--host' });
  assert.equal(origins.advertise, undefined);
});

test('an empty flag unsets a variable', () => {
  assert.equal(readSettings(['--node', ''], { ROLLCALL_NODE: 'a' }).settings.node, undefined);
});

test('the endpoint of traces comes from the variables of OpenTelemetry if no other source has it, and gets a path', () => {
  const urlOf = (args: readonly string[], env: Record<string, string>): string | undefined =>
    readSettings(args, env).settings.traces?.url;
  const base = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://a:4318/otlp/' };
  const traces = { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://b:4318/x' };
  assert.equal(urlOf(['--otlp-endpoint', 'http://c:4318'], base), 'http://c:4318/v1/traces');
  assert.equal(urlOf(['--otlp-endpoint', 'http://c:4318/x'], {}), 'http://c:4318/x');
  assert.equal(urlOf([], base), 'http://a:4318/otlp/v1/traces');
  assert.equal(urlOf([], { ...base, ...traces }), 'http://b:4318/x');
  for (const off of [{ OTEL_SDK_DISABLED: 'true' }, { OTEL_TRACES_EXPORTER: 'none' }])
    assert.equal(urlOf([], { ...base, ...off }), undefined);
  assert.equal(urlOf([], { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://b:4318' }), 'http://b:4318/');
  // They may be set for every program of a machine, so one that does not fit ends nothing.
  for (const odd of [
    { OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4317' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://me:s3cret@a:4318' },
    { ...base, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' },
  ]) {
    assert.equal(urlOf([], odd), undefined);
    const { warnings } = readSettings([], odd);
    assert.match(warnings.join(), /^OTEL_EXPORTER_OTLP_ENDPOINT: is /);
    assert.doesNotMatch(warnings.join(), /s3cret/);
  }
});

test('a password in a URL is refused, and not repeated', () => {
  for (const args of [
    ['--otlp-endpoint', 'http://:s3cret@c:4318'],
    ['--otlp-endpoint', 'http://c:4318/v1?key=s3cret'],
    ['--store', 'etcd', '--etcd-endpoints', 'http://root:s3cret@h:2379'],
  ]) {
    const errors = errorsOf(args).join();
    assert.match(errors, /must not have a user/);
    assert.doesNotMatch(errors, /s3cret/);
  }
});

test('all errors are reported at once, each with the flag or the variable', () => {
  const args = ['--grpc-port', '70000', '--host', '0.0.0.0', '--colour', 'red'];
  const env = { ROLLCALL_LOG_LEVEL: 'loud', ROLLCALL_ETCD_USER: 'root', ROLLCALL_PROTECTION_MAX_HOURS: '0' };
  assert.deepEqual(
    errorsOf(args, env).map((line) => line.slice(0, line.indexOf(':'))),
    ['--colour', '--grpc-port', 'ROLLCALL_PROTECTION_MAX_HOURS', 'ROLLCALL_LOG_LEVEL', 'ROLLCALL_ETCD_USER', '--host'],
  );
});

test('an error names the rule and the value', () => {
  assert.deepEqual(errorsOf(['--grpc-port', 'x'], {}), [
    '--grpc-port: must be a whole number from 0 to 65535, but is "x"',
  ]);
});

test('unknown variables with the prefix of the product are only a warning', () => {
  const ofClients = { ROLLCALL_CLI_SERVER: 'localhost:7400', ROLLCALL_SERVERS: 'localhost:7400' };
  const { warnings } = readSettings([], { ROLLCALL_SERVICE_HOST: '10.0.0.1', OTHER: 'x', ...ofClients });
  assert.deepEqual(warnings, ['ROLLCALL_SERVICE_HOST: is not a setting and is ignored']);
});

const pemOf = (path: string): PemFile => ({ path, content: readFileSync(path) });

test('TLS is as the settings say', () => {
  const pair = ['--tls-cert', FILES.cert, '--tls-key', FILES.key];
  const read = (...args: string[]): Settings['tls'] => readSettings([...pair, ...args], {}).settings.tls;
  const own = { cert: pemOf(FILES.cert), key: pemOf(FILES.key) };
  assert.deepEqual(read(), { files: own, clientCertificates: 'none', peerCa: undefined, peerName: undefined });
  const clients = ['--tls-client-certs', 'required', '--tls-client-ca', FILES.ca, '--tls-crl', FILES.crl];
  assert.deepEqual(read(...clients), {
    files: { ...own, ca: pemOf(FILES.ca), crl: pemOf(FILES.crl) },
    clientCertificates: 'required',
    peerCa: pemOf(FILES.ca),
    peerName: undefined,
  });
  const etcd = ['--store', 'etcd', '--etcd-endpoints', 'http://a:1'];
  assert.deepEqual(read(...etcd, '--peer-ca', FILES.ca, '--peer-name', 'rollcall.example'), {
    files: own,
    clientCertificates: 'none',
    peerCa: pemOf(FILES.ca),
    peerName: 'rollcall.example',
  });
});

test('etcd is reached as the settings say', () => {
  const read = (...args: string[]): StoreSettings => readSettings(['--store', 'etcd', ...args], {}).settings.store;
  assert.deepEqual(read('--etcd-endpoints', 'http://a:1, http://b:2,'), {
    kind: 'etcd',
    endpoints: ['http://a:1', 'http://b:2'],
    prefix: 'rollcall/',
    tls: {},
    user: undefined,
  });
  const secure = ['--etcd-endpoints', 'https://a:1', '--etcd-prefix', 'x'];
  const files = ['--etcd-ca', FILES.ca, '--etcd-cert', FILES.cert, '--etcd-key', FILES.key];
  const user = ['--etcd-user', 'root', '--etcd-password-file', FILES.password];
  assert.deepEqual(read(...secure, ...files, ...user), {
    kind: 'etcd',
    endpoints: ['https://a:1'],
    prefix: 'x',
    tls: { ca: pemOf(FILES.ca), cert: pemOf(FILES.cert), key: pemOf(FILES.key) },
    user: { name: 'root', password: 'a secret' },
  });
});

test('the help names every setting with its default, and ends every text with a period', () => {
  const help = settingsHelp();
  for (const [name, row] of Object.entries(SETTINGS)) {
    const [, text] = new RegExp(`^  --${name}(?: \\S+)?\n {8}(.*)$`, 'm').exec(help) ?? [];
    assert.match(text ?? '', /\.$/, name);
    if (row.default) assert.ok(text!.includes(`Default: ${row.default}.`), name);
  }
});

test('bad settings are an error of their own class', () => {
  assert.throws(() => readSettings(['--store', 'sqlite'], {}), BadSettings);
});
