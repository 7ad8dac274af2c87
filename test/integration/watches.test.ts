import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { test } from 'node:test';
import { Health, RemovalReason } from '../../src/gen/rollcall/v1/instance.js';
import { ResetReason, WatchKind } from '../../src/gen/rollcall/v1/watch.js';
import {
  deleteConfig,
  deregister,
  discover,
  publishConfig,
  register,
  ServicesView,
  text,
  watchConfig,
  watchServices,
} from '../support/client.js';
import { Dice } from '../support/dice.js';
import { detailsOf, eventually, type ServerProcess, startServer, temporaryFolder } from '../support/server.js';

const { WATCH_KIND_SNAPSHOT: SNAPSHOT, WATCH_KIND_CHANGE: CHANGE, WATCH_KIND_BOOKMARK: BOOKMARK } = WatchKind;
const instance = (id: string, more: object = {}): object => ({
  service: 'pay',
  id,
  address: '10.0.0.7',
  port: 8080,
  ...more,
});

interface Write {
  readonly revision: bigint;
  readonly key: string;
  readonly version: string | undefined;
}

/** Registers and deregisters at random from several sides at once; returns what was acknowledged. */
async function churn(server: ServerProcess, seed: number, rounds: number): Promise<Write[]> {
  const dice = new Dice(seed);
  const writes: Write[] = [];
  // Each writer has ids of its own, so that what it was answered is what it wrote.
  const writer = async (n: number): Promise<void> => {
    const live = new Set<string>();
    for (let i = 0; i < rounds; i++) {
      const service = dice.pick(['pay', 'cart']);
      const id = `w${n}-${Math.floor(dice.between(0, 6))}`;
      const key = `${service}/${id}`;
      if (live.has(key) && dice.chance(0.4)) {
        const { revision } = await deregister(server, { service, id });
        live.delete(key);
        writes.push({ revision, key, version: undefined });
      } else {
        const version = `${n}.${i}`;
        const { revision } = await register(server, { instance: instance(id, { service, version }) });
        live.add(key);
        writes.push({ revision, key, version });
      }
    }
  };
  await Promise.all([0, 1, 2, 3].map(writer));
  return writes.sort((a, b) => Number(a.revision - b.revision));
}

function stateAt(writes: readonly Write[], revision: bigint): Map<string, string> {
  const state = new Map<string, string>();
  for (const { revision: at, key, version } of writes) {
    if (at > revision) break;
    if (version === undefined) state.delete(key);
    else state.set(key, version);
  }
  return state;
}

const sorted = (entries: Iterable<[string, string]>): [string, string][] =>
  [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
const shown = (view: ServicesView): [string, string][] =>
  sorted([...view.instances].map(([key, { version }]): [string, string] => [key, version]));

test('W1 W2: after every message with a revision the view equals the store at that revision, resumed or not', async (t) => {
  const server = await startServer(t);
  const steady = watchServices(server, { all: true });
  const resumed = [watchServices(server, { all: true })];
  const writing = churn(server, 11, 120);
  let written: Write[] | undefined;
  void writing.then((writes) => (written = writes));
  // Meanwhile another client is cut off again and again, and resumes from its last token.
  while (!written) {
    const current = resumed.at(-1)!;
    const before = current.messages.length;
    const hasToken = (): boolean => current.messages.some(({ resumeToken }) => resumeToken !== '');
    await eventually(() => hasToken() && (current.messages.length > before + 3 || written !== undefined));
    const resumeToken = current.token;
    current.close();
    await eventually(() => current.ended);
    resumed.push(watchServices(server, { all: true, resumeToken }));
  }
  const writes = await writing;
  const last = writes.at(-1)!.revision;
  await steady.reached(last);
  // What came after the token was taken is delivered again, so the last stream sees the end too.
  const final = resumed.at(-1)!;
  await eventually(() => final.messages.some(({ revision }) => revision >= last));

  const follow = (messages: typeof steady.messages): void => {
    const view = new ServicesView();
    for (const message of messages) {
      const before = view.revision;
      if (!view.apply(message)) continue;
      assert.ok(view.revision >= before, 'revisions never go back');
      assert.deepEqual(shown(view), sorted(stateAt(writes, view.revision)), `at ${view.revision}`);
    }
    assert.deepEqual(shown(view), sorted(stateAt(writes, last)), 'the last state arrives');
  };
  follow(steady.messages);
  // The streams of the one that resumed, one behind the other, up to the token of each.
  const chain = resumed.flatMap(({ messages }, i) => {
    const next = resumed[i + 1];
    const end = next ? messages.findLastIndex(({ resumeToken }) => resumeToken !== '') + 1 : messages.length;
    return messages.slice(0, end);
  });
  assert.equal(
    chain.filter(({ kind }) => kind === SNAPSHOT).length,
    steady.messages.filter(({ kind }) => kind === SNAPSHOT).length,
    'a resumed watch needs no snapshot',
  );
  follow(chain);
  assert.ok(resumed.length > 3, `cut ${resumed.length} times`);
  steady.close();
  final.close();
});

test('a watch of a service with a filter tells what came, changed, left the filter and went', async (t) => {
  const server = await startServer(t);
  const all = [Health.HEALTH_HEALTHY, Health.HEALTH_DEGRADED, Health.HEALTH_UNHEALTHY, Health.HEALTH_DRAINING];
  const watch = watchServices(server, { services: ['pay'], filter: { tags: ['blue'], healthStates: all } });
  const first = await watch.seen(({ revision }) => revision > 0n);
  assert.deepEqual([first.kind, first.upserted.length], [SNAPSHOT, 0]);
  assert.match(first.watchId, /./);
  await register(server, { instance: instance('p1', { tags: ['blue'] }), incarnation: 'a' });
  await register(server, { instance: instance('p2') });
  await register(server, { instance: instance('p3', { tags: ['blue'], service: 'cart' }) });
  await watch.seen(({ kind, upserted }) => kind === CHANGE && upserted[0]?.id === 'p1');
  await register(server, { instance: instance('p1'), incarnation: 'a' });
  const left = await watch.seen(({ removed }) => removed.some(({ id }) => id === 'p1'));
  assert.equal(left.removed.find(({ id }) => id === 'p1')?.reason, RemovalReason.REMOVAL_REASON_NO_LONGER_MATCHES);
  await register(server, {
    instance: instance('p1', { tags: ['blue'], ttl: { seconds: 2n, nanos: 0 } }),
    incarnation: 'a',
  });
  const { upserted } = await watch.seen((message) =>
    message.upserted.some(({ health }) => health === Health.HEALTH_UNHEALTHY),
  );
  assert.equal(upserted[0]?.id, 'p1');
  const gone = await watch.seen(
    ({ removed }) => removed.some(({ reason }) => reason !== RemovalReason.REMOVAL_REASON_NO_LONGER_MATCHES),
    15_000,
  );
  assert.deepEqual(
    gone.removed.map(({ service, id, reason }) => [service, id, reason]),
    [['pay', 'p1', RemovalReason.REMOVAL_REASON_EXPIRED]],
  );
  for (const message of watch.messages) {
    assert.ok(message.upserted.every(({ id }) => id === 'p1'));
  }
  watch.close();
});

test('a watch says how many instances are hidden', async (t) => {
  const server = await startServer(t);
  await register(server, { instance: instance('p1', { reported: { state: 4, note: '' } }) });
  const watch = watchServices(server, { services: ['pay'] });
  const first = await watch.seen(({ revision }) => revision > 0n);
  assert.deepEqual(
    first.services.map(({ service, hiddenCount }) => [service, hiddenCount]),
    [['pay', 1]],
  );
  const { revision } = await register(server, { instance: instance('p2', { reported: { state: 4, note: '' } }) });
  const next = await watch.seen((message) => message.revision >= revision);
  assert.equal(next.services[0]?.hiddenCount, 2);
  watch.close();
});

test('W1: a snapshot larger than a part comes in parts, of which only the last carries a revision', async (t) => {
  const server = await startServer(t);
  const metadata = new Map(Array.from({ length: 7 }, (_, i) => [`k${i}`, 'v'.repeat(1_000)]));
  await Promise.all(
    Array.from({ length: 500 }, (_, i) => register(server, { instance: instance(`p${i}`, { metadata }) })),
  );
  const watch = watchServices(server, { all: true });
  await watch.seen(({ revision }) => revision > 0n);
  assert.ok(watch.messages.length >= 3, `${watch.messages.length} parts`);
  assert.deepEqual(
    watch.messages.map(({ revision, resumeToken }) => revision > 0n && resumeToken !== ''),
    watch.messages.map((_, i) => i === watch.messages.length - 1),
  );
  assert.equal(
    watch.messages.reduce((sum, { upserted }) => sum + upserted.length, 0),
    500,
  );
  const view = new ServicesView();
  for (const message of watch.messages) view.apply(message);
  assert.equal(view.instances.size, 500);
  watch.close();
});

test('W3: a token that cannot be continued gets a snapshot that says why; one that is malformed is refused', async (t) => {
  const server = await startServer(t);
  const other = await startServer(t);
  await register(server, { instance: instance('p1') });
  const watch = watchServices(server, { services: ['pay'] });
  await watch.seen(({ revision }) => revision > 0n);
  const resumeToken = watch.token;
  watch.close();
  const resetOf = async (where: ServerProcess, request: object): Promise<[WatchKind, ResetReason, number]> => {
    const reset = watchServices(where, { ...request, resumeToken });
    const first = await reset.seen(({ revision }) => revision > 0n);
    reset.close();
    return [first.kind, first.resetReason, first.upserted.length];
  };
  assert.deepEqual(await resetOf(server, { services: ['pay'] }).then(([kind, reason]) => [kind, reason]), [
    BOOKMARK,
    0,
  ]);
  assert.deepEqual(await resetOf(server, { all: true }), [SNAPSHOT, ResetReason.RESET_REASON_OTHER_SELECTION, 1]);
  assert.deepEqual(await resetOf(other, { services: ['pay'] }), [SNAPSHOT, ResetReason.RESET_REASON_OTHER_STORE, 0]);
  const configs = watchConfig(server, { all: true, resumeToken });
  const first = await configs.seen(({ revision }) => revision > 0n);
  assert.equal(first.resetReason, ResetReason.RESET_REASON_OTHER_SELECTION);
  configs.close();
  for (const malformed of ['x', resumeToken.slice(0, -3), `${resumeToken}A`, 'A'.repeat(2_000)]) {
    const error = await watchServices(server, { services: ['pay'], resumeToken: malformed }).failed();
    assert.deepEqual([error.code, detailsOf(error).fields], [3, ['resume_token']], malformed.slice(0, 20));
  }
});

test('W3: a token that is ahead of the server waits, and then gets REVISION_NOT_REACHED', async (t) => {
  const folder = temporaryFolder();
  const copy = temporaryFolder();
  const first = await startServer(t, folder);
  await register(first, { instance: instance('p1') });
  await first.stop();
  cpSync(folder, copy, { recursive: true });
  const second = await startServer(t, folder);
  for (let i = 0; i < 20; i++) await register(second, { instance: instance(`q${i}`) });
  const watch = watchServices(second, { all: true });
  await watch.seen(({ revision }) => revision > 0n);
  const { token } = watch;
  await second.stop();
  const behind = await startServer(t, copy);
  const early = watchServices(behind, { all: true, resumeToken: token });
  const error = await early.failed();
  assert.deepEqual([error.code, detailsOf(error).reason, detailsOf(error).retry], [14, 'REVISION_NOT_REACHED', true]);
  assert.equal(early.messages.length, 0, 'never an older state unasked');
});

test('W4: a quiet watch gets a bookmark within 15 s, with a token that can be resumed', async (t) => {
  const server = await startServer(t);
  const watch = watchServices(server, { all: true });
  const configs = watchConfig(server, { all: true });
  await watch.seen(({ revision }) => revision > 0n);
  const opened = performance.now();
  const bookmark = await watch.seen(({ kind }) => kind === BOOKMARK, 15_000);
  assert.ok(performance.now() - opened <= 15_000);
  assert.ok(bookmark.revision > 0n);
  assert.equal(bookmark.staleFor, undefined);
  await configs.seen(({ kind }) => kind === BOOKMARK, 15_000);
  watch.close();
  const resumed = watchServices(server, { all: true, resumeToken: bookmark.resumeToken });
  await register(server, { instance: instance('p1') });
  await resumed.seen(({ upserted }) => upserted.length === 1);
  assert.ok(resumed.messages.every(({ kind }) => kind !== SNAPSHOT));
  resumed.close();
  configs.close();
});

test('W2 W5: a reader that stands still slows no other, and ends with the last state', async (t) => {
  const server = await startServer(t);
  const slow = watchConfig(server, { all: true });
  const fast = watchConfig(server, { all: true });
  await slow.seen(({ revision }) => revision > 0n);
  slow.stream.pause();
  let revision = 0n;
  for (let i = 0; i < 40; i++) {
    ({ revision } = await publishConfig(server, {
      configs: [{ key: 'big', content: text(`${i}:${'x'.repeat(500_000)}`) }],
    }));
    await fast.reached(revision);
  }
  assert.ok(slow.messages.length < 40);
  slow.stream.resume();
  await slow.reached(revision);
  assert.ok(slow.messages.length < 41, 'what was overtaken is skipped');
  const content = slow.last?.upserted[0]?.content;
  assert.ok(content?.$case === 'text' && content.value.startsWith('39:'));
  slow.close();
  fast.close();
});

test('WatchConfig selects by group, key and prefix, and tells deletions', async (t) => {
  const server = await startServer(t);
  const publish = (group: string, key: string): Promise<{ revision: bigint }> =>
    publishConfig(server, { group, configs: [{ key, content: text(key) }] });
  await publish('default', 'app/a');
  const watch = watchConfig(server, {
    filters: [{ keys: ['exact'], prefixes: ['app/'] }, { group: 'web' }],
  });
  const first = await watch.seen(({ revision }) => revision > 0n);
  assert.deepEqual(
    first.upserted.map(({ key, content }) => [key, content?.value]),
    [['app/a', 'app/a']],
  );
  for (const [group, key] of [
    ['default', 'other'],
    ['default', 'exact'],
    ['web', 'anything'],
    ['ops', 'app/a'],
    ['default', 'app/b'],
  ] as const) {
    await publish(group, key);
  }
  const { revision } = await deleteConfig(server, { key: 'app/a' });
  await watch.reached(revision);
  assert.deepEqual(
    watch.messages.slice(1).flatMap(({ upserted }) => upserted.map(({ group, key }) => `${group}:${key}`)),
    ['default:exact', 'web:anything', 'default:app/b'],
  );
  assert.deepEqual(
    watch.messages.flatMap(({ removed }) => removed.map(({ group, key, version }) => [group, key, version])),
    [['default', 'app/a', 2n]],
  );
  watch.close();
});

test('namespaces do not see each other, however alike their names', async (t) => {
  const server = await startServer(t);
  const watches = ['a', 'ab', 'a-b'].map((namespace) => watchServices(server, { namespace, all: true }));
  for (const watch of watches) await watch.seen(({ revision }) => revision > 0n);
  const { revision } = await register(server, { instance: instance('p1', { namespace: 'ab' }) });
  await watches[1]!.reached(revision);
  const { revision: last } = await register(server, { instance: instance('p1', { namespace: 'a' }) });
  await watches[0]!.reached(last);
  assert.deepEqual(
    watches.map(({ messages }) => messages.flatMap(({ upserted }) => upserted.map(({ namespace }) => namespace))),
    [['a'], ['ab'], []],
  );
  assert.equal((await discover(server, { namespace: 'a-b', service: 'pay' })).instances.length, 0);
  for (const watch of watches) watch.close();
});
