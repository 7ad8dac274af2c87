import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../../src/model/limits.js';
import { ConfigFormat } from '../../src/gen/rollcall/v1/config.js';
import {
  deleteConfig,
  getConfig,
  listConfigs,
  listConfigVersions,
  publishConfig,
  rollbackConfig,
  text,
  watchConfig,
} from '../support/client.js';
import { detailsOf, failure, type ServerProcess, startServer } from '../support/server.js';

const reasonOf = async (promise: Promise<unknown>): Promise<string> => detailsOf(await failure(promise)).reason;
const publish = (server: ServerProcess, key: string, value: string, more: object = {}) =>
  publishConfig(server, { configs: [{ key, content: text(value), ...more }] });
const textOf = async (server: ServerProcess, key: string, version = 0n): Promise<string | undefined> => {
  const { config } = await getConfig(server, { key, version });
  return config?.content?.$case === 'text' ? config.content.value : undefined;
};

test('a config is published, read, changed and deleted; its versions stay', async (t) => {
  const server = await startServer(t);
  const first = await publishConfig(server, {
    configs: [{ key: 'app.yaml', content: text('debug: true\n'), labels: new Map([['team', 'x']]) }],
    author: 'ann',
    comment: 'first',
  });
  const [head] = first.configs;
  assert.deepEqual(
    [head?.namespace, head?.group, head?.version, head?.format, head?.size, head?.content, head?.revision],
    ['default', 'default', 1n, ConfigFormat.CONFIG_FORMAT_YAML, 12, undefined, first.revision],
  );
  assert.match(head!.sha256, /^[0-9a-f]{64}$/);
  const { config } = await getConfig(server, { key: 'app.yaml' });
  assert.deepEqual(config?.content, text('debug: true\n'));
  assert.deepEqual([config.author, config.comment, config.labels.get('team')], ['ann', 'first', 'x']);

  await publish(server, 'app.yaml', 'debug: false\n');
  assert.equal(await textOf(server, 'app.yaml'), 'debug: false\n');
  assert.equal(await textOf(server, 'app.yaml', 1n), 'debug: true\n');

  const deleted = await deleteConfig(server, { key: 'app.yaml', author: 'bob' });
  assert.deepEqual([deleted.config?.version, deleted.config?.deleted], [3n, true]);
  assert.equal(await reasonOf(getConfig(server, { key: 'app.yaml' })), 'CONFIG_NOT_FOUND');
  assert.equal(await textOf(server, 'app.yaml', 2n), 'debug: false\n');
  const { versions } = await listConfigVersions(server, { key: 'app.yaml' });
  assert.deepEqual(
    versions.map(({ version, deleted: gone }) => [version, gone]),
    [
      [3n, true],
      [2n, false],
      [1n, false],
    ],
  );
  const again = await publish(server, 'app.yaml', 'debug: 1\n');
  assert.equal(again.configs[0]?.version, 4n, 'numbers never begin again');
});

test('equal content, format and labels is no new version', async (t) => {
  const server = await startServer(t);
  const first = await publish(server, 'a.txt', 'x');
  const same = await publish(server, 'a.txt', 'x');
  assert.deepEqual([same.configs[0]?.version, same.revision], [1n, first.revision]);
  assert.equal((await publish(server, 'a.txt', 'x', { labels: new Map([['k', 'v']]) })).configs[0]?.version, 2n);
  assert.equal(
    (await publish(server, 'a.txt', 'x', { labels: new Map([['k', 'v']]), format: 6 })).configs[0]?.version,
    3n,
  );
});

test('C3: several configs are published at one revision, and a watch gets all of them at once', async (t) => {
  const server = await startServer(t);
  const watch = watchConfig(server, { all: true });
  await watch.seen(({ revision }) => revision > 0n);
  const keys = Array.from({ length: LIMITS.PUBLISH_CONFIGS.value }, (_, i) => `k${i}`);
  for (let round = 0; round < 5; round++) {
    const { revision, configs } = await publishConfig(server, {
      configs: keys.map((key) => ({ key, content: text(`round ${round}`) })),
    });
    assert.ok(configs.every((config) => config.revision === revision));
    await watch.reached(revision);
  }
  let changes = 0;
  for (const { upserted } of watch.messages) {
    if (upserted.length === 0) continue;
    changes++;
    assert.equal(upserted.length, keys.length, 'a publish is never split');
    assert.equal(new Set(upserted.map(({ content }) => content?.value)).size, 1);
  }
  assert.equal(changes, 5);
  watch.close();
});

test('C3: when one of several configs is refused none is published', async (t) => {
  const server = await startServer(t);
  await publish(server, 'a', '1');
  const refused = await failure(
    publishConfig(server, {
      configs: [
        { key: 'b', content: text('2') },
        { key: 'a', content: text('3'), expectedVersion: 7n },
      ],
    }),
  );
  assert.deepEqual([refused.code, detailsOf(refused).reason], [10, 'VERSION_MISMATCH']);
  assert.deepEqual([detailsOf(refused).metadata.get('key'), detailsOf(refused).metadata.get('version')], ['a', '1']);
  assert.equal(await reasonOf(getConfig(server, { key: 'b' })), 'CONFIG_NOT_FOUND');
  assert.equal(await textOf(server, 'a'), '1');
});

test('validate_only: what a publish would say, and nothing is published', async (t) => {
  const server = await startServer(t);
  await publish(server, 'a', '1');
  const ask = (...configs: { key: string; content: ReturnType<typeof text>; expectedVersion?: bigint }[]) =>
    publishConfig(server, { configs, validateOnly: true, requestId: 'asked' });
  const { configs, revision, warnings } = await ask(
    { key: 'a', content: text('1') },
    { key: 'b.json', content: text('{"x": 1, "x": 2}') },
  );
  assert.deepEqual(
    configs.map(({ key, version, revision: at, size }) => [key, version, at > 0n, size]),
    [
      ['a', 1n, true, 1],
      ['b.json', 1n, false, 16],
    ],
  );
  assert.deepEqual([revision, warnings.length], [0n, 1]);
  assert.equal(await reasonOf(ask({ key: 'a', content: text('2'), expectedVersion: 7n })), 'VERSION_MISMATCH');
  assert.equal(await reasonOf(ask({ key: 'c.yaml', content: text('a: [') })), 'INVALID_REQUEST');
  assert.equal(await reasonOf(getConfig(server, { key: 'b.json' })), 'CONFIG_NOT_FOUND');
  assert.equal(await textOf(server, 'a'), '1');
  // The id of the request is free.
  await publishConfig(server, { configs: [{ key: 'a', content: text('3') }], requestId: 'asked' });
  assert.equal(await textOf(server, 'a'), '3');
});

test('expected_version: 0 creates, and of many that expect the same version one wins', async (t) => {
  const server = await startServer(t);
  await publish(server, 'a', 'first', { expectedVersion: 0n });
  assert.equal(await reasonOf(publish(server, 'a', 'second', { expectedVersion: 0n })), 'VERSION_MISMATCH');
  const outcomes = await Promise.allSettled(
    Array.from({ length: 20 }, (_, i) => publish(server, 'a', `writer ${i}`, { expectedVersion: 1n })),
  );
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
  const winner = outcomes.findIndex(({ status }) => status === 'fulfilled');
  assert.equal(await textOf(server, 'a'), `writer ${winner}`);
  assert.equal(await reasonOf(deleteConfig(server, { key: 'a', expectedVersion: 1n })), 'VERSION_MISMATCH');
  await deleteConfig(server, { key: 'a', expectedVersion: 2n });
});

test('many writers without expected_version all succeed, each with a version of its own', async (t) => {
  const server = await startServer(t);
  const answers = await Promise.all(Array.from({ length: 7 }, (_, i) => publish(server, 'a', `writer ${i}`)));
  const versions = answers.map(({ configs }) => configs[0]!.version).sort((a, b) => Number(a - b));
  assert.deepEqual(versions, [1n, 2n, 3n, 4n, 5n, 6n, 7n]);
});

test('C1: request_id: the repeat gets the first answer, another request under it is refused', async (t) => {
  const server = await startServer(t);
  const request = { configs: [{ key: 'a', content: text('one') }], requestId: 'req-1' };
  const first = await publishConfig(server, request);
  await publish(server, 'a', 'two');
  const repeat = await publishConfig(server, request);
  assert.deepEqual(repeat, first);
  assert.equal(await textOf(server, 'a'), 'two', 'the repeat does nothing');
  const reused = await failure(
    publishConfig(server, { configs: [{ key: 'a', content: text('three') }], requestId: 'req-1' }),
  );
  assert.deepEqual([reused.code, detailsOf(reused).reason], [3, 'REQUEST_ID_REUSED']);
  const deletion = { key: 'a', requestId: 'req-2' };
  assert.deepEqual(await deleteConfig(server, deletion), await deleteConfig(server, deletion));
  const back = { key: 'a', version: 1n, requestId: 'req-3' };
  assert.deepEqual(await rollbackConfig(server, back), await rollbackConfig(server, back));
  const both = await Promise.all([1, 2, 3].map(() => publishConfig(server, { ...request, requestId: 'req-4' })));
  assert.equal(new Set(both.map(({ revision }) => revision)).size, 1);
});

test('a rollback publishes old content as a new version', async (t) => {
  const server = await startServer(t);
  for (const value of ['one', 'two', 'three']) await publish(server, 'a', value);
  const { config } = await rollbackConfig(server, { key: 'a', version: 1n, comment: 'back' });
  assert.equal(config?.version, 4n);
  assert.equal(await textOf(server, 'a'), 'one');
  assert.equal(await reasonOf(rollbackConfig(server, { key: 'a', version: 9n })), 'VERSION_NOT_FOUND');
  assert.equal(await reasonOf(rollbackConfig(server, { key: 'b', version: 1n })), 'CONFIG_NOT_FOUND');
  await deleteConfig(server, { key: 'a' });
  const deleted = await failure(getConfig(server, { key: 'a' }));
  assert.match(deleted.message, /config a .*was deleted at 20.*version 5 records it/);
  assert.deepEqual(
    [detailsOf(deleted).reason, detailsOf(deleted).metadata.get('deleted_version')],
    ['CONFIG_NOT_FOUND', '5'],
  );
  assert.equal(await reasonOf(rollbackConfig(server, { key: 'a', version: 5n })), 'VERSION_DELETED');
  assert.equal((await rollbackConfig(server, { key: 'a', version: 2n })).config?.version, 6n);
});

test('the newest 50 versions are kept', async (t) => {
  const server = await startServer(t);
  for (let i = 1; i <= 53; i++) await publish(server, 'a', `${i}`);
  const numbers: bigint[] = [];
  let pageToken = '';
  do {
    const page = await listConfigVersions(server, { key: 'a', pageSize: 20, pageToken });
    numbers.push(...page.versions.map(({ version }) => version));
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  assert.deepEqual(
    numbers,
    Array.from({ length: 50 }, (_, i) => BigInt(53 - i)),
  );
  assert.equal(await reasonOf(getConfig(server, { key: 'a', version: 3n })), 'VERSION_NOT_FOUND');
  assert.equal(await textOf(server, 'a', 4n), '4');
});

test('json, yaml and toml that do not parse are refused with line and column', async (t) => {
  const server = await startServer(t);
  const cases: [string, string, RegExp][] = [
    ['a.json', '{\n  "a": 1,\n  "b": }\n', /line 3, column 8/],
    ['a.yaml', 'a: 1\nb: [1, 2\n', /line \d+, column \d+/],
    ['a.toml', 'a = 1\nb = \n', /line 2, column \d+/],
  ];
  for (const [key, value, place] of cases) {
    const error = await failure(publish(server, key, value));
    assert.equal(error.code, 3, key);
    assert.deepEqual(detailsOf(error).fields, ['configs[0].text'], key);
    assert.match(error.message, place, key);
    assert.equal(await reasonOf(getConfig(server, { key })), 'CONFIG_NOT_FOUND');
  }
  await publish(server, 'a.properties', 'a=1\n# anything goes = here\n');
  await publish(server, 'broken.json', '{', { format: ConfigFormat.CONFIG_FORMAT_TEXT });
});

test('bytes come back as bytes, text in data as text, and what is not UTF-8 is refused', async (t) => {
  const server = await startServer(t);
  const data = Buffer.from([0, 255, 128, 10]);
  await publishConfig(server, { configs: [{ key: 'a.bin', content: { $case: 'data', value: data } }] });
  const { config } = await getConfig(server, { key: 'a.bin' });
  assert.equal(config?.format, ConfigFormat.CONFIG_FORMAT_BINARY);
  assert.ok(config.content?.$case === 'data' && data.equals(config.content.value));
  const refused = await failure(
    publishConfig(server, { configs: [{ key: 'a.yaml', content: { $case: 'data', value: data } }] }),
  );
  assert.deepEqual(detailsOf(refused).fields, ['configs[0].data']);
  await publishConfig(server, {
    configs: [{ key: 'b.yaml', content: { $case: 'data', value: Buffer.from('grüezi') } }],
  });
  assert.equal(await textOf(server, 'b.yaml'), 'grüezi');
});

test('lists show heads without content, by group and prefix, page by page', async (t) => {
  const server = await startServer(t);
  await publishConfig(server, {
    configs: Array.from({ length: 30 }, (_, i) => ({ key: `app/${String(i).padStart(2, '0')}`, content: text('x') })),
  });
  await publishConfig(server, { group: 'web', configs: [{ key: 'app/a', content: text('x') }] });
  await publishConfig(server, { namespace: 'other', configs: [{ key: 'app/a', content: text('x') }] });
  const page = await listConfigs(server, { group: 'default', prefix: 'app/', pageSize: 20 });
  assert.equal(page.configs.length, 20);
  assert.ok(page.configs.every(({ content }) => content === undefined));
  const rest = await listConfigs(server, {
    group: 'default',
    prefix: 'app/',
    pageSize: 20,
    pageToken: page.nextPageToken,
  });
  assert.equal(rest.configs.length, 10);
  assert.equal(rest.nextPageToken, '');
  assert.deepEqual((await listConfigs(server, {})).configs.length, 31);
  assert.deepEqual((await listConfigs(server, { prefix: 'app/0' })).configs.length, 10);
});

test('lists are in the order of groups, then keys, also from page to page', async (t) => {
  const server = await startServer(t);
  const groups = ['a', 'a-b', 'a.b', 'aa', 'b'];
  for (const group of groups)
    await publishConfig(server, {
      group,
      configs: ['a', 'a-b', 'a/b', 'b'].map((key) => ({ key, content: text('x') })),
    });
  const listed: string[] = [];
  for (let pageToken = ''; ;) {
    const page = await listConfigs(server, { pageSize: 3, pageToken });
    listed.push(...page.configs.map(({ group, key }) => `${group} ${key}`));
    if (!page.nextPageToken) break;
    pageToken = page.nextPageToken;
  }
  assert.deepEqual(
    listed,
    groups.flatMap((group) => ['a', 'a-b', 'a/b', 'b'].map((key) => `${group} ${key}`)),
  );
});

test('keys in any script are published, listed in byte order, watched by prefix and kept apart', async (t) => {
  const server = await startServer(t);
  const keys = ['a', 'com.foo.Bar:1.0::provider', '乍乮.yaml', '配置.yaml', '配置/b.yaml', '𠀀', 'ｱ'];
  for (const key of keys) await publishConfig(server, { configs: [{ key, content: text('x: 1') }] });
  const { configs } = await listConfigs(server, {});
  const inByteOrder = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  assert.deepEqual(
    configs.map(({ key, version }) => [key, version]),
    inByteOrder.map((key) => [key, 1n]),
  );
  const watch = watchConfig(server, { filters: [{ prefixes: ['配'] }] });
  const { upserted } = await watch.seen(({ revision }) => revision > 0n);
  assert.deepEqual(upserted.map(({ key }) => key).sort(), ['配置.yaml', '配置/b.yaml']);
  const refused = await failure(publishConfig(server, { configs: [{ key: 'cafe\u0301', content: text('x') }] }));
  assert.match(refused.message, /configs\[0\]\.key: .*; "café" would do$/);
  watch.close();
});

test('a publish that is parsed in a thread is told line and column of every text that does not parse', async (t) => {
  const server = await startServer(t);
  const lines = (count: number): string => Array.from({ length: count }, (_, i) => `key-${i}: ${i}\n`).join('');
  const configs = [
    { key: 'good.yaml', content: text(lines(2_000)) },
    { key: 'bad.yaml', content: text(`${lines(2_000)}last: [1, 2\n`) },
    { key: 'bad.json', content: { $case: 'data' as const, value: Buffer.from('{"a": }') } },
  ];
  const error = await failure(publishConfig(server, { configs }));
  assert.deepEqual(detailsOf(error).fields, ['configs[1].text', 'configs[2].data']);
  assert.match(error.message, /configs\[1\]\.text: does not parse as yaml: line 200[12], column \d+/);
  assert.match(error.message, /configs\[2\]\.data: does not parse as json: line 1, column 7/);
  assert.equal(await reasonOf(getConfig(server, { key: 'good.yaml' })), 'CONFIG_NOT_FOUND');
  await publishConfig(server, { configs: configs.slice(0, 1) });
  assert.equal(await textOf(server, 'good.yaml'), lines(2_000));
});
