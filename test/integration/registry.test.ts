import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StreamHeartbeatsRequest, type StreamHeartbeatsResponse } from '../../src/gen/rollcall/v1/registry_service.js';
import { Health, HealthReason, Liveness, ReportedState } from '../../src/gen/rollcall/v1/instance.js';
import { RejectionReason } from '../../src/gen/rollcall/v1/heartbeat.js';
import {
  deregister,
  discover,
  getInstance,
  getStatus,
  heartbeat,
  listNamespaces,
  listServices,
  register,
  watchServices,
} from '../support/client.js';
import { detailsOf, eventually, failure, type ServerProcess, startServer, temporaryFolder } from '../support/server.js';

const { REJECTION_REASON_NOT_REGISTERED: NOT_REGISTERED, REJECTION_REASON_SUPERSEDED: SUPERSEDED } = RejectionReason;
const { REJECTION_REASON_DEREGISTERED: DEREGISTERED } = RejectionReason;
const FAILED_PRECONDITION = 9;
const TTL_2S = { seconds: 2n, nanos: 0 };
const STARTUP_UNHEALTHY = { state: ReportedState.REPORTED_STATE_STARTING, note: 'warming up' };

const ids = ({ instances }: { instances: readonly { id: string }[] }): string[] => instances.map(({ id }) => id).sort();
const pay = (id: string, more: object = {}): object => ({
  service: 'pay',
  id,
  address: '10.0.0.7',
  port: 8080,
  ...more,
});

test('E1 I3: the main job: register, beat, discover, fall silent, expire, register again', async (t) => {
  const server = await startServer(t);
  const watch = watchServices(server, { services: ['pay'] });
  const first = await register(server, { instance: pay('p1', { ttl: TTL_2S }), incarnation: 'run-1' });
  assert.equal(first.instance?.health, Health.HEALTH_HEALTHY);
  assert.ok(first.revision > 0n);
  assert.equal(first.heartbeatInterval?.seconds, 0n);
  assert.ok(Math.abs(first.heartbeatInterval.nanos - 666_666_666) < 1_000_000);
  assert.deepEqual(ids(await discover(server, { service: 'pay' })), ['p1']);
  assert.deepEqual((await heartbeat(server, { instances: [{ service: 'pay', id: 'p1' }] })).rejected, []);

  const registered = performance.now();
  const silent = await eventually(async () => {
    const { instance } = await getInstance(server, { service: 'pay', id: 'p1' });
    return instance?.health === Health.HEALTH_UNHEALTHY ? instance : undefined;
  });
  const silentAfterMs = performance.now() - registered;
  assert.ok(silentAfterMs >= 1_900, `UNHEALTHY after ${silentAfterMs} ms, before its ttl`);
  assert.equal(silent.healthReason, HealthReason.HEALTH_REASON_SILENT);
  const hidden = await discover(server, { service: 'pay' });
  assert.deepEqual([ids(hidden), hidden.hiddenCount], [[], 1]);
  const shown = await discover(server, { service: 'pay', filter: { healthStates: [Health.HEALTH_UNHEALTHY] } });
  assert.deepEqual(ids(shown), ['p1']);

  const { code } = await eventually(
    () => failure(getInstance(server, { service: 'pay', id: 'p1' })).catch(() => undefined),
    20_000,
  );
  assert.equal(code, 5);
  const { rejected } = await heartbeat(server, { instances: [{ service: 'pay', id: 'p1', incarnation: 'run-1' }] });
  assert.deepEqual(
    rejected.map(({ index, service, id, reason }) => [index, service, id, reason]),
    [[0, 'pay', 'p1', NOT_REGISTERED]],
  );
  const again = await register(server, { instance: pay('p1', { ttl: TTL_2S }), incarnation: 'run-1' });
  assert.ok(again.revision > first.revision);
  assert.deepEqual(ids(await discover(server, { service: 'pay' })), ['p1']);
  watch.close();
});

test('E1: one beat heals a silent instance', async (t) => {
  const server = await startServer(t);
  const watch = watchServices(server, { services: ['pay'] });
  const { revision } = await register(server, { instance: pay('p1', { ttl: TTL_2S }) });
  await watch.reached(revision);
  await watch.seen(({ removed }) => removed.length > 0);
  assert.deepEqual((await heartbeat(server, { instances: [{ service: 'pay', id: 'p1' }] })).rejected, []);
  const { instance } = await getInstance(server, { service: 'pay', id: 'p1' });
  assert.equal(instance?.health, Health.HEALTH_HEALTHY);
  await watch.seen(({ upserted, revision: at }) => at > revision && upserted.length > 0);
  watch.close();
});

test('E3: a beat keeps an instance healthy for many of its ttl', async (t) => {
  const server = await startServer(t);
  await register(server, { instance: pay('p1', { ttl: TTL_2S }), incarnation: 'a' });
  const { revision } = await getInstance(server, { service: 'pay', id: 'p1' });
  const until = performance.now() + 5_000;
  while (performance.now() < until) {
    const { rejected } = await heartbeat(server, { instances: [{ service: 'pay', id: 'p1', incarnation: 'a' }] });
    assert.deepEqual(rejected, []);
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
  const after = await getInstance(server, { service: 'pay', id: 'p1' });
  assert.equal(after.instance?.health, Health.HEALTH_HEALTHY);
  assert.equal(after.instance.revision, revision, 'beats write nothing');
});

test('I1 I2: a repeated Register changes nothing, other content is a change, another incarnation takes over', async (t) => {
  const server = await startServer(t);
  const instance = pay('p1', { tags: ['b', 'a'], metadata: new Map([['k', 'v']]) });
  const first = await register(server, { instance, incarnation: 'run-1' });
  assert.deepEqual(first.instance?.tags, ['a', 'b']);
  assert.deepEqual((await register(server, { instance, incarnation: 'run-1' })).revision, first.revision);
  const changed = await register(server, { instance: pay('p1', { version: '2' }), incarnation: 'run-1' });
  assert.ok(changed.revision > first.revision);
  assert.deepEqual(changed.instance?.registerTime, first.instance.registerTime);

  const taken = await register(server, { instance: pay('p1', { version: '2' }), incarnation: 'run-2' });
  assert.equal(taken.instance?.incarnation, 'run-2');
  const { rejected } = await heartbeat(server, {
    instances: [
      { service: 'pay', id: 'p1', incarnation: 'run-1' },
      { service: 'pay', id: 'p1', incarnation: 'run-2' },
      { service: 'pay', id: 'nobody' },
      { service: 'pay', id: 'p1' },
    ],
  });
  assert.deepEqual(
    rejected.map(({ index, reason }) => [index, reason]),
    [
      [0, SUPERSEDED],
      [2, NOT_REGISTERED],
    ],
  );
});

test('I2: replaces_revision keeps a delayed Register from taking the id back', async (t) => {
  const server = await startServer(t);
  const first = await register(server, { instance: pay('p1'), incarnation: 'run-1', replacesRevision: 0n });
  const second = await register(server, {
    instance: pay('p1'),
    incarnation: 'run-2',
    replacesRevision: first.revision,
  });
  const late = await failure(register(server, { instance: pay('p1'), incarnation: 'run-1', replacesRevision: 0n }));
  assert.equal(late.code, 10);
  const { reason, metadata } = detailsOf(late);
  assert.equal(reason, 'REVISION_MISMATCH');
  assert.deepEqual(
    [metadata.get('revision'), metadata.get('incarnation'), metadata.get('state')],
    [String(second.revision), 'run-2', 'REGISTERED'],
  );
  // It has no effect on one's own record.
  await register(server, { instance: pay('p1'), incarnation: 'run-2', replacesRevision: 0n });
  const removed = await deregister(server, { service: 'pay', id: 'p1' });
  const tombstone = await failure(
    register(server, { instance: pay('p1'), incarnation: 'run-3', replacesRevision: 0n }),
  );
  assert.equal(detailsOf(tombstone).metadata.get('state'), 'REMOVED');
  await register(server, { instance: pay('p1'), incarnation: 'run-3', replacesRevision: removed.revision });
});

test('I2 I3: a repeated Deregister answers the same, another incarnation is refused, no beat brings the instance back', async (t) => {
  const server = await startServer(t);
  await register(server, { instance: pay('p1'), incarnation: 'run-1' });
  const refused = await failure(deregister(server, { service: 'pay', id: 'p1', incarnation: 'run-0' }));
  assert.deepEqual([refused.code, detailsOf(refused).reason], [9, 'INCARNATION_MISMATCH']);
  const { revision } = await deregister(server, { service: 'pay', id: 'p1', incarnation: 'run-1' });
  assert.equal((await deregister(server, { service: 'pay', id: 'p1', incarnation: 'run-1' })).revision, revision);
  assert.deepEqual(ids(await discover(server, { service: 'pay' })), []);
  const { rejected } = await heartbeat(server, { instances: [{ service: 'pay', id: 'p1', incarnation: 'run-1' }] });
  assert.equal(rejected[0]?.reason, DEREGISTERED);
  assert.deepEqual(ids(await discover(server, { service: 'pay', barrier: true })), []);
  const gone = detailsOf(await failure(getInstance(server, { service: 'pay', id: 'p1' }))).metadata;
  assert.deepEqual([gone.get('removal_reason'), gone.get('author')], ['DEREGISTERED', undefined]);
  await register(server, { instance: pay('p2') });
  await deregister(server, { service: 'pay', id: 'p2', author: 'jane', comment: 'the disk is broken' });
  const { metadata } = detailsOf(await failure(getInstance(server, { service: 'pay', id: 'p2' })));
  assert.deepEqual([metadata.get('author'), metadata.get('comment')], ['jane', 'the disk is broken']);
  assert.ok(server.log.some((line) => line.includes('"comment":"the disk is broken"')));
  const never = await failure(deregister(server, { service: 'pay', id: 'never' }));
  assert.deepEqual([never.code, detailsOf(never).reason], [5, 'INSTANCE_NOT_FOUND']);
});

test('an instance reports its own state, in Register and in a beat, and a new run starts fresh', async (t) => {
  const server = await startServer(t);
  const started = await register(server, { instance: pay('p1', { reported: STARTUP_UNHEALTHY }), incarnation: 'a' });
  assert.equal(started.instance?.health, Health.HEALTH_UNHEALTHY);
  assert.equal(started.instance.healthReason, HealthReason.HEALTH_REASON_REPORTED);
  assert.deepEqual(ids(await discover(server, { service: 'pay' })), []);
  const beat = async (state: ReportedState): Promise<Health | undefined> => {
    const item = { service: 'pay', id: 'p1', incarnation: 'a', reported: { state, note: '' } };
    assert.deepEqual((await heartbeat(server, { instances: [item] })).rejected, []);
    return (await getInstance(server, { service: 'pay', id: 'p1' })).instance?.health;
  };
  assert.equal(await beat(ReportedState.REPORTED_STATE_HEALTHY), Health.HEALTH_HEALTHY);
  const { revision } = (await getInstance(server, { service: 'pay', id: 'p1' })).instance!;
  await beat(ReportedState.REPORTED_STATE_HEALTHY);
  assert.equal((await getInstance(server, { service: 'pay', id: 'p1' })).instance!.revision, revision);
  assert.equal(await beat(ReportedState.REPORTED_STATE_DEGRADED), Health.HEALTH_DEGRADED);
  assert.deepEqual(ids(await discover(server, { service: 'pay' })), ['p1'], 'degraded instances are shown');
  assert.equal(await beat(ReportedState.REPORTED_STATE_DRAINING), Health.HEALTH_DRAINING);
  assert.deepEqual(ids(await discover(server, { service: 'pay' })), []);
  const next = await register(server, { instance: pay('p1'), incarnation: 'b' });
  assert.equal(next.instance?.health, Health.HEALTH_HEALTHY);
});

test('E1: a STATIC instance needs no beats and stays until it is deregistered', async (t) => {
  const server = await startServer(t);
  const answer = await register(server, {
    instance: {
      service: 'db',
      id: 'main',
      address: '10.0.0.9',
      port: 5432,
      ttl: TTL_2S,
      liveness: Liveness.LIVENESS_STATIC,
    },
  });
  assert.equal(answer.heartbeatInterval, undefined);
  await register(server, { instance: pay('p1', { ttl: TTL_2S }) });
  // The one beside it is judged; by then the static one would have been.
  await eventually(async () => {
    const { instance } = await getInstance(server, { service: 'pay', id: 'p1' });
    return instance?.health === Health.HEALTH_UNHEALTHY;
  });
  assert.deepEqual(ids(await discover(server, { service: 'db' })), ['main']);
  await deregister(server, { service: 'db', id: 'main' });
  assert.deepEqual(ids(await discover(server, { service: 'db' })), []);
});

test('StreamHeartbeats answers each request once, in order', async (t) => {
  const server = await startServer(t);
  await register(server, { instance: pay('p1'), incarnation: 'a' });
  const stream = server.registry.streamHeartbeats();
  const answers: StreamHeartbeatsResponse[] = [];
  stream.on('data', (answer: StreamHeartbeatsResponse) => answers.push(answer));
  const ended = new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject));
  for (let i = 0; i < 100; i++) {
    const id = i % 2 === 0 ? 'p1' : `unknown-${i}`;
    stream.write(StreamHeartbeatsRequest.fromPartial({ instances: [{ service: 'pay', id }] }));
  }
  stream.end();
  await ended;
  assert.equal(answers.length, 100);
  answers.forEach(({ rejected }, i) =>
    assert.deepEqual(
      rejected.map(({ id }) => id),
      i % 2 === 0 ? [] : [`unknown-${i}`],
    ),
  );
});

test('a shutdown ends streams of heartbeats with a reason, also while answers are being written', async (t) => {
  const server = await startServer(t);
  const request = StreamHeartbeatsRequest.fromPartial({
    instances: Array.from({ length: 200 }, (_, i) => ({ service: 'pay', id: `unknown-${i}` })),
  });
  let answered = 0;
  const ends = Array.from({ length: 100 }, () => {
    const stream = server.registry.streamHeartbeats();
    stream.on('data', () => {
      answered++;
      stream.write(request); // at any moment, some streams have an answer on its way
    });
    stream.write(request);
    return failure(new Promise<never>((_, reject) => stream.on('error', reject)));
  });
  await eventually(() => answered > 500);
  assert.equal(await server.stop(), 0);
  for (const error of await Promise.all(ends)) assert.equal(detailsOf(error).reason, 'SHUTTING_DOWN');
});

test('StreamHeartbeats ends with the field that is wrong in a request without items', async (t) => {
  const server = await startServer(t);
  const stream = server.registry.streamHeartbeats();
  stream.on('data', () => undefined);
  const failed = new Promise<never>((_, reject) => stream.on('error', reject));
  stream.write(StreamHeartbeatsRequest.fromPartial({ instances: [] }));
  const error = await failure(failed);
  assert.deepEqual([error.code, detailsOf(error).fields], [3, ['instances']]);
});

test('Discover filters by tags, metadata, version, locality and health', async (t) => {
  const server = await startServer(t);
  const locality = { region: 'eu', zone: 'eu-1', subZone: '' };
  await register(server, {
    instance: pay('a', { tags: ['blue', 'v2'], metadata: new Map([['team', 'x']]), version: '2', locality }),
  });
  await register(server, { instance: pay('b', { tags: ['blue'], metadata: new Map([['team', 'y']]), version: '1' }) });
  const found = async (filter: object): Promise<string[]> => ids(await discover(server, { service: 'pay', filter }));
  assert.deepEqual(await found({}), ['a', 'b']);
  assert.deepEqual(await found({ tags: ['blue'] }), ['a', 'b']);
  assert.deepEqual(await found({ tags: ['blue', 'v2'] }), ['a']);
  assert.deepEqual(await found({ metadata: new Map([['team', 'y']]) }), ['b']);
  assert.deepEqual(await found({ version: '2' }), ['a']);
  assert.deepEqual(await found({ locality: { region: 'eu' } }), ['a']);
  assert.deepEqual(await found({ locality: { region: 'eu', zone: 'eu-2' } }), []);
  assert.deepEqual(await found({ healthStates: [Health.HEALTH_UNHEALTHY] }), []);
  assert.deepEqual(ids(await discover(server, { service: 'unknown' })), []);
  assert.deepEqual(ids(await discover(server, { namespace: 'other', service: 'pay' })), []);
});

test('a subset is the same for the same key, differs between keys, and changes little when one goes', async (t) => {
  const server = await startServer(t);
  for (let i = 0; i < 20; i++) await register(server, { instance: pay(`p${i}`) });
  const subset = async (key: string): Promise<string[]> =>
    ids(await discover(server, { service: 'pay', subset: { size: 5, key } }));
  const mine = await subset('client-1');
  assert.equal(mine.length, 5);
  assert.deepEqual(await subset('client-1'), mine);
  const others = await Promise.all(Array.from({ length: 10 }, (_, i) => subset(`other-${i}`)));
  assert.ok(others.some((other) => other.join() !== mine.join()));
  await deregister(server, { service: 'pay', id: mine[0]! });
  const after = await subset('client-1');
  assert.deepEqual(
    mine.slice(1).filter((id) => !after.includes(id)),
    [],
    'only the one that went is replaced',
  );
  assert.equal(after.length, 5);
});

test('C1 C2: a write is seen by the next read, min_revision waits, and says so when it cannot be reached', async (t) => {
  const server = await startServer(t);
  for (let i = 0; i < 50; i++) {
    const { revision } = await register(server, { instance: pay(`p${i}`) });
    const answer = await discover(server, { service: 'pay', minRevision: revision });
    assert.equal(answer.instances.length, i + 1);
    assert.ok(answer.revision >= revision);
    assert.equal(answer.staleFor, undefined);
  }
  const plain = await discover(server, { service: 'pay' });
  const barrier = await discover(server, { service: 'pay', barrier: true });
  assert.ok(barrier.revision > plain.revision, 'a barrier is a write that the catalog has seen');
  const future = await failure(discover(server, { service: 'pay', minRevision: barrier.revision + 1_000n }));
  assert.deepEqual(
    [future.code, detailsOf(future).reason, detailsOf(future).retry],
    [14, 'REVISION_NOT_REACHED', true],
  );
});

test('lists show counts by health, page by page', async (t) => {
  const server = await startServer(t);
  for (let i = 0; i < 25; i++) {
    await register(server, { instance: { ...pay(`p${i}`), service: `svc-${String(i).padStart(2, '0')}` } });
  }
  await register(server, { instance: { ...pay('q', { reported: STARTUP_UNHEALTHY }), service: 'svc-00' } });
  await register(server, { instance: { ...pay('q'), namespace: 'other' } });
  const seen: string[] = [];
  let pageToken = '';
  do {
    const page = await listServices(server, { pageSize: 10, pageToken });
    assert.ok(page.services.length <= 10);
    seen.push(...page.services.map(({ service }) => service));
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  assert.deepEqual(seen, [...seen].sort());
  assert.equal(new Set(seen).size, 25);
  const [first] = (await listServices(server, { pageSize: 1 })).services;
  assert.deepEqual([first?.healthyCount, first?.unhealthyCount], [1, 1]);
  const { namespaces } = await listNamespaces(server);
  assert.deepEqual(
    namespaces.map(({ namespace, serviceCount, instanceCount }) => [namespace, serviceCount, instanceCount]),
    [
      ['default', 25, 26],
      ['other', 1, 1],
    ],
  );
  const foreign = (await listServices(server, { pageSize: 1 })).nextPageToken;
  const error = await failure(listServices(server, { namespace: 'other', pageToken: foreign }));
  assert.deepEqual([error.code, detailsOf(error).fields], [3, ['page_token']]);
  const { counts, ready, store } = await getStatus(server);
  assert.deepEqual([counts?.instances, counts?.services, ready, store?.kind], [27, 26, true, 'embedded']);
});

test('an answer that is larger than stock clients take is refused with the way out', async (t) => {
  const server = await startServer(t);
  const metadata = new Map(Array.from({ length: 7 }, (_, i) => [`k${i}`, 'v'.repeat(1_000)]));
  const batch = Array.from({ length: 450 }, (_, i) => register(server, { instance: pay(`p${i}`, { metadata }) }));
  await Promise.all(batch);
  const error = await failure(discover(server, { service: 'pay' }));
  assert.deepEqual([error.code, detailsOf(error).reason], [8, 'ANSWER_TOO_LARGE']);
  assert.match(error.message, /subset/);
  assert.equal((await discover(server, { service: 'pay', subset: { size: 3, key: 'me' } })).instances.length, 3);
});

test('an id defaults to address and port, and an address to where the call came from', async (t) => {
  const server = await startServer(t);
  const typed = await register(server, { instance: { service: 'pay', address: '10.0.0.7', port: 8080 } });
  assert.equal(typed.instance?.id, '10.0.0.7:8080');
  assert.deepEqual(typed.warnings, []);
  const nat = await register(server, { instance: { service: 'pay', id: 'x' } });
  assert.equal(nat.instance?.address, '127.0.0.1');
  assert.match(nat.warnings[0]!, /NAT/);
  const slip = await register(server, { instance: { service: 'Pay', id: 'x', address: 'host.example' } });
  assert.equal(slip.warnings.length, 2);
  const portless = await register(server, { instance: { service: 'pay', address: '10.0.0.8' } });
  assert.deepEqual([portless.instance?.id, portless.warnings.length], ['10.0.0.8:0', 1]);
  assert.match(portless.warnings[0]!, /no port/);
  const misplaced = await register(server, {
    instance: { service: 'pay', address: '10.0.0.9', port: 1, incarnation: 'run-1' },
  });
  assert.match(misplaced.warnings[0]!, /^instance\.incarnation is ignored/);
});

test('E3: registered instances outlive a restart, and none expires before the grace ends', async (t) => {
  const folder = temporaryFolder();
  const server: ServerProcess = await startServer(t, folder);
  const { revision } = await register(server, { instance: pay('p1', { ttl: TTL_2S }), incarnation: 'a' });
  await server.kill();
  const again = await startServer(t, folder);
  const { instance } = await getInstance(again, { service: 'pay', id: 'p1' });
  assert.deepEqual([instance?.revision, instance?.health], [revision, Health.HEALTH_HEALTHY]);
  // One that registers after the start is judged by its own ttl; the one found in the store has the grace of 30 s.
  await register(again, { instance: pay('p2', { ttl: TTL_2S }) });
  await eventually(async () => {
    const answer = await getInstance(again, { service: 'pay', id: 'p2' });
    return answer.instance?.health === Health.HEALTH_UNHEALTHY;
  });
  const found = await getInstance(again, { service: 'pay', id: 'p1' });
  assert.equal(found.instance?.health, Health.HEALTH_HEALTHY);
});

test('I2: a Register without an incarnation does not empty the record of a process that named its own', async (t) => {
  const server = await startServer(t);
  const full = {
    tags: ['blue'],
    metadata: new Map([['rack', '7']]),
    version: '1.4',
    endpoints: [{ name: 'm', port: 90 }],
  };
  const first = await register(server, { instance: pay('p1', full), incarnation: 'run-1' });
  const error = await failure(register(server, { instance: pay('p1') }));
  const { reason, metadata } = detailsOf(error);
  assert.deepEqual([error.code, reason], [FAILED_PRECONDITION, 'INCARNATION_REQUIRED']);
  assert.equal(metadata.get('revision'), String(first.revision));
  assert.equal(metadata.get('fields'), 'endpoints, tags, metadata, version');
  assert.match(error.message, /give that incarnation, or replaces_revision \d+; .* change endpoints, tags/);
  const { instance } = await getInstance(server, { service: 'pay', id: 'p1' });
  assert.deepEqual([instance?.tags, instance?.version, instance?.revision], [['blue'], '1.4', first.revision]);

  const same = await register(server, { instance: pay('p1', full) });
  assert.deepEqual([same.revision, same.instance?.incarnation], [first.revision, 'run-1'], 'equal content is a beat');
  const wrong = { instance: pay('p1'), replacesRevision: first.revision - 1n };
  assert.equal(detailsOf(await failure(register(server, wrong))).reason, 'INCARNATION_REQUIRED');
  const meant = await register(server, { instance: pay('p1'), replacesRevision: first.revision });
  assert.deepEqual([meant.instance?.tags, meant.instance?.incarnation], [[], 'run-1']);
});

test('I1: clients that never draw an incarnation register and repeat as they like', async (t) => {
  const server = await startServer(t);
  const first = await register(server, { instance: pay('p1', { tags: ['blue'] }) });
  const other = await register(server, { instance: pay('p1', { tags: ['green'] }) });
  assert.equal(other.instance?.incarnation, first.instance?.incarnation);
  assert.deepEqual(other.instance?.tags, ['green']);
  // Once a process names the incarnation that the server drew, it is its own.
  const { incarnation } = first.instance!;
  const named = await register(server, { instance: pay('p1', { tags: ['green'] }), incarnation });
  assert.equal(named.revision, other.revision);
  const error = await failure(register(server, { instance: pay('p1') }));
  assert.equal(detailsOf(error).reason, 'INCARNATION_REQUIRED');
});

test('a Register never takes an incarnation back to STARTING, also after it has expired; other states count', async (t) => {
  const server = await startServer(t);
  const starting = { instance: pay('p1', { ttl: TTL_2S, reported: STARTUP_UNHEALTHY }), incarnation: 'run-1' };
  await register(server, starting);
  const healthy = { state: ReportedState.REPORTED_STATE_HEALTHY, note: 'warm' };
  await heartbeat(server, { instances: [{ service: 'pay', id: 'p1', incarnation: 'run-1', reported: healthy }] });
  const repeated = await register(server, starting);
  assert.deepEqual([repeated.instance?.health, repeated.instance?.reported], [Health.HEALTH_HEALTHY, healthy]);
  const gone = await eventually(
    () => failure(getInstance(server, { service: 'pay', id: 'p1' })).catch(() => undefined),
    20_000,
  );
  const { metadata } = detailsOf(gone);
  assert.deepEqual([metadata.get('removal_reason'), metadata.get('incarnation')], ['EXPIRED', 'run-1']);
  assert.ok(Date.parse(metadata.get('time')!) > 0);
  assert.match(gone.message, /it was removed at .* \(EXPIRED\)$/);
  const again = await register(server, starting);
  assert.deepEqual([again.instance?.health, again.instance?.reported], [Health.HEALTH_HEALTHY, healthy]);
  const draining = pay('p1', { ttl: TTL_2S, reported: { state: ReportedState.REPORTED_STATE_DRAINING, note: '' } });
  const drained = await register(server, { instance: draining, incarnation: 'run-1' });
  assert.equal(drained.instance?.health, Health.HEALTH_DRAINING);
  const next = await register(server, { ...starting, incarnation: 'run-2' });
  assert.equal(next.instance?.health, Health.HEALTH_UNHEALTHY, 'the next run begins anew');
});

test('a takeover of an instance that is not silent is warned of and logged; a repeat or a restart without a name is not', async (t) => {
  const server = await startServer(t);
  const other = { address: '10.0.0.8', port: 8081 };
  assert.deepEqual((await register(server, { instance: pay('p1'), incarnation: 'run-1' })).warnings, []);
  assert.deepEqual((await register(server, { instance: pay('p1'), incarnation: 'run-1' })).warnings, []);
  const { warnings } = await register(server, { instance: pay('p1', other), incarnation: 'run-2' });
  assert.match(
    warnings.join('\n'),
    /^the id was held by 10\.0\.0\.7:8080 since \d{4}-.*Z, and that process was not silent/,
  );
  const logged = server.log.filter((line) => line.includes('an instance that was not silent was taken over'));
  assert.equal(logged.length, 1);
  assert.match(logged[0]!, /"before":"10\.0\.0\.7:8080".*"now":"10\.0\.0\.8:8081"/);

  assert.deepEqual((await register(server, { instance: pay('p2') })).warnings, []);
  assert.deepEqual((await register(server, { instance: pay('p2', { tags: ['x'] }) })).warnings, []);
  const moved = await register(server, { instance: pay('p2', other) });
  assert.match(moved.warnings.join('\n'), /^the id was at 10\.0\.0\.7:8080, which was not silent: .* give each an/);
});

test('two processes of different services at one address are warned of, one process with many services is not', async (t) => {
  const server = await startServer(t);
  const at = (service: string, incarnation?: string, more: object = {}): object => ({
    instance: { ...pay('x', more), service },
    ...(incarnation && { incarnation }),
  });
  const warnings = async (request: object): Promise<string> => (await register(server, request)).warnings.join('\n');
  assert.equal(await warnings(at('pay', 'run-1')), '');
  assert.equal(await warnings(at('refund', 'run-1')), '', 'one process');
  assert.equal(await warnings(at('audit')), '', 'nobody knows which process');
  assert.equal(
    await warnings(at('ship', 'run-2')),
    '10.0.0.7:8080 is also the address of pay/x, which another process registered',
  );
  assert.equal(await warnings(at('a1', 'run-3', { port: 0 })), '');
  assert.equal(await warnings(at('a2', 'run-4', { port: 0 })), '');
  assert.equal(await warnings(at('b1', 'run-5', { address: '127.0.0.1' })), '');
  assert.equal(await warnings(at('b2', 'run-6', { address: '127.0.0.1' })), '');
  assert.equal(await warnings(at('c1', 'run-7', { namespace: 'other' })), '', 'another network, maybe');
});

test('addresses are stored in one spelling, before the id is made of them', async (t) => {
  const server = await startServer(t);
  const of = async (address: string, endpoint = ''): Promise<unknown[]> => {
    const endpoints = [{ name: 'm', port: 90, address: endpoint }];
    const { instance, warnings } = await register(server, {
      instance: { service: 'v6', address, port: 80, endpoints },
    });
    return [instance?.id, instance?.address, instance?.endpoints[0]?.address, warnings.length];
  };
  assert.deepEqual(await of('2001:DB8:0::1'), ['2001:db8::1:80', '2001:db8::1', '', 0]);
  assert.deepEqual(await of('2001:db8::0:1'), ['2001:db8::1:80', '2001:db8::1', '', 0]);
  assert.deepEqual(await of('::ffff:10.0.0.1', '::FFFF:a00:2'), ['10.0.0.1:80', '10.0.0.1', '10.0.0.2', 0]);
  assert.equal((await discover(server, { service: 'v6' })).instances.length, 2);
  const { warnings } = await register(server, { instance: pay('p1', { address: 'my_host' }) });
  assert.match(warnings.join('\n'), /has a "_", which host names must not have/);
  const elsewhere = await register(server, {
    instance: pay('p2', { endpoints: [{ name: 'm', port: 90, address: 'other_host' }] }),
  });
  assert.match(elsewhere.warnings.join('\n'), /address "other_host" has a "_"/);
  const refused = await failure(register(server, { instance: pay('p1', { address: '[2001:db8::1]:443' }) }));
  assert.match(refused.message, /instance\.address: .*write "2001:db8::1", and port 443 in "port"/);
  const endpoints = [{ name: 'm', port: 90, address: '0.0.0.0' }];
  assert.deepEqual(detailsOf(await failure(register(server, { instance: pay('p1', { endpoints }) }))).fields, [
    'instance.endpoints[0].address',
  ]);
});
