import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Catalog } from '../../../src/catalog/catalog.js';
import { Commits } from '../../../src/catalog/commits.js';
import { EpochRecord } from '../../../src/gen/rollcall/storage/v1/records.js';
import type { RollcallError } from '../../../src/model/errors.js';
import { EPOCH_KEY } from '../../../src/model/store-facts.js';
import { putTxn, WATCHED_RANGE, type Write } from '../../../src/store/store.js';
import { SimProcess, tallyingTelemetry } from '../../sim/process.js';
import { World } from '../../sim/world.js';
import { MemoryStore } from '../../support/memory-store.js';

const KEY = 'w/other/a';

const put = (key: string, text: string): Write => ({ kind: 'put', key, value: Buffer.from(text) });
const epochOf = (name: string): Write => ({
  kind: 'put',
  key: EPOCH_KEY,
  value: EpochRecord.encode({ writeId: 'w', epoch: name, ended: [] }).finish(),
});

/** A store, and the commits of a server that knows of it what it held when `look` was called last. */
class Scene {
  readonly #world = new World();
  readonly memory = new MemoryStore(new SimProcess(this.#world).clock);
  readonly #process = new SimProcess(this.#world);
  readonly #catalog = new Catalog({ clock: this.#process.clock, telemetry: tallyingTelemetry(new Map()) });
  readonly #commits = new Commits({
    store: this.#process.storeView(this.memory),
    catalog: this.#catalog,
    clock: this.#process.clock,
    random: { id: () => 'id', fraction: () => 0 },
    node: 'n1',
    telemetry: tallyingTelemetry(new Map()),
  });

  async look(): Promise<void> {
    const { revision, pages } = this.memory.serveList(WATCHED_RANGE);
    const entries = [];
    for await (const page of pages) entries.push(...page);
    this.#catalog.reset(false);
    this.#catalog.replace(revision, entries);
  }

  /** What others write. */
  async write(...writes: Write[]): Promise<bigint> {
    return (await this.memory.commit({ writeId: 'w', compares: [], writes })).revision;
  }

  text(key: string): string | undefined {
    const { entry } = this.memory.serveGet(key);
    return entry && Buffer.from(entry.value).toString();
  }

  /** The outcome of a put that compares a revision: "written", "refused" with the text that was found, or the reason. */
  putIf(revision: bigint, text: string): Promise<string> {
    return this.#outcome(
      this.#commits.commit(putTxn('w', KEY, Buffer.from(text), revision)).then((result) => {
        if (result.ok) return 'written';
        assert.equal(result.found.length, 1);
        return `refused: ${Buffer.from(result.found[0]?.value ?? '').toString()}`;
      }),
    );
  }

  /** The same by way of commitEach. */
  putEachIf(revision: bigint, text: string): Promise<string> {
    return this.#outcome(
      this.#commits
        .commitEach([], [putTxn('w', KEY, Buffer.from(text), revision)])
        .then(([result]) => (result!.ok ? 'written' : 'refused')),
    );
  }

  async #outcome(promise: Promise<string>): Promise<string> {
    const outcome = promise.catch((error: RollcallError) => error.reason);
    await this.#world.run(this.#world.now + 1_000);
    return outcome;
  }
}

/**
 * A server that has not noticed that the store was restored. In the new history a record has another content and, by
 * chance, the revision that the server knows. Returns that revision.
 */
async function beforeItNotices(): Promise<{ scene: Scene; known: bigint }> {
  const scene = new Scene();
  await scene.write(epochOf('of the beginning'), put(KEY, 'one'));
  const backup = scene.memory.backup();
  await scene.write(put('w/other/b', 'more'));
  const known = await scene.write(put(KEY, 'two'));
  await scene.look();
  scene.memory.restore(backup);
  await scene.write(epochOf('of the restore'));
  assert.equal(await scene.write(put(KEY, 'three')), known, 'by chance');
  return { scene, known };
}

test('S14: a server that has not noticed a restore writes nothing into the new history', async () => {
  const { scene, known } = await beforeItNotices();
  assert.equal(await scene.putIf(known, 'four'), 'STORE_REPLACED');
  assert.equal(await scene.putEachIf(known, 'four'), 'refused');
  assert.equal(await scene.putEachIf(known, 'four'), 'refused');
  assert.equal(scene.text(KEY), 'three');
  await scene.look();
  assert.equal(await scene.putIf(known, 'four'), 'written');
});

test('an epoch that was deleted and written back is no other history', async () => {
  const scene = new Scene();
  await scene.write(epochOf('of the beginning'), put(KEY, 'one'));
  await scene.look();
  await scene.write(epochOf('of the beginning'));
  assert.equal(await scene.putIf(1n, 'two'), 'written');
  await scene.write({ kind: 'delete', key: EPOCH_KEY });
  assert.equal(await scene.putEachIf(3n, 'three'), 'refused');
  assert.equal(await scene.putEachIf(3n, 'three'), 'written', 'at the next try');
  assert.equal(await scene.putIf(3n, 'four'), 'refused: three');
  await scene.write({ kind: 'put', key: EPOCH_KEY, value: new Uint8Array([0xff]) });
  assert.equal(await scene.putEachIf(5n, 'five'), 'refused');
  assert.equal(await scene.putEachIf(5n, 'five'), 'written');
  await scene.look();
  assert.equal(await scene.putIf(7n, 'six'), 'written');
});

test('without an epoch that can be read, writes go on', async () => {
  const scene = new Scene();
  await scene.write(put(KEY, 'one'));
  await scene.look();
  assert.equal(await scene.putIf(1n, 'two'), 'written');
  assert.equal(await scene.putEachIf(2n, 'three'), 'written');
  assert.equal(await scene.putIf(2n, 'four'), 'refused: three');
});
