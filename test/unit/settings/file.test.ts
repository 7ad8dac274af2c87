import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changedSettings, listSettings } from '../../../src/settings/listing.js';
import { readSettings } from '../../../src/settings/settings.js';
import { errorsOf, fileWith, FILES } from './files.js';

let files = 0;
/** The path of a settings file with this text. */
const settingsFile = (text: string | Uint8Array): string => fileWith(`rollcall-${files++}.yaml`, text);
/** The errors of a settings file, without its path. */
const faultsOf = (text: string | Uint8Array): string[] => {
  const path = settingsFile(text);
  return errorsOf(['--settings', path]).map((line) => line.replaceAll(`${path}:`, ''));
};

test('a flag wins over a variable, a variable over the file, and the file over the default; each says where it is from', () => {
  const path = settingsFile('grpc-port: 7501\nnode: file\nadvertise: a:1\n');
  const env = { ROLLCALL_SETTINGS: path, ROLLCALL_GRPC_PORT: '7502', ROLLCALL_NODE: 'variable' };
  const { settings, origins } = readSettings(['--grpc-port', '7503'], env);
  assert.equal(settings.grpcPort, 7_503);
  assert.equal(settings.node, 'variable');
  assert.equal(settings.advertise, 'a:1');
  assert.equal(settings.host, '127.0.0.1');
  assert.deepEqual(origins.advertise, { source: 'file', place: `${path}:3:12` });
  assert.deepEqual(origins.settings, { source: 'variable', place: 'ROLLCALL_SETTINGS' });
});

test('texts, numbers, switches, lists and nothing are values', () => {
  const path = settingsFile(`# a comment
store: "etcd"   # quoted
etcd-endpoints:
  - http://10.0.0.1:2379
  - 'http://10.0.0.2:2379'
http-hosts: [a.example, 10.0.0.7]
http-cors-origins:
node: ~
http-port: off
host: 0.0.0.0
insecure: true
stream-age-seconds: 60
`);
  const { settings } = readSettings(['--settings', path], {});
  assert.equal(
    settings.store.kind === 'etcd' && settings.store.endpoints.join(),
    'http://10.0.0.1:2379,http://10.0.0.2:2379',
  );
  assert.deepEqual(settings.httpHosts, ['a.example', '10.0.0.7']);
  assert.deepEqual(settings.httpCorsOrigins, []);
  assert.equal(settings.node, undefined);
  assert.equal(settings.httpPort, undefined);
  assert.equal(settings.host, '0.0.0.0');
  assert.equal(settings.streamAgeMs, 60_000);
});

test('an empty file, one of comments, and one in the form of JSON are settings files', () => {
  for (const text of ['', '# nothing\n', '---\n', 'null\n']) assert.deepEqual(faultsOf(text), [], JSON.stringify(text));
  const path = settingsFile('{"grpc-port": 7501, "log-level": "debug"}');
  assert.equal(readSettings(['--settings', path], {}).settings.grpcPort, 7_501);
});

test('everything that is wrong is reported at once, with line and column, and the nearest name', () => {
  assert.deepEqual(
    faultsOf(
      'grcp-port: 1\nlog-level: loud\n\ncolour: red\nnode: {a: b}\nsettings: other.yaml\n? [a]\n: b\ngrpc-port:\n  - [1]\n',
    ),
    [
      '1:1: "grcp-port" is not a setting; did you mean grpc-port?',
      '4:1: "colour" is not a setting',
      '5:7: node must be a text, a number, a switch or a list of them',
      '6:1: a settings file cannot name another one',
      '7:3: the name of a setting must be a text',
      '10:3: grpc-port must be a text, a number, a switch or a list of them',
      '2:12: must be silent, error, warn, info or debug, but is "loud"',
    ],
  );
});

test('a file that is no map, or not YAML, is reported with the place', () => {
  assert.deepEqual(faultsOf('- a\n'), ['1:1: must be a map of settings, such as "grpc-port: 7400"']);
  assert.deepEqual(faultsOf('hello\n'), ['1:1: must be a map of settings, such as "grpc-port: 7400"']);
  const [syntax] = faultsOf('node: a\nhost: "b\n');
  assert.match(syntax!, /^\d:\d+: unexpected end of the stream/);
  assert.match(faultsOf('node: a\n node: b\n')[0]!, /^2:\d+: /);
  assert.deepEqual(faultsOf('node: a\nnode: b\n'), ['2:1: node is set twice']);
});

test('a second document is refused: settings of the first would be lost', () => {
  assert.deepEqual(faultsOf('log-level: debug\n---\ngrpc-port: 1\n'), ['2:1: a second document begins']);
  assert.deepEqual(faultsOf('log-level: debug\n---\n'), ['2:1: a second document begins']);
  assert.deepEqual(faultsOf('---\nlog-level: debug\n...\n'), []);
});

test('a file that is missing, too large or not UTF-8 is reported with the place of its name', () => {
  assert.deepEqual(errorsOf(['--settings', FILES.missing]), [
    `--settings: must be a file that can be read (ENOENT), but is "${FILES.missing}"`,
  ]);
  const binary = settingsFile(Buffer.from([0xff, 0xfe, 0x00]));
  assert.match(errorsOf([], { ROLLCALL_SETTINGS: binary })[0]!, /^ROLLCALL_SETTINGS: .*it is not UTF-8/);
  const large = settingsFile(`# ${'x'.repeat(300_000)}\n`);
  assert.match(errorsOf(['--settings', large])[0]!, /^--settings: must be a file of at most 262144 bytes/);
});

test('the rules about several settings name the place in the file', () => {
  const path = settingsFile('log-level: info\nhost: 0.0.0.0\n');
  const [error] = errorsOf(['--settings', path]);
  assert.match(error!, new RegExp(`^${path}:2:7: 0.0.0.0 is no address of loopback`));
});

test('misspelled flags and variables get the nearest name, too', () => {
  assert.deepEqual(errorsOf(['--htpp-port', '1']), ['--htpp-port: is not a setting; did you mean --http-port?']);
  const { warnings } = readSettings([], { ROLLCALL_GRCP_PORT: '1' });
  assert.deepEqual(warnings, ['ROLLCALL_GRCP_PORT: is not a setting and is ignored; did you mean ROLLCALL_GRPC_PORT?']);
});

test('the listing of the settings is a settings file with the same values, and shows no secret', () => {
  const args = [
    '--store',
    'etcd',
    '--etcd-endpoints',
    'http://a:1,http://b:2',
    '--etcd-user',
    'me: #1',
    '--node',
    'a b',
  ];
  const read = readSettings(args, { ROLLCALL_ETCD_PASSWORD_FILE: FILES.password });
  const listing = listSettings(read);
  assert.match(listing, /^grpc-port: 7400 {2}# default$/m);
  assert.match(listing, /^store: etcd {2}# --store$/m);
  assert.match(listing, /^# etcd-password-file: \(secret\) {2}# ROLLCALL_ETCD_PASSWORD_FILE$/m);
  assert.match(listing, /^# advertise: {2}# not set$/m);
  assert.ok(!listing.includes(FILES.password));
  for (const node of ['null', '@pay', '~', 'a: b', '-', 'true'])
    assert.equal(
      readSettings(['--settings', settingsFile(listSettings(readSettings([`--node=${node}`], {})))], {}).settings.node,
      node,
    );
  const again = readSettings(['--settings', settingsFile(listing)], { ROLLCALL_ETCD_PASSWORD_FILE: FILES.password });
  assert.deepEqual(again.settings, read.settings);
});

test('of the settings that changed, a running server takes over those that are hot', () => {
  const [before, after] = [readSettings([], {}), readSettings(['--log-level', 'debug', '--grpc-port', '1'], {})];
  assert.deepEqual(changedSettings(before, after, 'hot'), ['log-level']);
  assert.deepEqual(changedSettings(before, after, 'restart'), ['grpc-port']);
});
