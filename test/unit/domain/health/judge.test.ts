import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Health, RemovalReason } from '../../../../src/gen/rollcall/v1/instance.js';
import type { Answer, Query } from '../../../../src/domain/health/liveness-table.js';
import type { Juror } from '../../../../src/domain/health/peers.js';
import { Stage } from '../../../support/stage.js';

const TTL_MS = 5_000;
const GRACE_MS = 30_000;
/** A tick, and what the store takes. */
const SOON_MS = 300;

/** A registered instance, p1 of pay, with the incarnation "a". */
async function registered(): Promise<Stage> {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  return stage;
}

/** A peer that answers every query alike. */
function peer(
  name: string,
  answer: (query: Query, promise: boolean) => Answer | undefined,
): Juror & { name: string; asked: number } {
  return {
    name,
    node: name,
    canProbe: true,
    asked: 0,
    probe: () => Promise.resolve([]),
    async lastHeard(queries, promise) {
      this.asked++;
      const answers = queries.map((query) => answer(query, promise));
      if (answers.includes(undefined)) throw new Error(`${name} cannot be asked`);
      return answers as Answer[];
    },
  };
}

test('E1 E5: an instance is UNHEALTHY within 300 ms of its ttl, and removed after five more ttl', async () => {
  const stage = await registered();
  const silentAfter = await stage.untilTrue(() => stage.isSilent(), TTL_MS + SOON_MS);
  assert.ok(silentAfter >= TTL_MS - 2, `after ${silentAfter} ms`);
  assert.equal(stage.instance()?.health, Health.HEALTH_UNHEALTHY);
  const goneAfter = await stage.untilTrue(() => !stage.instance(), 5 * TTL_MS + SOON_MS);
  assert.ok(goneAfter >= 5 * TTL_MS - 2, `after ${goneAfter} ms`);
  const tombstone = stage.replica.catalog.instances.get('default', 'pay', 'p1')!;
  assert.equal(tombstone.removalReason, RemovalReason.REMOVAL_REASON_EXPIRED);
});

test('E1: a beat heals a silent instance, and its five ttl begin again with the next silence', async () => {
  const stage = await registered();
  await stage.untilTrue(() => stage.isSilent(), TTL_MS + SOON_MS);
  await stage.pass(4 * TTL_MS);
  assert.equal(await stage.until(stage.beat({ incarnation: 'a' })), undefined);
  assert.equal(stage.instance()?.health, Health.HEALTH_HEALTHY);
  const silentAfter = await stage.untilTrue(() => stage.isSilent(), TTL_MS + SOON_MS);
  assert.ok(silentAfter >= TTL_MS - 2, `after ${silentAfter} ms`);
  await stage.pass(4.9 * TTL_MS);
  assert.ok(stage.instance(), 'still there');
});

test('E2: moving the wall clock moves no verdict and no removal', async () => {
  for (const wallOffMs of [-86_400_000, 86_400_000]) {
    const stage = await registered();
    await stage.pass(TTL_MS / 2);
    await stage.until(stage.beat());
    stage.wallOffMs = wallOffMs;
    const silentAfter = await stage.untilTrue(() => stage.isSilent(), TTL_MS + SOON_MS);
    assert.ok(silentAfter >= TTL_MS - 2, `silent after ${silentAfter} ms`);
    stage.wallOffMs = -wallOffMs;
    const goneAfter = await stage.untilTrue(() => !stage.instance(), 5 * TTL_MS + SOON_MS);
    assert.ok(goneAfter >= 5 * TTL_MS - 2, `gone after ${goneAfter} ms`);
  }
});

test('E3: what was found at a start is not declared silent before the grace and its ttl', async () => {
  const stage = await registered();
  await stage.start();
  const silentAfter = await stage.untilTrue(() => stage.isSilent(), GRACE_MS + TTL_MS + SOON_MS);
  assert.ok(silentAfter >= GRACE_MS + TTL_MS - 50, `after ${silentAfter} ms`);
});

test('E1: what was found at a start and has been heard since is declared silent by its own ttl', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register());
  await stage.start();
  await stage.pass(1_000);
  assert.equal(await stage.until(stage.beat()), undefined);
  assert.ok((await stage.untilTrue(() => stage.isSilent(), 6_000)) > 4_900);
});

test('E3: a stall of the server moves the verdict by as much, but for half a second', async () => {
  const stage = await registered();
  await stage.pass(1_000);
  stage.process.pause();
  await stage.pass(20_000);
  stage.process.resume();
  const silentAfter = await stage.untilTrue(() => stage.isSilent(), TTL_MS + SOON_MS);
  assert.ok(silentAfter >= TTL_MS - 1_000 - 500 - 50, `after ${silentAfter} ms`);
});

test('E3: no instance is declared silent while heartbeats may wait unread in the kernel', async () => {
  const stage = await registered();
  await stage.pass(TTL_MS - 1_000);
  stage.selfBeatLate = true;
  await stage.pass(10_000);
  assert.equal(await stage.until(stage.beat({ incarnation: 'a' })), undefined);
  stage.selfBeatLate = false;
  const silentAfter = await stage.untilTrue(() => stage.isSilent(), TTL_MS + SOON_MS);
  assert.ok(silentAfter >= TTL_MS - 2, `after ${silentAfter} ms`);
  assert.equal(stage.count('verdicts'), 1);
  assert.equal(stage.count('heals'), 0);
});

test('E3: an outage of the store moves the verdict by as much', async () => {
  const stage = await registered();
  await stage.pass(1_000);
  stage.store.setOutage('refuse');
  await stage.pass(20_000);
  stage.store.setOutage(undefined);
  const silentAfter = await stage.untilTrue(() => stage.isSilent(), TTL_MS + SOON_MS);
  assert.ok(silentAfter >= TTL_MS - 1_000 - 50, `after ${silentAfter} ms`);
});

test('E3: a beat that comes while the verdict is on its way is acknowledged only if it wins at the store', async () => {
  const stage = await registered();
  stage.store.latencyMs = () => 200;
  // The question is asked at the first tick after the ttl; the commit takes 100 ms to the store.
  await stage.pass(TTL_MS + 80);
  assert.equal(stage.isSilent(), false);
  let acknowledged = false;
  const beat = stage.beat({ incarnation: 'a' }).then((reason) => (acknowledged = reason === undefined));
  await stage.pass(1);
  assert.equal(acknowledged, false, 'not from memory');
  await stage.until(beat);
  assert.equal(stage.isSilent(), false, 'acknowledged, so it is not silent');
  assert.equal(stage.count('verdicts'), 1);
  assert.equal(stage.count('heals'), 1);
});

test('E3: a verdict compares the record that was judged: a change on its way is not overwritten', async () => {
  const stage = await registered();
  const slow = 200;
  stage.store.latencyMs = () => slow;
  await stage.pass(TTL_MS - 20);
  // This Register is at the store before the verdict, and its change is seen here after the question was asked.
  const release = stage.holdWatch();
  const again = stage.register({ incarnation: 'a', version: '2' });
  await stage.pass(slow * 2);
  release();
  await stage.until(again);
  assert.equal(stage.isSilent(), false);
  assert.equal(stage.instance()?.version, '2');
  assert.equal(stage.count('verdicts'), 0);
  assert.ok(stage.count('verdicts_refused') >= 1);
});

test('E3: no instance is declared silent while one peer has heard it, or its record change', async () => {
  for (const answer of [{ kind: 'HEARD', ageMs: 100 } as const, { kind: 'CHANGED' } as const]) {
    const stage = await registered();
    const silent = peer('silent', ({ revision }) => ({ kind: 'SILENT', ageMs: undefined, promisedRevision: revision }));
    const other = peer('other', () => answer);
    stage.peers = [silent, other];
    await stage.pass(3 * TTL_MS);
    assert.ok(other.asked > 0);
    assert.equal(stage.isSilent(), false, answer.kind);
    stage.peers = [silent];
    await stage.untilTrue(() => stage.isSilent(), TTL_MS + SOON_MS);
  }
});

test('E3: no instance is declared silent while a peer cannot be asked, or does not promise', async () => {
  const unreachable = peer('unreachable', () => undefined);
  const unpromising = peer('unpromising', () => ({ kind: 'SILENT', ageMs: undefined, promisedRevision: 0n }));
  for (const other of [unreachable, unpromising]) {
    const stage = await registered();
    stage.peers = [other];
    await stage.pass(3 * TTL_MS);
    assert.ok(other.asked > 1, `${other.name} is asked again`);
    assert.equal(stage.isSilent(), false, other.name);
  }
});

test('E3: once promised, a beat is acknowledged by a commit that users do not see, and never from memory', async () => {
  const stage = await registered();
  const { revision } = stage.instance()!;
  // The second question is the one that makes this replica promise; the peer then fails the round.
  stage.peers = [
    peer('other', (query, promise) =>
      promise ? undefined : { kind: 'SILENT', ageMs: undefined, promisedRevision: query.revision },
    ),
  ];
  await stage.pass(TTL_MS + SOON_MS);
  const before = (await stage.store.get('w/i/default/pay/p1')).revision;
  assert.equal(await stage.until(stage.beat({ incarnation: 'a' })), undefined);
  assert.equal(stage.count('touches'), 1);
  assert.equal((await stage.store.get('w/i/default/pay/p1')).revision, before + 1n);
  assert.equal(stage.instance()!.revision, revision);
  // The promise ended with the record it was made for.
  assert.equal(await stage.until(stage.beat({ incarnation: 'a' })), undefined);
  assert.equal(stage.count('touches'), 1);
});

test('E3: a beat that comes while the touch of another one is on its way is not acknowledged from memory either', async () => {
  const stage = await registered();
  stage.peers = [
    peer('other', (query, promise) =>
      promise ? undefined : { kind: 'SILENT', ageMs: undefined, promisedRevision: query.revision },
    ),
  ];
  await stage.pass(TTL_MS + SOON_MS);
  stage.store.latencyMs = () => 200;
  const acknowledged: string[] = [];
  const beats = ['first', 'second'].map((name) =>
    stage.beat({ incarnation: 'a' }).then((reason) => reason === undefined && acknowledged.push(name)),
  );
  await stage.pass(100);
  assert.deepEqual(acknowledged, [], 'nothing is committed yet');
  await stage.until(Promise.all(beats));
  assert.deepEqual(acknowledged.length, 2);
});
