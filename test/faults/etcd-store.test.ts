import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { systemClock } from '../../src/base/clock.js';
import { systemRandom } from '../../src/base/random.js';
import { type EtcdOptions, type EtcdStore, openEtcdStore } from '../../src/store/etcd/etcd-store.js';
import {
  Compacted,
  type Entry,
  LIST_PAGE_ENTRIES,
  prefixRange,
  type Revision,
  RolledBack,
  type Store,
  StoreRefused,
  StoreUnavailable,
  type Txn,
  WATCHED_RANGE,
  type Write,
} from '../../src/store/store.js';
import { Listeners } from '../../src/base/listeners.js';
import type { TlsContents, TlsSource } from '../../src/base/tls-source.js';
import { type ProcessTelemetry, processTelemetry } from '../../src/telemetry/telemetry.js';
import { authority, type Certificate } from '../support/certificates.js';
import { type EtcdCluster, startEtcd } from '../support/etcd.js';
import { Proxy } from '../support/proxy.js';
import { eventually } from '../support/server.js';
import { COUNTERS } from '../../src/store/instruments.js';

const LONG = process.env['ROLLCALL_TEST_LONG'] !== undefined;

interface Opened {
  readonly store: EtcdStore;
  readonly telemetry: ProcessTelemetry;
}

function openStore(t: TestContext, endpoints: readonly string[], options: Partial<EtcdOptions> = {}): Opened {
  const telemetry = processTelemetry('silent', systemClock);
  const store = openEtcdStore({
    connection: { endpoints, tls: undefined, user: undefined },
    prefix: 'test/',
    clock: systemClock,
    random: systemRandom,
    telemetry,
    ...options,
  });
  t.after(() => store.close());
  return { store, telemetry };
}

/** A store behind a proxy that can fail, and one beside it that cannot. */
async function behindProxy(t: TestContext): Promise<Opened & { etcd: EtcdCluster; proxy: Proxy; direct: EtcdStore }> {
  const etcd = await startEtcd(t);
  const proxy = await Proxy.open(t, etcd.nodes[0]!.port);
  const opened = openStore(t, [`http://127.0.0.1:${proxy.port}`]);
  return { ...opened, etcd, proxy, direct: openStore(t, etcd.endpoints).store };
}

let number = 0;
const text = (value: string): Buffer => Buffer.from(value);
/** A put whose value holds its write id, as every record does. */
function putting(key: string, value = '', modRevision?: Revision): Txn {
  const writeId = `write-${++number}`;
  const write: Write = { kind: 'put', key, value: text(`${writeId} ${value}`) };
  return { writeId, compares: modRevision === undefined ? [] : [{ key, modRevision }], writes: [write] };
}

async function commit(store: Store, txn: Txn): Promise<Revision> {
  const result = await store.commit(txn);
  assert.ok(result.ok);
  return result.revision;
}

/** Writes many revisions at once; returns them in order. */
async function fill(store: Store, count: number): Promise<Revision[]> {
  const revisions = new Set<Revision>();
  // One key, so that each commit is a revision of its own.
  for (const result of await Promise.all(
    Array.from({ length: count }, (_, i) => store.commit(putting('w/i/hot', `${i}`))),
  ))
    revisions.add(result.revision);
  return [...revisions];
}

async function listAll(store: Store): Promise<{ revision: Revision; entries: Entry[] }> {
  const { revision, pages } = await store.list(WATCHED_RANGE);
  const entries: Entry[] = [];
  for await (const page of pages) entries.push(...page);
  return { revision, entries };
}

/** What a watch delivered so far. */
class Watching {
  readonly revisions: Revision[] = [];
  error: Error | undefined;
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;

  constructor(t: TestContext, store: Store, after: Revision, onBatch: (count: number) => void = () => undefined) {
    this.#done = this.#run(store, after, onBatch);
    t.after(() => this.close());
  }

  async #run(store: Store, after: Revision, onBatch: (count: number) => void): Promise<void> {
    try {
      for await (const { revision } of store.watch(after, this.#stop.signal)) {
        this.revisions.push(revision);
        onBatch(this.revisions.length);
      }
    } catch (error) {
      this.error = error as Error;
    }
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }
}

test('a watch that is cut at any moment after it was opened still delivers everything after its old revision', async (t) => {
  const { store, direct, proxy } = await behindProxy(t);
  const expected = await fill(direct, 21);
  for (let ms = 0; ms < 30; ms++) {
    const watching = new Watching(t, store, expected[0]! - 1n);
    const cut = setTimeout(() => proxy.cut(), ms);
    await eventually(() => watching.error ?? watching.revisions.length >= expected.length);
    clearTimeout(cut);
    assert.deepEqual(watching.revisions, expected, `cut after ${ms} ms`);
    await watching.close();
  }
});

test('a watch that is cut in the middle of catching up with 5,000 revisions delivers each of them once, in order', async (t) => {
  const { store, direct, proxy, telemetry } = await behindProxy(t);
  const expected = await fill(direct, 5_000);
  proxy.delayMs = 5;
  const watching = new Watching(t, store, expected[0]! - 1n, (count) => {
    if (count % 700 === 0) proxy.cut();
  });
  await eventually(() => watching.error ?? watching.revisions.length >= expected.length, 30_000);
  assert.deepEqual(watching.revisions, expected);
  assert.ok(telemetry.counters.value(COUNTERS.watch_restarts) >= 3, 'it was cut while it caught up');
});

test('F8: a compaction behind the back of a watch that is cut off ends it with Compacted', async (t) => {
  const { store, direct, proxy, etcd } = await behindProxy(t);
  const [first] = await fill(direct, 3);
  const watching = new Watching(t, store, first! - 1n);
  await eventually(() => watching.revisions.length === 3);
  proxy.mode = 'blackhole';
  proxy.cut();
  await fill(direct, 10);
  await etcd.compact();
  proxy.mode = 'pass';
  proxy.cut();
  assert.ok((await eventually(() => watching.error, 20_000)) instanceof Compacted);
  assert.equal(watching.revisions.length, 3, 'nothing was made up');
});

test(`a list of ${LONG ? 200_000 : 60_000} keys is whole and at one revision, while others write`, async (t) => {
  const total = LONG ? 200_000 : 60_000;
  const { store } = openStore(t, (await startEtcd(t)).endpoints);
  const all = Array.from({ length: total }, (_, i) => `w/i/default/pay/${String(i).padStart(6, '0')}`);
  const txns = Array.from({ length: Math.ceil(total / 100) }, (_, i): Txn => ({
    writeId: `fill-${i}`,
    compares: [],
    writes: all.slice(i * 100, i * 100 + 100).map((key) => ({ kind: 'put', key, value: Buffer.alloc(200, 97) })),
  }));
  for (let i = 0; i < txns.length; i += 20) await Promise.all(txns.slice(i, i + 20).map((txn) => commit(store, txn)));
  const { revision, pages } = await store.list(prefixRange('w/i/'));
  const seen: string[] = [];
  for await (const page of pages) {
    assert.ok(page.length <= LIST_PAGE_ENTRIES);
    for (const entry of page) {
      assert.ok(entry.modRevision <= revision);
      seen.push(entry.key);
    }
    await commit(store, putting('w/i/default/pay/zzz', 'while the list was read'));
  }
  assert.deepEqual(seen, all);
});

test('F9: a compaction during a paged list ends it with Compacted, never with a mix of revisions', async (t) => {
  const etcd = await startEtcd(t);
  const { store } = openStore(t, etcd.endpoints);
  const writes = Array.from({ length: LIST_PAGE_ENTRIES + 200 }, (_, i) => `w/i/${String(i).padStart(6, '0')}`);
  for (let i = 0; i < writes.length; i += 100) {
    const puts = writes.slice(i, i + 100).map((key): Write => ({ kind: 'put', key, value: text('x') }));
    await commit(store, { writeId: `w${i}`, compares: [], writes: puts });
  }
  const { pages } = await store.list(prefixRange('w/i/'));
  let read = 0;
  await assert.rejects(async () => {
    for await (const page of pages) {
      read += page.length;
      await commit(store, putting('w/i/000000', 'newer'));
      await etcd.compact();
    }
  }, Compacted);
  assert.equal(read, LIST_PAGE_ENTRIES);
});

test('F7: one of two endpoints goes silent: calls go on in 2 s, the watch in 13 s, and the lease is kept', async (t) => {
  const etcd = await startEtcd(t);
  const proxies = [await Proxy.open(t, etcd.nodes[0]!.port), await Proxy.open(t, etcd.nodes[0]!.port)];
  const { store } = openStore(
    t,
    proxies.map(({ port }) => `http://127.0.0.1:${port}`),
    { leaseTtlS: 5 },
  );
  const { store: direct } = openStore(t, etcd.endpoints);
  const member = await store.join('w/m/one', text('hello'));
  const watching = new Watching(t, store, member.epoch);
  const first = await commit(store, putting('w/i/a'));
  await eventually(() => watching.revisions.includes(first));
  for (const [silent, other] of [
    [0, 1],
    [1, 0],
  ] as const) {
    proxies[other]!.mode = 'pass';
    proxies[silent]!.mode = 'blackhole';
    const began = performance.now();
    await commit(store, putting('w/i/a'));
    await store.get('w/i/a');
    assert.ok(performance.now() - began < 2_000, `calls went on after ${performance.now() - began} ms`);
    const seen = await commit(direct, putting('w/i/b'));
    await eventually(() => watching.revisions.includes(seen), 13_000 - (performance.now() - began));
    assert.equal(store.health().unreachableSinceMs, undefined);
  }
  assert.equal(member.lost.aborted, false);
  assert.equal((await direct.get('w/m/one')).entry?.createRevision, member.epoch);
  await member.leave();
});

test('a commit whose reply is lost is found out by its write id, and happens once', async (t) => {
  const { store, direct, proxy } = await behindProxy(t);
  const start = await commit(store, putting('w/i/a', 'old'));
  const swallow = async (during: () => Promise<unknown>): Promise<void> => {
    proxy.mode = 'keep-replies';
    const working = during();
    await eventually(async () => (await direct.get('w/i/a')).revision > start || (await direct.get('w/i/b')).entry);
    proxy.mode = 'pass';
    proxy.cut();
    await working;
  };
  let revision = 0n;
  await swallow(async () => (revision = await commit(store, putting('w/i/a', 'new', start))));
  const { entry } = await direct.get('w/i/a');
  assert.equal(entry?.modRevision, revision);
  assert.match(Buffer.from(entry.value).toString(), /new$/);
  assert.equal((await direct.get('w/i/a')).revision, revision, 'nothing was written twice');
});

test('a reply that is lost while others write the same key is told as such, and not as a refusal', async (t) => {
  const { store, direct, proxy } = await behindProxy(t);
  const start = await commit(store, putting('w/i/a', 'old'));
  proxy.mode = 'keep-replies';
  const working = store.commit(putting('w/i/a', 'ours', start)).then(
    () => undefined,
    (error: Error) => error,
  );
  const ours = await eventually(async () => {
    const { entry } = await direct.get('w/i/a');
    return entry && entry.modRevision > start ? entry.modRevision : undefined;
  });
  await commit(direct, putting('w/i/a', 'theirs', ours));
  proxy.mode = 'pass';
  proxy.cut();
  assert.equal((await working)?.name, 'OutcomeLost');
});

test('a publish whose reply is lost is found out even when its head was written again since', async (t) => {
  const { store, direct, proxy } = await behindProxy(t);
  const start = await commit(store, putting('w/c/head', 'v1'));
  const value = text('publish-of-ours v2');
  proxy.mode = 'keep-replies';
  const working = store.commit({
    writeId: 'publish-of-ours',
    compares: [{ key: 'w/c/head', modRevision: start }],
    writes: [
      { kind: 'put', key: 'w/c/head', value },
      { kind: 'put', key: 'u/v/head//2', value },
    ],
  });
  const entry = await eventually(async () => (await direct.get('u/v/head//2')).entry);
  const head = (await direct.get('w/c/head')).entry!;
  await commit(direct, putting('w/c/head', 'v3', head.modRevision));
  proxy.mode = 'pass';
  proxy.cut();
  assert.deepEqual(await working, { ok: true, revision: entry.modRevision });
});

test('an etcd that does not answer is said so, and is back by itself', async (t) => {
  const { store, telemetry, proxy } = await behindProxy(t);
  await commit(store, putting('w/i/a'));
  proxy.mode = 'blackhole';
  await assert.rejects(store.commit(putting('w/i/a')), StoreUnavailable);
  assert.notEqual(store.health().unreachableSinceMs, undefined);
  await eventually(() => telemetry.alarms.raised().some(({ name }) => name === 'STORE_UNAVAILABLE'));
  proxy.mode = 'pass';
  proxy.cut();
  await eventually(() => store.health().unreachableSinceMs === undefined && telemetry.alarms.raised().length === 0);
  await commit(store, putting('w/i/a'));
});

test('an etcd that has never answered is unreachable from the first moment, and not only once a call has failed', async (t) => {
  const etcd = await startEtcd(t);
  await etcd.nodes[0]!.end();
  const { store } = openStore(t, etcd.endpoints);
  assert.notEqual(store.health().unreachableSinceMs, undefined);
  etcd.nodes[0]!.start();
  await eventually(() => store.health().unreachableSinceMs === undefined);
});

test('a revoked lease tells its member, and a full database refuses writes until it has room', async (t) => {
  const etcd = await startEtcd(t, { args: ['--quota-backend-bytes', String(16 * 1_024 * 1_024)] });
  const { store, telemetry } = openStore(t, etcd.endpoints, { leaseTtlS: 2 });
  const member = await store.join('w/m/one', text('hello'));
  const { kvs } = await etcd.admin.kv.range({ key: text('test/w/m/one') });
  await etcd.admin.leaseClient.leaseRevoke({ ID: kvs[0]!.lease });
  await eventually(() => member.lost.aborted);
  assert.equal(await member.rewrite(text('late')), false);
  assert.equal((await store.get('w/m/one')).entry, undefined, 'a late rewrite does not bring the key back');

  const refused = await eventually(async () => {
    const large = Buffer.alloc(512 * 1_024, 7);
    const writes: Write[] = [{ kind: 'put', key: 'w/i/large', value: large }];
    return store.commit({ writeId: '', compares: [], writes }).then(
      () => undefined,
      (error: Error) => error,
    );
  });
  assert.ok(refused instanceof StoreRefused && refused.reason === 'FULL', String(refused));
  assert.equal(store.health().writable, false);
  assert.ok(telemetry.alarms.raised().some(({ name }) => name === 'STORE_FULL'));
  assert.ok((await store.get('w/i/large')).entry, 'reads go on');
  await etcd.compact();
  await etcd.admin.maintenance.defragment();
  const { alarms } = await etcd.admin.maintenance.alarm({ action: 'Get' });
  for (const { memberID } of alarms)
    await etcd.admin.maintenance.alarm({ action: 'Deactivate', alarm: 'Nospace', memberID });
  await eventually(() => store.health().writable && !telemetry.alarms.raised().length, 15_000);
  await commit(store, putting('w/i/a'));
});

test('S14 a store that was restored from an older state is noticed by list and by watch, and followed from there', async (t) => {
  const etcd = await startEtcd(t);
  const [node] = etcd.nodes;
  const { store } = openStore(t, etcd.endpoints);
  await fill(store, 5);
  await node!.end('SIGTERM');
  const backup = await node!.copyData();
  node!.start();
  await etcd.healthy();
  await fill(store, 20);
  const { revision } = await listAll(store);
  const watching = new Watching(t, store, revision);
  await commit(store, putting('w/i/after'));
  await eventually(() => watching.revisions.length === 1);
  await node!.end();
  await node!.restoreData(backup);
  node!.start();
  assert.ok((await eventually(() => watching.error, 20_000)) instanceof RolledBack);
  const now = await listAll(store);
  assert.ok(now.revision < revision);
  const again = new Watching(t, store, now.revision);
  const next = await commit(store, putting('w/i/new'));
  await eventually(() => again.revisions.includes(next));
  assert.equal(again.error, undefined);
});

for (const seenBy of ['listing', 'watch'])
  test(`S14 a store that was cut off while etcd was restored, and finds it further on than it ever was, notices by what its ${seenBy} has shown`, async (t) => {
    const { store, etcd, proxy, direct } = await behindProxy(t);
    const [node] = etcd.nodes;
    await fill(direct, 5);
    await node!.end('SIGTERM');
    const backup = await node!.copyData();
    node!.start();
    await etcd.healthy();
    if (seenBy === 'listing') await fill(direct, 5);
    const { revision } = await listAll(store);
    const watching = new Watching(t, store, revision);
    if (seenBy === 'watch') {
      const lost = await fill(direct, 5);
      await eventually(() => watching.revisions.length === lost.length);
    }
    proxy.mode = 'blackhole';
    await node!.end();
    await node!.restoreData(backup);
    node!.start();
    await etcd.healthy();
    const { revision: behind } = await eventually(() => direct.get('w/i/hot').catch(() => undefined));
    assert.ok(behind < revision + BigInt(watching.revisions.length), 'it went back');
    await fill(direct, 50);
    proxy.mode = 'pass';
    proxy.cut();
    assert.ok((await eventually(() => watching.error, 20_000)) instanceof RolledBack);
    assert.equal(watching.revisions.length, seenBy === 'watch' ? 5 : 0, 'nothing of the other history was told');
  });

test('a token of etcd that runs out is replaced, on calls and on the watch; a wrong password is said and not hammered', async (t) => {
  const etcd = await startEtcd(t, { args: ['--auth-token', 'simple', '--auth-token-ttl', '1'] });
  const { auth } = etcd.admin;
  await auth.userAdd({ name: 'root', password: 'secret' });
  await auth.userGrantRole({ user: 'root', role: 'root' });
  await auth.authEnable();
  const user = { name: 'root', password: 'secret' };
  const connection = { endpoints: etcd.endpoints, tls: undefined, user };
  const { store, telemetry } = openStore(t, [], { connection });
  const first = await commit(store, putting('w/i/a'));
  const watching = new Watching(t, store, first);
  // A token is kept for the time to live after its last use; without any use it runs out.
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  const second = await commit(store, putting('w/i/a'));
  await eventually(() => watching.revisions.includes(second));
  assert.equal(telemetry.alarms.raised().length, 0);

  const wrong = { ...connection, user: { ...user, password: 'guess' } };
  const refused = openStore(t, [], { connection: wrong });
  const began = performance.now();
  await assert.rejects(refused.store.commit(putting('w/i/b')), StoreUnavailable);
  assert.ok(performance.now() - began < 2_000, 'a refusal is not repeated');
  await eventually(() => refused.telemetry.alarms.raised().some(({ name }) => name === 'STORE_DENIED'));
});

test('an etcd that wants certificates is served with the right one, and says no to any other', async (t) => {
  const ca = await authority('etcd-ca');
  const own = await ca.issue('etcd');
  const stranger = await (await authority('other-ca')).issue('stranger');
  const etcd = await startEtcd(t, { tls: { ca, own } });
  const pem = (certificate: Certificate): TlsContents => ({
    cert: text(certificate.cert),
    key: text(certificate.key),
  });
  const openWith = (contents: TlsContents): Opened => {
    const tls = { contents: () => contents, onChange: () => undefined };
    return openStore(t, [], { connection: { endpoints: etcd.endpoints, tls, user: undefined } });
  };
  const mine = await ca.issue('rollcall');
  const { store } = openWith({ ca: text(ca.cert), ...pem(mine) });
  const revision = await commit(store, putting('w/i/a'));
  const watching = new Watching(t, store, revision - 1n);
  await eventually(() => watching.revisions.includes(revision));
  for (const wrong of [
    { ca: text(ca.cert) },
    { ca: text(ca.cert), ...pem(stranger) },
    { ca: text((await authority('etcd-ca')).cert), ...pem(mine) },
  ]) {
    const refused = openWith(wrong);
    await assert.rejects(refused.store.get('w/i/a'), StoreUnavailable);
    assert.notEqual(refused.store.health().unreachableSinceMs, undefined);
    await eventually(() => refused.telemetry.alarms.raised().length === 1);
  }
});

test('certificates towards etcd are replaced while the store runs: open watches go on, and new connections use the new ones', async (t) => {
  const ca = await authority('etcd-ca');
  const etcd = await startEtcd(t, { tls: { ca, own: await ca.issue('etcd') } });
  const contentsOf = ({ cert, key }: Certificate): TlsContents => ({
    ...{ ca: text(ca.cert), cert: text(cert), key: text(key) },
  });
  let contents = contentsOf(await ca.issue('rollcall'));
  const changed = new Listeners<[]>();
  const tls: TlsSource = { contents: () => contents, onChange: (listener, signal) => changed.add(listener, signal) };
  const replace = (by: Certificate): void => {
    contents = contentsOf(by);
    changed.call();
  };
  const { store, telemetry } = openStore(t, [], { connection: { endpoints: etcd.endpoints, tls, user: undefined } });
  const first = await commit(store, putting('w/i/a'));
  const watching = new Watching(t, store, first - 1n);
  await eventually(() => watching.revisions.includes(first));
  replace(await ca.issue('rollcall-2'));
  const second = await commit(store, putting('w/i/b'));
  await eventually(() => watching.revisions.includes(second));
  assert.equal(telemetry.counters.value(COUNTERS.watch_restarts), 0, 'the watch went on');
  replace(await (await authority('other-ca')).issue('stranger'));
  await assert.rejects(store.get('w/i/a'), StoreUnavailable);
  replace(await ca.issue('rollcall-3'));
  const third = await commit(store, putting('w/i/c'));
  await eventually(() => watching.revisions.includes(third));
});
