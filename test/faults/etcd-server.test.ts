import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { ServiceError } from '@grpc/grpc-js';
import { ReportedState } from '../../src/gen/rollcall/v1/instance.js';
import { ResetReason, WatchKind } from '../../src/gen/rollcall/v1/watch.js';
import {
  deregister,
  discover,
  getStatus,
  heartbeat,
  publishConfig,
  register,
  ServicesView,
  text,
  watchServices,
} from '../support/client.js';
import { Dice } from '../support/dice.js';
import { type EtcdCluster, startEtcd } from '../support/etcd.js';
import { History, readConfig, readInstance } from '../support/history.js';
import { Proxy } from '../support/proxy.js';
import { putIntoEtcd } from '../support/schema-1.js';
import {
  detailsOf,
  eventually,
  failure,
  launchServer,
  onEtcd,
  runProgram,
  type ServerProcess,
  startServerOn,
} from '../support/server.js';

const LONG = process.env['ROLLCALL_TEST_LONG'] !== undefined;
const ABORTED = 10;
const UNAVAILABLE = 14;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const instance = (id: string, extra: object = {}): object => ({
  service: 'pay',
  id,
  address: '10.0.0.1',
  port: 80,
  ...extra,
});

/** Does something again and again, until it is told to stop; `stop` waits for the last time. */
function repeat(t: TestContext, everyMs: number, act: () => unknown): { stop(): Promise<void> } {
  let going = true;
  const running = (async () => {
    while (going) {
      await pause(everyMs);
      if (going) await act();
    }
  })();
  const stop = async (): Promise<void> => {
    going = false;
    await running;
  };
  t.after(stop);
  return { stop };
}

/** Every member behind a proxy of its own. */
async function behindProxies(
  t: TestContext,
  members: number,
): Promise<{ etcd: EtcdCluster; proxies: Proxy[]; urls: string[] }> {
  const etcd = await startEtcd(t, { members });
  const proxies = await Promise.all(etcd.nodes.map(({ port }) => Proxy.open(t, port)));
  return { etcd, proxies, urls: proxies.map(({ port }) => `http://127.0.0.1:${port}`) };
}

/** A client that follows a service by the one rule, over one stream after the other, and remembers every view. */
class Follower {
  readonly views: { revision: bigint; shown: Map<string, bigint> }[] = [];
  streams = 0;
  #stopped = false;
  readonly #running: Promise<void>;

  constructor(
    t: TestContext,
    private readonly server: ServerProcess,
  ) {
    this.#running = this.#follow();
    t.after(() => this.stop());
  }

  async #follow(): Promise<void> {
    const view = new ServicesView();
    let resumeToken = '';
    while (!this.#stopped) {
      const watch = watchServices(this.server, { services: ['pay'], resumeToken });
      this.streams++;
      let taken = 0;
      await eventually(
        () => {
          for (const message of watch.messages.slice(taken)) {
            taken++;
            if (!view.apply(message)) continue;
            const shown = [...view.instances.values()].map(({ id, revision }): [string, bigint] => [id, revision]);
            this.views.push({ revision: view.revision, shown: new Map(shown) });
            ({ resumeToken } = message);
          }
          return watch.ended || this.#stopped;
        },
        120_000,
        5,
      );
      watch.close();
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }
}

const CHURN_MS = LONG ? 30_000 : 10_000;
test(`W1 W2: with etcd cut off every 350 ms and compacted every 1.5 s, every view of every watcher is that of the store (${CHURN_MS / 1_000} s)`, async (t) => {
  const { etcd, proxies, urls } = await behindProxies(t, 1);
  const history = await History.open(etcd);
  t.after(() => history.close());
  const server = await startServerOn(t, urls);
  const followers = Array.from({ length: 4 }, () => new Follower(t, server));
  const dice = new Dice(1);
  let writes = 0;
  const writers = Array.from({ length: 16 }, (_, w) =>
    repeat(t, 20, async () => {
      const id = `n${w}-${Math.floor(dice.between(0, 6))}`;
      const write = dice.chance(0.2)
        ? deregister(server, { service: 'pay', id })
        : register(server, { instance: instance(id, { version: String(writes) }) });
      await write.then(
        () => writes++,
        () => undefined,
      );
    }),
  );
  const cutting = repeat(t, 350, () => proxies[0]!.cut());
  const compacting = repeat(t, 1_500, () => etcd.compact());
  await pause(CHURN_MS);
  await Promise.all([cutting, compacting, ...writers].map((one) => one.stop()));
  const { revision } = await eventually(() => register(server, { instance: instance('end') }).catch(() => undefined));
  await history.reached(revision);
  for (const follower of followers) await eventually(() => follower.views.at(-1)!.revision >= revision, 20_000);

  await Promise.all(followers.map((follower) => follower.stop()));
  const { instances } = await discover(server, { service: 'pay', barrier: true });
  const expected = history.shownAt('default', 'pay', revision);
  assert.deepEqual(new Map(instances.map((one) => [one.id, one.revision])), expected);
  assert.ok(writes > CHURN_MS / 30, `${writes} writes happened`);
  let looked = 0;
  const known = new Map<bigint, Map<string, bigint>>();
  for (const { views } of followers) {
    let before = 0n;
    for (const { revision: at, shown } of views) {
      assert.ok(at >= before, 'the revision of a stream never goes back');
      before = at;
      const truth = known.get(at) ?? history.shownAt('default', 'pay', at);
      known.set(at, truth);
      assert.deepEqual(shown, truth, `the view at ${at}`);
      looked++;
    }
  }
  assert.ok(looked > 100, `${looked} views were looked at`);
  const restarts = server.log.filter((line) => line.includes('the watch of etcd ended')).length;
  assert.ok(restarts > 5, `the watch of etcd was cut ${restarts} times`);
});

/** What a client did, as it saw it. */
interface Op {
  readonly key: string;
  readonly uid: string;
  readonly kind: 'register' | 'deregister' | 'publish';
  readonly expected?: bigint;
  readonly began: number;
  ended: number;
  outcome: 'ok' | 'refused' | 'unknown';
  revision: bigint;
}

const RACE_MS = LONG ? 40_000 : 15_000;
test(`Register, Deregister and PublishConfig are linearizable while connections are cut and leaders are killed (${RACE_MS / 1_000} s)`, async (t) => {
  const { etcd, proxies, urls } = await behindProxies(t, 3);
  const server = await startServerOn(t, urls);
  const dice = new Dice(2);
  const ops: Op[] = [];
  let next = 0;
  const run = async (op: Op, write: Promise<{ revision: bigint }>): Promise<void> => {
    ops.push(op);
    try {
      const { revision } = await write;
      Object.assign(op, { outcome: 'ok', revision });
    } catch (error) {
      const code: number = (error as ServiceError).code;
      const { reason } = detailsOf(error as ServiceError);
      const isRefusal = reason !== 'OUTCOME_LOST' && code !== UNAVAILABLE && code !== 4;
      op.outcome = isRefusal ? 'refused' : 'unknown';
    }
    op.ended = performance.now();
  };
  const versions = new Map<string, bigint>();
  const clients = Array.from({ length: 8 }, () =>
    repeat(t, 5, async () => {
      const uid = `op${++next}`;
      const open = { uid, began: performance.now(), ended: Infinity, outcome: 'unknown' as const, revision: 0n };
      if (dice.chance(0.5)) {
        const id = `p${Math.floor(dice.between(0, 4))}`;
        const op: Op = { ...open, key: `w/i/default/pay/${id}`, kind: dice.chance(0.3) ? 'deregister' : 'register' };
        const write =
          op.kind === 'deregister'
            ? deregister(server, { service: 'pay', id })
            : register(server, { instance: instance(id, { version: uid }), incarnation: uid });
        await run(op, write);
      } else {
        const name = `k${Math.floor(dice.between(0, 4))}`;
        const expected = dice.chance(0.5) ? (versions.get(name) ?? 0n) : undefined;
        const op: Op = {
          ...open,
          key: `w/c/default/default/${name}`,
          kind: 'publish',
          ...(expected !== undefined && { expected }),
        };
        const draft = { key: name, content: text(uid), ...(expected !== undefined && { expectedVersion: expected }) };
        await run(
          op,
          publishConfig(server, { configs: [draft], comment: uid }).then((answer) => {
            versions.set(name, answer.configs[0]!.version);
            return answer;
          }),
        );
      }
    }),
  );
  const cutting = repeat(t, 400, () => dice.pick(proxies).cut());
  const killing = repeat(t, 4_000, async () => {
    const leader = await etcd.leader();
    await leader.end();
    await pause(2_000);
    leader.start();
    await etcd.healthy();
  });
  await pause(RACE_MS);
  await Promise.all([cutting, killing, ...clients].map((one) => one.stop()));
  await etcd.healthy();
  const history = await History.open(etcd);
  t.after(() => history.close());
  await history.reached(
    await eventually(() =>
      discover(server, { service: 'x', barrier: true }).then(
        ({ revision }) => revision,
        () => undefined,
      ),
    ),
  );

  const byUid = new Map(ops.map((op) => [op.uid, op]));
  const ok = ops.filter(({ outcome }) => outcome === 'ok');
  assert.ok(ok.length > 200, `${ok.length} writes were acknowledged`);
  assert.ok(
    ops.some(({ outcome }) => outcome === 'unknown'),
    'some outcomes were unknown, or nothing was cut',
  );
  // Whoever ended before another began has the older revision: the order in real time is that of the store.
  const written = ok.filter(({ kind }) => kind !== 'deregister').sort((a, b) => a.ended - b.ended);
  let newest = 0n;
  const byBegin = [...written].sort((a, b) => a.began - b.began);
  let ended = 0;
  for (const op of byBegin) {
    while (ended < written.length && written[ended]!.ended < op.began) {
      if (written[ended]!.revision > newest) newest = written[ended]!.revision;
      ended++;
    }
    assert.ok(op.revision > newest, `${op.uid} at ${op.revision} began after ${newest} was acknowledged`);
  }
  const happened = new Map<string, bigint>();
  for (const [key, states] of history.keys) {
    let version = 0n;
    for (const { revision, value } of states) {
      if (!value) continue;
      if (key.startsWith('w/c/')) {
        const { config } = readConfig(value);
        const op = byUid.get(config.comment);
        assert.ok(op && op.key === key, `${key} at ${revision} was written by nobody`);
        assert.ok(!happened.has(op.uid), `${op.uid} happened twice`);
        assert.notEqual(op.outcome, 'refused', `${op.uid} was refused, and happened`);
        assert.equal(config.version, version + 1n, `${key} at ${revision}`);
        if (op.expected !== undefined)
          assert.equal(op.expected, version, `${op.uid} was published over another version`);
        ({ version } = config);
        happened.set(op.uid, revision);
      } else if (key.startsWith('w/i/')) {
        const record = readInstance(value);
        if (record.tombstone || record.silent || record.visibleRevision) continue;
        const op = byUid.get(record.instance.version);
        assert.ok(op && op.key === key, `${key} at ${revision} was written by nobody`);
        assert.notEqual(op.outcome, 'refused', `${op.uid} was refused, and happened`);
        happened.set(op.uid, revision);
      }
    }
  }
  for (const { uid, kind, revision, key } of ok) {
    if (kind === 'deregister') {
      const state = history.keys.get(key)?.find((one) => one.revision === revision);
      assert.ok(state?.value && readInstance(state.value).tombstone, `the removal ${uid} is at ${revision}`);
    } else {
      assert.equal(happened.get(uid), revision, `${uid} is where its answer says`);
    }
  }
  // A refusal of a version must have had its reason while the call was made.
  for (const op of ops) {
    if (op.kind !== 'publish' || op.outcome !== 'refused') continue;
    const others = ops.some(
      (other) => other.key === op.key && other !== op && happened.has(other.uid) && other.began < op.ended,
    );
    assert.ok(others, `${op.uid} was refused, and nobody else wrote`);
  }
});

const OUTAGE_MS = LONG ? 60_000 : 10_000;
test(`without a quorum for ${OUTAGE_MS / 1_000} s reads and beats go on, writes say when to come back, nobody expires, and all is well again by itself`, async (t) => {
  const etcd = await startEtcd(t, { members: 3 });
  const server = await startServerOn(t, etcd.endpoints);
  const ttl = { seconds: 4n, nanos: 0 };
  for (const id of ['alive', 'dead']) await register(server, { instance: instance(id, { ttl }), incarnation: id });
  const beat = () => heartbeat(server, { instances: [{ service: 'pay', id: 'alive', incarnation: 'alive' }] });
  const watch = watchServices(server, { services: ['pay'] });
  await watch.seen(({ revision }) => revision > 0n);
  // Beats are acknowledged until the fence, which falls 28.5 s after the last confirmed sign of life.
  const refusedAt: number[] = [];
  const beating = repeat(t, 1_000, async () => {
    const { rejected } = await beat().catch((error: ServiceError) => {
      assert.equal(detailsOf(error).reason, 'FENCED');
      refusedAt.push(performance.now());
      return { rejected: [] };
    });
    assert.deepEqual(rejected, []);
  });
  const stopped = etcd.nodes.slice(0, 2);
  await Promise.all(stopped.map((node) => node.pause()));
  const stoppedAt = performance.now();
  t.after(() => stopped.forEach((node) => node.resume()));
  const error = await failure(register(server, { instance: instance('late') }));
  assert.equal(error.code, UNAVAILABLE);
  assert.deepEqual([detailsOf(error).reason, detailsOf(error).retry], ['STORE_UNAVAILABLE', true]);
  await eventually(async () => (await getStatus(server)).alarms.some(({ name }) => name === 'STORE_UNAVAILABLE'));
  const { store } = await getStatus(server);
  assert.deepEqual([store?.reachable, store?.writable], [false, false]);
  const until = performance.now() + OUTAGE_MS;
  while (performance.now() < until) {
    const { instances, staleFor } = await discover(server, { service: 'pay' });
    assert.deepEqual(
      instances.map(({ id }) => id),
      ['alive', 'dead'],
    );
    assert.ok(staleFor !== undefined, 'an answer says how old it may be');
    await pause(500);
  }
  const resumedAt = performance.now();
  for (const node of stopped) node.resume();
  await eventually(() => register(server, { instance: instance('late') }).catch(() => undefined), 20_000);
  await eventually(async () => (await discover(server, { service: 'pay' })).staleFor === undefined);
  await eventually(async () => (await getStatus(server)).alarms.length === 0);
  assert.equal((await getStatus(server)).store?.writable, true);
  const gone = await watch.seen(({ removed }) => removed.some(({ id }) => id === 'dead'), 60_000);
  assert.ok(gone.removed.every(({ id }) => id !== 'alive'));
  await beating.stop();
  // A leader of etcd that was stopped may end leases as it goes on, before it learns that another one leads.
  const lost = server.log.some((line) => line.includes('the membership was lost'));
  for (const at of refusedAt)
    assert.ok(at - stoppedAt > 24_000 || (lost && at > resumedAt), `refused after ${at - stoppedAt} ms`);
  assert.ok(watch.messages.every(({ removed }) => removed.every(({ id }) => id !== 'alive')));
});

test('when the leader of etcd is killed the next Register is there within 6 s, and a member that comes back is used', async (t) => {
  const etcd = await startEtcd(t, { members: 3 });
  const server = await startServerOn(t, etcd.endpoints);
  await register(server, { instance: instance('p1') });
  for (let round = 0; round < 2; round++) {
    const leader = await etcd.leader();
    await leader.end();
    const began = performance.now();
    await eventually(() => register(server, { instance: instance(`r${round}`) }).catch(() => undefined));
    assert.ok(performance.now() - began < 6_000, `after ${performance.now() - began} ms`);
    leader.start();
    await etcd.healthy();
  }
  const { instances } = await discover(server, { service: 'pay', barrier: true });
  assert.deepEqual(
    instances.map(({ id }) => id),
    ['p1', 'r0', 'r1'],
  );
});

test('F10: an etcd that is restored from an older state: a new epoch, every watch begins anew, and clients register again', async (t) => {
  const etcd = await startEtcd(t);
  const [node] = etcd.nodes;
  const server = await startServerOn(t, etcd.endpoints);
  await register(server, { instance: instance('old') });
  const { store: before } = await getStatus(server);
  await node!.end('SIGTERM');
  const backup = await node!.copyData();
  node!.start();
  await etcd.healthy();
  await eventually(() => register(server, { instance: instance('newer'), incarnation: 'n' }).catch(() => undefined));
  for (let i = 0; i < 10; i++) await register(server, { instance: instance('old', { version: `${i}` }) });
  const watch = watchServices(server, { services: ['pay'] });
  await watch.seen(({ upserted }) => upserted.some(({ id }) => id === 'newer'));
  await node!.end();
  await node!.restoreData(backup);
  node!.start();
  const error = await watch.failed(30_000);
  assert.deepEqual([error.code, detailsOf(error).reason], [UNAVAILABLE, 'STORE_REPLACED']);
  const again = await eventually(async () => {
    const next = watchServices(server, { services: ['pay'], resumeToken: watch.token });
    return next.seen(({ revision }) => revision > 0n, 2_000).catch(() => undefined);
  }, 20_000);
  assert.deepEqual(
    [again.kind, again.resetReason],
    [WatchKind.WATCH_KIND_SNAPSHOT, ResetReason.RESET_REASON_OTHER_STORE],
  );
  assert.deepEqual(
    again.upserted.map(({ id }) => id),
    ['old'],
  );
  const { store: after } = await getStatus(server);
  assert.notEqual(after!.epoch, before!.epoch);
  // The server has to join again; until then it takes no heartbeats.
  const { rejected } = await eventually(
    () =>
      heartbeat(server, { instances: [{ service: 'pay', id: 'newer', incarnation: 'n' }] }).catch(
        (error: ServiceError) => {
          assert.equal(detailsOf(error).reason, 'FENCED');
          return undefined;
        },
      ),
    20_000,
  );
  assert.equal(rejected.length, 1, 'a beat tells the process to register again');
  await register(server, { instance: instance('newer'), incarnation: 'n' });
});

test('a prefix of schema 1 is refused by serve and by store new-epoch, with a way out, and stays unchanged', async (t) => {
  const etcd = await startEtcd(t);
  await putIntoEtcd(etcd.admin, 'rollcall/');
  const all = async (): Promise<string> => {
    const { kvs } = await etcd.admin.getAll().prefix('rollcall/').exec();
    return JSON.stringify(
      kvs.map(({ key, value, mod_revision }) => [key.toString(), value.toString('hex'), mod_revision]),
    );
  };
  const before = await all();
  for (const command of [
    ['serve', '--grpc-port', '0'],
    ['store', 'new-epoch'],
  ]) {
    const { status, stderr } = runProgram(...command, ...onEtcd(etcd.endpoints));
    assert.equal(status, 1, stderr);
    assert.match(stderr, /rollcall: the store was written with schema 1; this program reads schema 2 and newer/);
    assert.match(stderr, /another --etcd-prefix.*Instances register again by themselves/);
    assert.equal(await all(), before, command.join(' '));
  }
});

test('store new-epoch names the servers that run, and they start over by themselves', async (t) => {
  const etcd = await startEtcd(t);
  const server = await startServerOn(t, etcd.endpoints, '--node', 'rc-1');
  await register(server, { instance: instance('p1') });
  const watch = watchServices(server, { services: ['pay'] });
  await watch.seen(({ revision }) => revision > 0n);
  const { status, stdout, stderr } = runProgram('store', 'new-epoch', ...onEtcd(etcd.endpoints));
  assert.equal(status, 0, stderr);
  assert.match(stderr, /the store has members: rc-1\./);
  const epoch = /new epoch (\S+)/.exec(stdout)?.[1];
  assert.equal(detailsOf(await watch.failed()).reason, 'STORE_REPLACED');
  await eventually(async () => (await getStatus(server)).store?.epoch === epoch);
  const { instances } = await discover(server, { service: 'pay' });
  assert.deepEqual(
    instances.map(({ id }) => id),
    ['p1'],
  );
});

test('a server that is stopped before etcd was there says that it stops, and exits 0', async (t) => {
  const etcd = await startEtcd(t);
  await etcd.nodes[0]!.end();
  const server = launchServer(onEtcd(etcd.endpoints));
  t.after(() => server.process.kill('SIGKILL'));
  await eventually(() => server.log.some((line) => line.includes('connecting to etcd')));
  server.process.kill('SIGTERM');
  assert.equal(await server.exited, 0);
  assert.match(server.log.at(-1)!, /stopped before the start was over/);
});

test('a server that starts while etcd is out waits, alive and not ready, and serves once etcd is there', async (t) => {
  const { etcd, proxies, urls } = await behindProxies(t, 1);
  const first = await startServerOn(t, urls);
  await register(first, { instance: instance('p1', { reported: { state: ReportedState.REPORTED_STATE_HEALTHY } }) });
  await first.stop();
  await etcd.nodes[0]!.end();
  const starting = startServerOn(t, urls);
  let listening = false;
  void starting.then(() => (listening = true));
  await eventually(() => proxies[0]!.connections > 0);
  await pause(2_000);
  assert.equal(listening, false, 'it does not say that it listens before it can answer');
  etcd.nodes[0]!.start();
  const server = await starting;
  assert.deepEqual(
    (await discover(server, { service: 'pay' })).instances.map(({ id }) => id),
    ['p1'],
  );
});

test('a delayed Register cannot come between: the second of two creates is told what stands there', async (t) => {
  const etcd = await startEtcd(t);
  const server = await startServerOn(t, etcd.endpoints);
  const results = await Promise.all(
    ['a', 'b', 'c'].map((incarnation) =>
      register(server, { instance: instance('p1'), incarnation, replacesRevision: 0n }).catch(
        (error: ServiceError) => error,
      ),
    ),
  );
  const refused = results.filter((one): one is ServiceError => 'code' in one);
  assert.equal(refused.length, 2);
  for (const error of refused) assert.deepEqual([error.code, detailsOf(error).reason], [ABORTED, 'REVISION_MISMATCH']);
});
