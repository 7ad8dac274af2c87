import assert from 'node:assert/strict';
import { readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { FolderHeld, FolderLock } from '../../../../src/store/embedded/folder-lock.js';
import { systemClock } from '../../../../src/base/clock.js';
import { temporaryFolder } from '../../../support/server.js';

/** Takes a folder until the test ends. */
async function take(t: TestContext, folder: string): Promise<FolderLock> {
  const lock = await FolderLock.take(folder, systemClock);
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= lock.close());
  t.after(close);
  return { close } as FolderLock;
}

test('one lock holds a folder, under every path that leads to it, until it is closed', async (t) => {
  const folder = temporaryFolder();
  const first = await take(t, folder);
  await assert.rejects(take(t, `${folder}/.`), (error: unknown) => {
    assert.ok(error instanceof FolderHeld);
    assert.match(error.message, new RegExp(`held by process ${process.pid} on `));
    return true;
  });
  await first.close();
  await take(t, folder);
});

test('a holder that shares the folder but not the network keeps it as long as it updates its lock file', async (t) => {
  const folder = temporaryFolder();
  const file = join(folder, 'lock');
  const holder = { pid: 7, host: 'elsewhere', since: '2026-01-01T00:00:00.000Z', namespace: 'another' };
  writeFileSync(file, JSON.stringify(holder));
  await assert.rejects(take(t, folder), /held by process 7 on elsewhere/);
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), holder, 'the holder keeps its file');
  const longAgo = new Date(Date.now() - 60_000);
  utimesSync(file, longAgo, longAgo);
  await take(t, folder);
});
