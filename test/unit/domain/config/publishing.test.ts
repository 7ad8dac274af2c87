import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Written } from '../../../../src/domain/config/idempotency.js';
import type { Draft, WriteRequest } from '../../../../src/domain/config/publishing.js';
import { ConfigFormat } from '../../../../src/gen/rollcall/v1/config.js';
import { Stage } from '../../../support/stage.js';

const request = (requestId = ''): WriteRequest => ({
  namespace: 'default',
  group: 'default',
  author: 'ann',
  comment: '',
  principal: '',
  requestId,
});
const draft = (key: string, value: string, expectedVersion?: bigint): Draft => ({
  key,
  content: { $case: 'text', value },
  format: ConfigFormat.CONFIG_FORMAT_TEXT,
  labels: new Map(),
  expectedVersion,
});
const publish = (stage: Stage, requestId: string, ...drafts: Draft[]): Promise<Written> =>
  stage.until(stage.replica.publishing.publish(request(requestId), drafts));
const current = (stage: Stage, key: string): string | undefined =>
  stage.replica.catalog.configs.get('default', 'default', key)?.config.content?.value as string | undefined;

test('C1: a publish is answered once this replica shows it', async () => {
  const stage = await Stage.ready();
  const release = stage.holdWatch();
  let answered = false;
  const publishing = stage.replica.publishing.publish(request(), [draft('a', '1')]).then((written) => {
    answered = true;
    return written;
  });
  await stage.pass(500);
  assert.equal(answered, false);
  release();
  const { revision } = await stage.until(publishing);
  assert.ok(stage.replica.catalog.has(revision));
  assert.equal(current(stage, 'a'), '1');
});

test('C3: configs published together are one revision, and no listener sees one without the other', async () => {
  const stage = await Stage.ready();
  const seen: (string | undefined)[][] = [];
  stage.replica.catalog.configs.listenToNamespace('default', () =>
    seen.push(['a', 'b'].map((key) => current(stage, key))),
  );
  const { configs, revision } = await publish(stage, '', draft('a', '1'), draft('b', '1'));
  assert.deepEqual(
    configs.map((config) => config.revision),
    [revision, revision],
  );
  await publish(stage, '', draft('b', '2'), draft('a', '2'));
  assert.deepEqual(seen, [
    ['1', '1'],
    ['2', '2'],
  ]);
});

test('C3: when one of several configs is refused none is published', async () => {
  const stage = await Stage.ready();
  await publish(stage, '', draft('b', '1'));
  await assert.rejects(publish(stage, '', draft('a', '1'), draft('b', '2', 7n)), { reason: 'VERSION_MISMATCH' });
  assert.deepEqual([current(stage, 'a'), current(stage, 'b')], [undefined, '1']);
});

test('expected_version: of many that expect the same version one wins, and 0 creates once', async () => {
  const stage = await Stage.ready();
  stage.store.latencyMs = () => 20;
  for (const expected of [0n, 1n]) {
    const writers = Array.from({ length: 10 }, (_, i) =>
      stage.replica.publishing.publish(request(), [draft('a', `${expected} ${i}`, expected)]),
    );
    const settled = await stage.until(Promise.allSettled(writers));
    assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1);
    for (const one of settled) {
      if (one.status === 'rejected') assert.equal((one.reason as { reason: string }).reason, 'VERSION_MISMATCH');
    }
  }
});

test('expected_version is held against the store when this replica is behind', async () => {
  const stage = await Stage.ready();
  await publish(stage, '', draft('a', '1'));
  const release = stage.holdWatch();
  // Published through here, and not yet seen here: the next one must not be refused for that.
  await publish(stage, '', draft('a', '2'));
  const next = await publish(stage, '', draft('a', '3', 2n));
  assert.equal(next.configs[0]?.version, 3n);
  await assert.rejects(publish(stage, '', draft('a', '4', 1n)), { reason: 'VERSION_MISMATCH' });
  release();
  await stage.pass(10);
  assert.equal(current(stage, 'a'), '3');
});

test('equal content is no new version, and its answer can be read on any replica at once', async () => {
  const stage = await Stage.ready();
  const first = await publish(stage, '', draft('a', '1'));
  await publish(stage, '', draft('b', '1'));
  for (const requestId of ['', 'r1', 'r1']) {
    const again = await publish(stage, requestId, draft('a', '1'));
    assert.equal(again.configs[0]?.version, 1n);
    assert.equal(again.revision, first.revision, `request_id "${requestId}"`);
    assert.ok(stage.replica.catalog.has(again.revision));
  }
});

test('request_id: a repeat gets the first answer and writes nothing, whatever happened since', async () => {
  const stage = await Stage.ready();
  const first = await publish(stage, 'r1', draft('a', '1'), draft('b', '1'));
  await publish(stage, '', draft('a', '2'));
  const again = await publish(stage, 'r1', draft('a', '1'), draft('b', '1'));
  assert.equal(again.revision, first.revision);
  assert.deepEqual(
    again.configs.map(({ key, version, revision }) => [key, version, revision]),
    first.configs.map(({ key, version, revision }) => [key, version, revision]),
  );
  assert.equal(current(stage, 'a'), '2');
});

test('request_id: two at once are one publish', async () => {
  const stage = await Stage.ready();
  stage.store.latencyMs = () => 20;
  const both = await stage.until(
    Promise.all([0, 1].map(() => stage.replica.publishing.publish(request('r1'), [draft('a', '1')]))),
  );
  assert.deepEqual(
    both.map(({ configs }) => configs[0]?.version),
    [1n, 1n],
  );
  assert.equal(both[0]?.revision, both[1]?.revision);
});

test('request_id: two deletions at once are one, and both are told so', async () => {
  const stage = await Stage.ready();
  await publish(stage, '', draft('a', '1'));
  stage.store.latencyMs = () => 20;
  const both = await stage.until(
    Promise.all([0, 1].map(() => stage.replica.publishing.delete(request('r1'), 'a', undefined))),
  );
  assert.deepEqual(
    both.map(({ configs }) => configs[0]?.version),
    [2n, 2n],
  );
  assert.equal(both[0]?.revision, both[1]?.revision);
});

test('request_id: a publish whose reply was lost is not made twice', async () => {
  const stage = await Stage.ready();
  stage.store.latencyMs = () => 40;
  const lost = publish(stage, 'r1', draft('a', 'ours'));
  await stage.pass(50); // the commit is on its way
  stage.store.setOutage('lost-reply');
  await assert.rejects(lost, { reason: 'STORE_UNAVAILABLE' });
  stage.store.setOutage(undefined);
  await stage.pass(100);
  assert.equal(current(stage, 'a'), 'ours');
  await publish(stage, '', draft('a', 'theirs'));
  const again = await publish(stage, 'r1', draft('a', 'ours'));
  assert.equal(again.configs[0]?.version, 1n);
  assert.equal(current(stage, 'a'), 'theirs');
});

test('request_id: another request under the same id is refused', async () => {
  const stage = await Stage.ready();
  await publish(stage, 'r1', draft('a', '1'));
  await assert.rejects(publish(stage, 'r1', draft('a', '2')), { reason: 'REQUEST_ID_REUSED' });
  assert.equal(current(stage, 'a'), '1');
});
