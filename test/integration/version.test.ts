import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { MAIN, temporaryFolder } from '../support/server.js';

/** Writes the native modules of the process to standard error when it exits. */
const PRELOAD = `
  import { writeSync } from 'node:fs';
  process.on('exit', () => {
    process.report.excludeNetwork = true;
    const { sharedObjects } = process.report.getReport();
    writeSync(2, '\\nnative modules: ' + JSON.stringify(sharedObjects.filter((path) => path.endsWith('.node'))));
  });
`;

/** Runs the built program to its end, which comes by itself or by SIGTERM once its log shows `until`. */
async function run(args: readonly string[], until?: string): Promise<{ stdout: string; nativeModules: string[] }> {
  const preload = `data:text/javascript,${encodeURIComponent(PRELOAD)}`;
  const child = spawn(process.execPath, ['--import', preload, MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (bytes: Buffer) => (stdout += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => {
    stderr += bytes.toString();
    if (until && stderr.includes(until)) child.kill('SIGTERM');
  });
  await new Promise((resolve) => child.on('close', resolve));
  const [, found] = /^native modules: (.*)$/m.exec(stderr) ?? [];
  assert.ok(found, stderr);
  return { stdout, nativeModules: JSON.parse(found) as string[] };
}

test('rollcall version and rollcall help load no native module', async () => {
  for (const command of ['version', 'help']) {
    const { stdout, nativeModules } = await run([command]);
    assert.match(stdout, /\d+\.\d+\.\d+/);
    assert.deepEqual(nativeModules, [], command);
  }
});

test('rollcall serve loads the native module of the embedded store, so the check above can fail', async () => {
  const { nativeModules } = await run(['serve', '--grpc-port', '0', '--data-dir', temporaryFolder()], '"listening"');
  assert.ok(
    nativeModules.some((path) => path.includes('lmdb')),
    nativeModules.join(),
  );
});
