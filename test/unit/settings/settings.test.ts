import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BadSettings, readSettings, SETTINGS, settingsHelp } from '../../../src/settings/settings.js';

test('flags win over variables, and variables over defaults', () => {
  const env = { ROLLCALL_GRPC_PORT: '7500', ROLLCALL_DATA_DIR: '/tmp/x' };
  const { settings } = readSettings(['--grpc-port', '0'], env);
  assert.deepEqual(settings, {
    host: '127.0.0.1',
    grpcPort: 0,
    store: { kind: 'embedded', dataDir: '/tmp/x' },
    advertise: undefined,
    node: undefined,
    protectedRemovalMs: 24 * 3_600_000,
    logLevel: 'info',
  });
});

test('everything that is wrong is told at once, with where it came from', () => {
  assert.throws(
    () => readSettings(['--grpc-port', '70000', '--host', '0.0.0.0'], { ROLLCALL_LOG_LEVEL: 'loud' }),
    (error: Error) =>
      error instanceof BadSettings &&
      /--grpc-port/.test(error.message) &&
      /--host.*--insecure/.test(error.message) &&
      /ROLLCALL_LOG_LEVEL/.test(error.message),
  );
});

test('protection holds removals for 1 to 8760 hours', () => {
  const read = (hours: string): number =>
    readSettings(['--protected-removal-hours', hours], {}).settings.protectedRemovalMs;
  assert.deepEqual([read('1'), read('8760')], [3_600_000, 8_760 * 3_600_000]);
  for (const hours of ['0', '8761', '-1', '1.5', 'a', '']) assert.throws(() => read(hours), BadSettings, hours);
});

test('what is advertised has a port that can be reached', () => {
  const read = (advertise: string): string | undefined =>
    readSettings(['--advertise', advertise], {}).settings.advertise;
  for (const good of ['10.0.0.1:7400', '[::1]:1', 'rc-1.example:65535']) assert.equal(read(good), good);
  for (const bad of ['10.0.0.1', 'rc-1:0', 'rc-1:65536', ':7400', 'a b:1'])
    assert.throws(() => read(bad), BadSettings, bad);
});

test('anything but loopback needs --insecure', () => {
  for (const host of ['localhost', '127.0.0.1', '127.9.9.9', '::1'])
    assert.equal(readSettings(['--host', host], {}).settings.host, host);
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.org']) {
    assert.throws(() => readSettings(['--host', host], {}), BadSettings);
    assert.equal(readSettings(['--host', host, '--insecure'], {}).settings.host, host);
  }
});

test('an unknown flag is refused, and an unknown variable only warned about', () => {
  assert.throws(() => readSettings(['--grpcport', '1'], {}), BadSettings);
  const { warnings } = readSettings([], { ROLLCALL_SERVICE_HOST: '10.0.0.1', OTHER: 'x' });
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]!, /ROLLCALL_SERVICE_HOST/);
});

test('a setting that is not there yet says so', () => {
  const later = Object.entries(SETTINGS).filter(([, { notYet }]) => notYet);
  assert.ok(later.length > 0);
  for (const [name] of later) assert.throws(() => readSettings([`--${name}`, '1'], {}), /not (there|served|read) yet/);
});

test('the help names every setting', () => {
  const help = settingsHelp();
  for (const name of Object.keys(SETTINGS)) assert.ok(help.includes(`--${name}`), name);
});
