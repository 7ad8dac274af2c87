import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backups } from '../../../src/domain/backups.js';
import { type CopyTool, type Store, type StoreCopy, StoreRefused } from '../../../src/store/store.js';
import { tallyingTelemetry } from '../../sim/process.js';

const backupsOf = (copy: () => Promise<StoreCopy | CopyTool>): Backups =>
  new Backups({ store: { copy } as Store, telemetry: tallyingTelemetry(new Map()) });

const whole: StoreCopy = {
  revision: 7n,
  bytes: 0,
  content: (async function* () {})(),
  close: () => Promise.resolve(),
};

test('one backup is made at a time, and the next one once it is closed', async () => {
  const backups = backupsOf(() => Promise.resolve(whole));
  const first = await backups.take();
  assert.equal(first.revision, 7n);
  await assert.rejects(backups.take(), { reason: 'BACKUP_RUNNING' });
  await first.close();
  await (await backups.take()).close();
});

test('a backup that cannot be made says why, and does not hinder the next one', async () => {
  let answer = (): Promise<StoreCopy | CopyTool> => Promise.reject(new StoreRefused('FULL', 'needs 2 bytes'));
  const backups = backupsOf(() => answer());
  await assert.rejects(backups.take(), { reason: 'STORE_FULL', message: 'needs 2 bytes' });
  answer = () => Promise.resolve({ command: 'tool save' });
  await assert.rejects(backups.take(), { reason: 'NOT_EMBEDDED', message: /: tool save$/ });
  answer = () => Promise.reject(new Error('broken'));
  await assert.rejects(backups.take(), { message: 'broken' });
  answer = () => Promise.resolve(whole);
  await (await backups.take()).close();
});
