import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Written } from '../../../../src/domain/config/idempotency.js';
import type { Page } from '../../../../src/catalog/paging.js';
import { type Config, ConfigFormat } from '../../../../src/gen/rollcall/v1/config.js';
import type { RollcallError } from '../../../../src/model/errors.js';
import { LIMITS } from '../../../../src/model/limits.js';
import { DAY_MS, HOUR_MS } from '../../../../src/model/time.js';
import { allEntries, prefixRange } from '../../../../src/store/store.js';
import { Stage } from '../../../support/stage.js';

const NAMES = ['default', 'default'] as const;

/** Publishes a new content of some keys, a moment after the last. */
async function publish(stage: Stage, author = 'robot', keys: readonly string[] = ['a']): Promise<Written> {
  stage.wallOffMs += 1_000;
  const request = { namespace: 'default', group: 'default', author, comment: '', principal: '', requestId: '' };
  const value = String(stage.wallOffMs);
  const drafts = keys.map((key) => ({
    ...{ key, format: ConfigFormat.CONFIG_FORMAT_TEXT, labels: new Map<string, string>(), expectedVersion: undefined },
    content: { $case: 'text' as const, value },
  }));
  return stage.until(stage.replica.publishing.publish(request, drafts));
}

async function publishMany(stage: Stage, count: number, author?: string): Promise<void> {
  for (let i = 0; i < count; i++) await publish(stage, author);
}

async function remove(stage: Stage): Promise<void> {
  stage.wallOffMs += 1_000;
  const request = {
    namespace: 'default',
    group: 'default',
    author: 'robot',
    comment: '',
    principal: '',
    requestId: '',
  };
  await stage.until(stage.replica.publishing.delete(request, 'a', undefined));
}

/** The versions that ListConfigVersions shows, newest first, over pages of seven. */
async function shown(stage: Stage, key = 'a'): Promise<number[]> {
  const numbers: number[] = [];
  let before: bigint | undefined = 0n;
  while (before !== undefined) {
    const page: Page<Config> = await stage.until(stage.replica.versions.list(...NAMES, key, 7, before));
    numbers.push(...page.entries.map(({ version }) => Number(version)));
    before = page.last === undefined ? undefined : BigInt(page.last);
  }
  return numbers;
}

/** The versions whose keys stand in the store, newest first. */
async function stored(stage: Stage, key = 'a'): Promise<number[]> {
  const entries = await allEntries(await stage.store.list(prefixRange(`u/v/default/default/${key}//`)));
  return entries.map((entry) => Number(entry.key.slice(-19))).reverse();
}

const reasonOf = (stage: Stage, version: number): Promise<string> =>
  stage.until(stage.replica.versions.get(...NAMES, 'a', BigInt(version))).then(
    () => 'OK',
    (error: RollcallError) => error.reason,
  );

/** Checks what is kept: shown, readable one by one, and all that is left in the store. */
async function assertKept(stage: Stage, expected: readonly number[]): Promise<void> {
  assert.deepEqual(await shown(stage), expected);
  assert.deepEqual(await stored(stage), expected);
  const newest = expected[0]!;
  for (let version = 1; version <= newest; version++)
    assert.equal(await reasonOf(stage, version), expected.includes(version) ? 'OK' : 'VERSION_NOT_FOUND', `${version}`);
}

const down = (from: number, to: number): number[] => Array.from({ length: from - to + 1 }, (_, i) => from - i);

/** Lets garbage collection look at what goes by hours and days. */
const passAnHour = (stage: Stage): Promise<void> => stage.pass(HOUR_MS + 1_000);

test('C4: what a person published last stays, however often a robot publishes', async () => {
  const stage = await Stage.ready();
  await publishMany(stage, 2, 'ann');
  await publish(stage, 'ben');
  await publishMany(stage, 70);
  await assertKept(stage, [...down(73, 24), 3, 2]);
  await publish(stage, 'ann');
  // Her newest version is the current one now.
  await assertKept(stage, [...down(74, 25), 3]);
});

test('C4: of each day the newest version stays, for 30 days after it was replaced', async () => {
  const stage = await Stage.ready();
  for (let day = 0; day < 40; day++) {
    await publishMany(stage, 5);
    stage.wallOffMs += DAY_MS - 5_000;
  }
  await publish(stage);
  const newestOfDays = Array.from({ length: 40 }, (_, day) => 5 * (40 - day));
  await assertKept(stage, [...down(201, 152), ...newestOfDays.filter((version) => version < 152 && version > 50)]);
});

test('C4: age counts from when a version was replaced, and the one before the current is always kept', async () => {
  const stage = await Stage.ready();
  await publishMany(stage, 3);
  stage.wallOffMs += 40 * DAY_MS;
  await passAnHour(stage);
  await assertKept(stage, [3, 2]);
  await publish(stage);
  await assertKept(stage, [4, 3]);
  await publish(stage);
  await assertKept(stage, [5, 4, 3]);
  stage.wallOffMs += 31 * DAY_MS;
  assert.deepEqual(await shown(stage), [5, 4], 'hidden before it is deleted');
  await passAnHour(stage);
  await assertKept(stage, [5, 4]);
});

test('C4: after a deletion and a publish there is still a content to roll back to', async () => {
  const stage = await Stage.ready();
  await publishMany(stage, 2);
  await remove(stage);
  await publish(stage);
  stage.wallOffMs += 31 * DAY_MS;
  await passAnHour(stage);
  await assertKept(stage, [4, 3, 2]);
});

test('C4: a hundred versions are kept at most; the oldest of the authors go first', async () => {
  const stage = await Stage.ready();
  await publish(stage);
  stage.wallOffMs += DAY_MS;
  for (let i = 0; i < 80; i++) await publish(stage, `author ${i}`);
  stage.wallOffMs += DAY_MS;
  await publishMany(stage, 60);
  const total = LIMITS.CONFIG_VERSIONS_TOTAL.value;
  const newest = down(141, 92);
  const authors = down(81, 81 - (total - newest.length - 2));
  await assertKept(stage, [...newest, ...authors, 1]);
});

test('C4: configs that are published together in the largest number leave nothing behind', async () => {
  const stage = await Stage.ready();
  const keys = Array.from({ length: LIMITS.PUBLISH_CONFIGS.value }, (_, i) => `k${i}`);
  for (let i = 0; i < 55; i++) await publish(stage, 'robot', keys);
  for (const key of keys) assert.deepEqual([key, await stored(stage, key)], [key, down(55, 6)]);
  // Nearly all go at once: more than one transaction can delete.
  stage.wallOffMs += 31 * DAY_MS;
  await publish(stage, 'robot', keys);
  for (const key of keys) assert.deepEqual([key, await shown(stage, key)], [key, [56, 55]]);
  await passAnHour(stage);
  for (const key of keys) assert.deepEqual([key, await stored(stage, key)], [key, [56, 55]]);
});

test('C4: a replica that starts knows what is kept', async () => {
  const stage = await Stage.ready();
  await publish(stage, 'ann');
  await publishMany(stage, 60);
  await stage.start();
  await assertKept(stage, [...down(61, 12), 1]);
});

test('C4: what is kept outlives a record that somebody deleted behind the back of the server', async () => {
  const stage = await Stage.ready();
  await publishMany(stage, 3);
  await stage.write({ kind: 'delete', key: 'w/c/default/default/a' });
  await stage.pass(1_000);
  assert.equal(stage.count('foreign_deletes'), 1);
  await stage.start();
  await assertKept(stage, [3, 2, 1]);
});

test('C4: a config that is always published with many others leaves nothing behind', async () => {
  const stage = await Stage.ready();
  const others = (batch: number): string[] => Array.from({ length: 35 }, (_, i) => `b${batch}-${i}`);
  for (let round = 0; round < 50; round++)
    for (const batch of [0, 1, 2, 3]) await publish(stage, 'robot', [...others(batch), 'a']);
  stage.wallOffMs += 31 * DAY_MS;
  for (let round = 0; round < 11; round++)
    for (const batch of [0, 1, 2, 3]) await publish(stage, 'robot', [...others(batch), 'a']);
  await passAnHour(stage);
  assert.deepEqual(await stored(stage), await shown(stage));
  assert.deepEqual(await stored(stage, 'b3-0'), await shown(stage, 'b3-0'));
  const { history } = stage.replica.catalog.configs.get('default', 'default', 'a')!;
  assert.ok(history.length < 4_000, `${history.length} bytes`);
});

test('C4: a deleted config goes with all its versions, however many there are', async () => {
  const stage = await Stage.ready();
  await publish(stage);
  for (let i = 0; i < 300; i++) {
    const key = `u/v/default/default/a//${String(1_000 + i).padStart(19, '0')}`;
    await stage.write({ kind: 'put', key, value: Buffer.from('left behind') });
  }
  await remove(stage);
  stage.wallOffMs += 31 * DAY_MS;
  await stage.pass(20 * 60_000);
  assert.deepEqual(await stored(stage), []);
  assert.equal(stage.replica.catalog.configs.tombstoneCount, 0);
});
