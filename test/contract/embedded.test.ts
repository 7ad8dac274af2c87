import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { systemClock } from '../../src/base/clock.js';
import { openEmbeddedStore } from '../../src/store/embedded/open.js';
import { processTelemetry } from '../../src/telemetry/telemetry.js';
import { temporaryFolder } from '../support/server.js';
import { storeContract, type Subject } from './store.contract.js';

storeContract('embedded', embedded, { keepsHistory: false });

async function embedded(t: TestContext): Promise<Subject> {
  const folder = temporaryFolder();
  const open = (path = folder): ReturnType<typeof openEmbeddedStore> =>
    openEmbeddedStore({
      folder: path,
      memberPrefix: 'w/m/',
      clock: systemClock,
      telemetry: processTelemetry('silent', systemClock),
      onFatal: (error) => assert.ifError(error),
    });
  const reopen = async (): Promise<void> => {
    await subject.store.close();
    subject.store = await open();
  };
  const subject: Subject = {
    store: await open(),
    reopen,
    // The process keeps the recent revisions in memory, so opening the store again drops them.
    compact: reopen,
    openCopy: async ({ content }) => {
      const path = temporaryFolder();
      await writeFile(join(path, 'data.mdb'), content);
      const copy = await open(path);
      t.after(() => copy.close());
      return copy;
    },
  };
  t.after(() => subject.store.close());
  return subject;
}
