import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Database } from '../../../../src/store/embedded/database.js';
import { EmbeddedStore } from '../../../../src/store/embedded/embedded-store.js';
import type { FolderLock } from '../../../../src/store/embedded/folder-lock.js';
import { decodeMeta, META_KEY } from '../../../../src/store/embedded/layout.js';
import { StoreUnavailable, type Txn } from '../../../../src/store/store.js';
import { SimProcess, tallyingTelemetry } from '../../../sim/process.js';
import { World } from '../../../sim/world.js';
import { temporaryFolder } from '../../../support/server.js';

interface Batch {
  readonly puts: Map<string, Buffer>;
  readonly flushed: () => void;
  readonly failed: (error: Error) => void;
}

/** Opens the store on a fake database. Its batches reach the disk when the test lets them. */
function openOnFakeDisk(): { store: EmbeddedStore; batches: Batch[]; outside: string[]; fatal: Error[] } {
  const disk = new Map<string, Buffer>();
  const batches: Batch[] = [];
  const outside: string[] = [];
  let collecting: Map<string, Buffer> | undefined;
  const database = {
    getBinary: (key: string) => disk.get(key),
    batch: (write: () => void) => {
      const puts = (collecting = new Map<string, Buffer>());
      write();
      collecting = undefined;
      return new Promise<boolean>((resolve, reject) => {
        const flushed = (): void => {
          for (const [key, bytes] of puts) disk.set(key, bytes);
          resolve(true);
        };
        batches.push({ puts, flushed, failed: reject });
      });
    },
    put: async (key: string, bytes: Buffer) => {
      if (collecting) collecting.set(key, bytes);
      else outside.push(key);
      return true;
    },
  };
  const fatal: Error[] = [];
  const store = new EmbeddedStore({
    folder: temporaryFolder(),
    database: database as unknown as Database,
    lock: { close: async () => undefined } as unknown as FolderLock,
    memberPrefix: 'w/m/',
    clock: new SimProcess(new World()).clock,
    telemetry: tallyingTelemetry(new Map()),
    onFatal: (error) => fatal.push(error),
  });
  return { store, batches, outside, fatal };
}

const put = (key: string): Txn => ({
  writeId: 'w',
  compares: [],
  writes: [{ kind: 'put', key, value: new Uint8Array([1]) }],
});
const turns = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
};

test('C1 S5: a commit is acknowledged, and visible to reads and watches, only when it is on the disk', async () => {
  const { store, batches } = openOnFakeDisk();
  let answered = false;
  const commit = store.commit(put('w/i/a')).then((result) => ((answered = true), result));
  const watched: bigint[] = [];
  const stop = new AbortController();
  const watching = (async () => {
    for await (const { revision } of store.watch(0n, stop.signal)) watched.push(revision);
  })();
  await turns();
  assert.equal(batches.length, 1);
  assert.deepEqual([answered, watched, (await store.get('w/i/a')).entry], [false, [], undefined]);
  batches[0]!.flushed();
  assert.deepEqual(await commit, { ok: true, revision: 1n });
  await turns();
  assert.deepEqual([watched, (await store.get('w/i/a')).entry?.modRevision], [[1n], 1n]);
  stop.abort();
  await watching;
});

test('S2 S5: the revision and the number of records go to the disk in the same batch as the records', async () => {
  const { store, batches, outside } = openOnFakeDisk();
  const commits = Promise.all([store.commit(put('w/i/a')), store.commit(put('w/i/b'))]);
  await turns();
  assert.equal(batches.length, 1, 'one group, one flush');
  const { puts } = batches[0]!;
  assert.deepEqual([...puts.keys()].sort(), ['kw/i/a', 'kw/i/b', META_KEY].sort());
  assert.deepEqual(decodeMeta(puts.get(META_KEY)), { revision: 2n, records: 2 });
  batches[0]!.flushed();
  await commits;
  assert.deepEqual(outside, []);
});

test('S6: a commit that the disk does not accept fails, and ends the process', async () => {
  const { store, batches, fatal } = openOnFakeDisk();
  const commit = store.commit(put('w/i/a'));
  const refused = assert.rejects(commit, StoreUnavailable);
  await turns();
  batches[0]!.failed(new Error('EIO'));
  await refused;
  assert.match(fatal[0]?.message ?? '', /cannot be written: EIO/);
  assert.deepEqual(await store.get('w/i/a'), { entry: undefined, revision: 0n });
});
