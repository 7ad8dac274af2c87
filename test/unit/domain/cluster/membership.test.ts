import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  EpochRecord,
  NodeRecord,
  NodeState,
  ProtectionRecord,
} from '../../../../src/gen/rollcall/storage/v1/records.js';
import { UNSIGNED } from '../../../../src/model/actor.js';
import { BARRIER_KEY } from '../../../../src/model/keys.js';
import { protectionKey } from '../../../../src/model/protection.js';
import { EPOCH_KEY } from '../../../../src/model/store-facts.js';
import { PROTECTION } from '../../../sim/process.js';
import { ClusterStage, type Member } from '../../../support/cluster-stage.js';
import { Targets } from '../../../support/targets.js';

const TTL_MS = 3_000;
const GRACE_MS = 30_000;
const LEASE_MS = 10_000;
/** Two questions, a commit, and a tick. */
const SOON_MS = 300;

/** Two replicas whose start is so long ago that it disturbs nothing. */
async function settled(leaseMs = LEASE_MS): Promise<{ stage: ClusterStage; a: Member; b: Member }> {
  const stage = new ClusterStage(leaseMs);
  const a = await stage.start('a');
  await stage.pass(2_000); // they do not rewrite their keys at one time
  const b = await stage.start('b');
  await stage.pass(GRACE_MS + 1_000);
  return { stage, a, b };
}

const PAY_PROTECTION = protectionKey('default', 'pay');

/** Beats every second at one replica, for a while. */
async function beatFor(stage: ClusterStage, member: Member, id: string, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 1_000) {
    assert.equal(await stage.beat(member, id), 'OK');
    await stage.pass(1_000);
  }
}

test('E3 E6: an instance that beats at one replica is alive for all of them, whichever judges, and its beats write nothing', async () => {
  const { stage, a, b } = await settled();
  for (const [id, member] of [
    ['p1', a],
    ['p2', b],
  ] as const) {
    await stage.register(a, id, id === 'p1' ? 3 : 2);
    const written = new Set<string>();
    stage.store.onCommit = ({ changes }) =>
      changes.forEach((change) => {
        const key = change.kind === 'put' ? change.entry.key : change.key;
        if (!key.startsWith('w/i/') || key.endsWith(id)) written.add(key.slice(0, 4));
      });
    await beatFor(stage, member, id, 4 * TTL_MS);
    assert.equal(stage.isSilent(id), false);
    assert.deepEqual([...written], ['w/m/'], 'the members rewrite their keys, and nothing else');
    stage.store.onCommit = () => undefined;
  }
});

test('E5: with all replicas well a silent instance is found within 300 ms of its ttl, wherever it beat last', async () => {
  const { stage, a, b } = await settled();
  for (const [id, member] of [
    ['p1', a],
    ['p2', b],
  ] as const) {
    await stage.register(a, id);
    await beatFor(stage, member, id, 2 * TTL_MS);
    assert.equal(await stage.beat(member, id), 'OK');
    const took = await stage.untilTrue(() => stage.isSilent(id), TTL_MS + SOON_MS);
    assert.ok(took >= TTL_MS - 10, `after ${took} ms`);
  }
});

test('E3 E6: no instance is declared silent while a live member cannot be asked; once it is gone, after the grace', async () => {
  const { stage, a, b } = await settled();
  await stage.register(a, 'p1');
  stage.unreachable.add('a').add('b');
  await stage.pass(20_000);
  assert.equal(stage.isSilent('p1'), false);
  assert.ok(
    [a, b].some(({ replica }) => replica.judge.postponements().some(({ reason }) => reason === 'PEER_UNREACHABLE')),
  );
  stage.kill(b);
  const took = await stage.untilTrue(() => stage.isSilent('p1'), LEASE_MS + GRACE_MS + TTL_MS + 4_000);
  assert.ok(took > GRACE_MS, `after ${took} ms`);
});

test('E6: after a crash no instance is declared silent before the grace, and the dead are found within lease, grace and ttl', async () => {
  const { stage, a, b } = await settled();
  for (const id of ['alive', 'dead']) await stage.register(a, id);
  await beatFor(stage, b, 'alive', TTL_MS);
  assert.equal(await stage.beat(b, 'dead'), 'OK');
  assert.equal(await stage.beat(b, 'alive'), 'OK');
  const died = stage.world.now;
  stage.kill(b);
  await stage.pass(LEASE_MS);
  assert.equal(await stage.beat(a, 'alive'), 'OK', 'the client of the dead replica has moved');
  while (!stage.isSilent('dead')) {
    assert.equal(await stage.beat(a, 'alive'), 'OK');
    assert.equal(stage.isSilent('alive'), false);
    await stage.pass(1_000);
    assert.ok(stage.world.now - died < LEASE_MS + GRACE_MS + TTL_MS + 2_000);
  }
  assert.ok(stage.world.now - died > GRACE_MS);
});

test('E6: a replica that leaves cleanly hands over what it heard, and delays no verdict', async () => {
  const { stage, a, b } = await settled();
  for (const id of ['alive', 'dead']) await stage.register(a, id);
  await beatFor(stage, b, 'alive', 2 * TTL_MS);
  for (const id of ['alive', 'dead']) assert.equal(await stage.beat(b, id), 'OK');
  const before = a.counts.get('disturbances') ?? 0;
  const leaving = b.replica.leave();
  await stage.pass(1);
  assert.equal(await stage.beat(b, 'alive'), 'FENCED', 'whoever leaves acknowledges nothing more');
  await stage.until(leaving);
  stage.kill(b);
  const took = await stage.untilTrue(() => stage.isSilent('dead'), TTL_MS + SOON_MS);
  assert.ok(took > TTL_MS / 2);
  assert.equal(a.counts.get('disturbances') ?? 0, before);
});

test('E6: an instance that fell silent before a replica left cleanly is found a ttl after its last heartbeat all the same', async () => {
  const { stage, a, b } = await settled();
  await stage.register(a, 'dead');
  await beatFor(stage, b, 'dead', 2 * TTL_MS);
  const lastBeat = stage.world.now - 1_000;
  await stage.pass(TTL_MS / 3);
  await stage.until(b.replica.leave());
  stage.kill(b);
  await stage.untilTrue(() => stage.isSilent('dead'), TTL_MS);
  const silentAfter = stage.world.now - lastBeat;
  assert.ok(silentAfter >= TTL_MS && silentAfter <= TTL_MS + SOON_MS, `after ${silentAfter} ms`);
});

test('E5: what another replica has heard under a longer ttl does not count for longer once the ttl is shorter', async () => {
  const { stage, a, b } = await settled();
  const [judge, other] = judgesPay(a) ? [a, b] : [b, a];
  await stage.register(judge, 'p1', 20);
  let told = 0;
  stage.onAsked = () => void told++;
  await beatFor(stage, other, 'p1', 22_000);
  assert.equal(told, 1, 'the judge was told of a beat that was less than a second old');
  await stage.register(other, 'p1', TTL_MS / 1_000);
  await stage.untilTrue(() => stage.isSilent('p1'), TTL_MS + SOON_MS);
});

test('E4: a protection that the judge does not see yet holds up removals all the same', async () => {
  const { stage, a } = await settled();
  await stage.register(a, 'p1');
  await beatFor(stage, a, 'p1', 61_000);
  await stage.untilTrue(() => stage.isSilent('p1'), TTL_MS + SOON_MS);
  const record = ProtectionRecord.fromPartial({ writeId: 'w', active: true, fromRevision: 1n, before: 9 });
  const value = ProtectionRecord.encode(record).finish();
  const protect = (): Promise<unknown> =>
    stage.store.commit({ writeId: '', compares: [], writes: [{ kind: 'put', key: PAY_PROTECTION, value }] });
  // Shortly before the removal: later the loss is found by comparing with the store.
  await stage.pass(PROTECTION.memoryMs - 20_000);
  stage.loses = ({ changes }) => changes.some((change) => change.kind === 'put' && change.entry.key === PAY_PROTECTION);
  await protect();
  await stage.pass(25_000);
  assert.equal(stage.isSilent('p1'), true, 'its removal was allowed, and refused');
  stage.loses = () => false;
  await protect();
  await stage.pass(3_000);
  assert.equal(stage.isSilent('p1'), true, 'now it is seen, and nothing is allowed');
  await stage.until(a.replica.protection.release('default', 'pay', { ...UNSIGNED, author: 'ops' }));
  // It was listed again, so that it stays for as long once more.
  await stage.untilTrue(() => !stage.isSilent('p1'), PROTECTION.memoryMs + 2_000);
});

test('a replica whose key is lost acknowledges nothing until it has joined again, under a new epoch', async () => {
  const { stage, a, b } = await settled();
  await stage.register(a, 'p1');
  const { id, epoch } = b.replica.membership!.view();
  await stage.store.commit({ writeId: '', compares: [], writes: [{ kind: 'delete', key: `w/m/${id}` }] });
  await stage.pass(10);
  assert.equal(await stage.beat(b, 'p1'), 'FENCED');
  assert.equal(await stage.beat(a, 'p1'), 'OK');
  await stage.untilTrue(() => b.replica.membership!.view().state === 'WAITING', 5_000);
  // It waits, because this membership was young: it would postpone every verdict again.
  await stage.untilTrue(() => b.replica.membership!.view().state === 'IN', 70_000);
  assert.ok(b.replica.membership!.view().epoch > epoch);
  assert.equal(b.replica.membership!.view().id, id);
  assert.notEqual(await stage.beat(b, 'p1'), 'FENCED');
});

test('S14 a member whose watch says nothing while the store is restored starts over when it lists, however far the store is by then', async () => {
  const { stage, b } = await settled();
  await stage.register(b, 'old');
  const backup = stage.store.backup();
  await stage.register(b, 'forgotten');
  await stage.pass(1_000);
  const { catalog } = b.replica;
  const { storeEpoch: epoch, revision } = catalog;
  stage.watchDelayMs = () => 600_000;
  await stage.pass(4_000);
  stage.store.restore(backup);
  const value = EpochRecord.encode({ writeId: '', epoch: 'another', ended: [epoch] }).finish();
  await stage.store.commit({ writeId: '', compares: [], writes: [{ kind: 'put', key: EPOCH_KEY, value }] });
  while (stage.store.revision <= revision + 10n)
    await stage.store.commit({ writeId: '', compares: [], writes: [{ kind: 'put', key: BARRIER_KEY, value }] });
  assert.equal(catalog.storeEpoch, epoch, 'it does not know yet');
  await stage.untilTrue(() => catalog.storeEpoch === 'another', 15_000);
  assert.equal(catalog.instances.get('default', 'pay', 'forgotten'), undefined);
  assert.notEqual(catalog.instances.get('default', 'pay', 'old'), undefined);
});

test('without the store beats are acknowledged until the fence, and from its return on', async () => {
  const { stage, a } = await settled();
  await stage.register(a, 'p1', 600);
  stage.store.setOutage('refuse');
  await stage.pass(24_000);
  assert.equal(await stage.beat(a, 'p1'), 'OK');
  await stage.pass(6_000);
  assert.equal(await stage.beat(a, 'p1'), 'FENCED');
  stage.store.setOutage(undefined);
  await stage.pass(4_000);
  assert.notEqual(a.replica.membership!.view().fenced, 'STORE_LOST');
});

test('a process that was suspended acknowledges nothing before its membership is confirmed anew', async () => {
  const { stage, a } = await settled();
  await stage.register(a, 'p1', 600);
  assert.equal(await stage.beat(a, 'p1'), 'OK');
  stage.store.latencyMs = () => 400;
  a.wallOffMs = 3_600_000;
  await stage.pass(300);
  assert.equal(await stage.beat(a, 'p1'), 'FENCED');
  stage.store.latencyMs = () => 0;
  await stage.untilTrue(() => a.replica.membership!.view().fenced === undefined, 4_000);
  assert.equal(await stage.beat(a, 'p1'), 'OK');
});

test('a node whose memberships keep ending uncleanly waits longer each time, and not at all when it is alone', async () => {
  const stage = new ClusterStage();
  const a = await stage.start('a');
  const waits: number[] = [];
  let b = await stage.start('b');
  for (let i = 0; i < 4; i++) {
    await stage.pass(1_000);
    stage.kill(b);
    await stage.pass(LEASE_MS + 5_000);
    const from = stage.world.now;
    b = await stage.start('b', 400_000);
    waits.push(Math.round((stage.world.now - from) / 1_000));
  }
  assert.deepEqual(waits, [60, 120, 240, 300]);
  stage.kill(b);
  await stage.pass(LEASE_MS + 5_000);
  await stage.until(a.replica.leave());
  stage.kill(a);
  await stage.pass(1_000);
  await stage.start('b', 5_000);
});

test('a node that has waited joins as soon as it can: a store that is out just then does not make it wait again', async () => {
  const stage = new ClusterStage(60_000); // the member that stays must not lose its key
  await stage.start('a');
  const b = await stage.start('b');
  await stage.pass(1_000);
  stage.kill(b);
  await stage.pass(65_000);
  const again = stage.begin('b');
  const state = (): string => again.replica.membership!.view().state;
  await stage.untilTrue(() => state() === 'WAITING', 1_000);
  await stage.pass(50_000);
  stage.store.setOutage('refuse');
  await stage.pass(20_000);
  assert.equal(state(), 'OUT');
  stage.store.setOutage(undefined);
  await stage.untilTrue(() => state() === 'IN', 5_000);
});

test('a node that waits is not alone because its catalog is read again', async () => {
  const stage = new ClusterStage();
  await stage.start('a');
  const b = await stage.start('b');
  await stage.pass(1_000);
  stage.kill(b);
  await stage.pass(LEASE_MS + 5_000);
  const again = stage.begin('b');
  const { catalog, membership } = again.replica;
  await stage.untilTrue(() => membership!.view().state === 'WAITING', 1_000);
  const { storeEpoch: epoch } = catalog;
  stage.store.latencyMs = () => 1_000; // long enough for somebody to look while there is nothing
  stage.store.restore(stage.store.backup());
  await stage.untilTrue(() => !catalog.ready, 5_000);
  await stage.untilTrue(() => catalog.ready && catalog.storeEpoch !== epoch, 20_000);
  assert.equal(membership!.view().state, 'WAITING');
});

test('a membership that has lasted, or that was left, makes nobody wait', async () => {
  const stage = new ClusterStage();
  await stage.start('a');
  const b = await stage.start('b');
  await stage.pass(310_000);
  const { entry } = await stage.store.get('u/x/b');
  assert.equal(NodeRecord.decode(entry!.value).state, NodeState.NODE_STATE_SETTLED);
  stage.kill(b);
  await stage.pass(LEASE_MS + 5_000);
  const again = await stage.start('b', 5_000);
  await stage.until(again.replica.leave());
  stage.kill(again);
  await stage.start('b', 5_000);
});

test('an outage of the store is not felt until the fence, and nothing is listed again after it: the dead are found a ttl later', async () => {
  const { stage, a, b } = await settled(60_000); // etcd ends no lease while it has no quorum
  await stage.register(a, 'p1');
  await stage.register(a, 'p2');
  stage.store.setOutage('refuse');
  for (let passed = 0; passed < 20_000; passed += 1_000) {
    for (const member of [a, b]) assert.equal(await stage.beat(member, 'p1'), 'OK', `after ${passed} ms`);
    await stage.pass(1_000);
  }
  stage.store.setOutage(undefined);
  // Time goes on with the next rewrite, and the ttl that had begun before the outage ends.
  await stage.untilTrue(() => stage.isSilent('p2'), 3_000 + TTL_MS + SOON_MS);
  for (const { counts } of [a, b]) assert.equal(counts.get('canaries_missed'), undefined);
});

test('E3: a member that joins between the question and the verdict, and hears a heartbeat, is not passed over', async () => {
  const { stage, a, b } = await settled();
  const [judge] = [a, b].filter(judgesPay);
  await stage.register(judge!, 'p1');
  stage.peerLatencyMs = () => 300; // two questions, there and back: 1.2 s
  await stage.pass(TTL_MS + 100);
  assert.equal(stage.isSilent('p1'), false, 'the judge is asking');
  const joiner = await stage.start('c', 200);
  assert.equal(await stage.beat(joiner, 'p1'), 'OK');
  await stage.pass(TTL_MS - 200);
  assert.equal(stage.isSilent('p1'), false, 'it was acknowledged less than a ttl ago');
});

test('E3: a process that has taken the place of a member does not answer for it', async () => {
  const { stage, a, b } = await settled();
  const [judge] = [a, b].filter(judgesPay);
  const [other] = [a, b].filter((member) => !judgesPay(member));
  await stage.register(judge!, 'p1');
  // The judge has heard from the other that there was a beat, and asks again a ttl after that one.
  await beatFor(stage, other!, 'p1', TTL_MS + 1_000);
  assert.equal(await stage.beat(other!, 'p1'), 'OK');
  stage.kill(other!);
  stage.begin(other!.node);
  await stage.pass(TTL_MS - 100);
  assert.equal(stage.isSilent('p1'), false, 'it was acknowledged less than a ttl ago');
  await stage.untilTrue(() => stage.isSilent('p1'), LEASE_MS + GRACE_MS + 1_000);
});

test('verdicts go on when another program deletes the generation of the member set, and it is written back', async () => {
  const { stage, a, b } = await settled();
  await stage.register(a, 'p1');
  await stage.pass(TTL_MS - 100);
  await stage.store.commit({ writeId: 'x', compares: [], writes: [{ kind: 'delete', key: 'w/membergen' }] });
  await stage.untilTrue(() => stage.isSilent('p1'), 100 + SOON_MS);
  await stage.pass(2_000);
  assert.ok((await stage.store.get('w/membergen')).entry);
  await stage.register(b, 'p2');
  await stage.untilTrue(() => stage.isSilent('p2'), TTL_MS + SOON_MS);
});

test('all others report an unreachable member before any instance falls silent; verdicts wait for it only while it is a member', async () => {
  const { stage, a, b } = await settled();
  const c = await stage.start('c');
  await stage.pass(GRACE_MS + 1_000);
  stage.unreachable.add('c');
  await stage.pass(12_000);
  for (const { replica } of [a, b])
    assert.deepEqual(replica.membership!.view().unreachable, [c.replica.membership!.id]);
  await stage.register(a, 'p1');
  await stage.pass(TTL_MS + 2_000);
  const waits = (): boolean => [a, b].some(({ replica }) => replica.judge.postponements().length > 0);
  // The one that nobody reaches can itself ask everybody.
  const isJudge = judgesPay(c);
  assert.deepEqual([stage.isSilent('p1'), waits()], [isJudge, !isJudge]);
  stage.kill(c);
  if (!isJudge) await stage.untilTrue(() => stage.isSilent('p1'), LEASE_MS + GRACE_MS + TTL_MS + SOON_MS);
  await stage.pass(LEASE_MS + GRACE_MS + TTL_MS);
  assert.equal(waits(), false);
});

const judgesPay = ({ replica }: Member): boolean => replica.membership!.judges('default', 'pay');

test('K5: the instances are divided among the servers that probe, and among all if none does', async () => {
  const stage = new ClusterStage();
  const none = await stage.start('n1');
  const keys = Array.from({ length: 60 }, (_, i) => `w/i/default/pay/p${i}`);
  const countOf = ({ replica }: Member): number => keys.filter((key) => replica.membership!.checks(key)).length;
  assert.equal(countOf(none), keys.length, 'one must say that nobody probes');
  const [first, second] = [
    await stage.start('n2', 5_000, new Targets()),
    await stage.start('n3', 5_000, new Targets()),
  ];
  await stage.pass(1_000);
  assert.equal(countOf(none), 0);
  assert.equal(countOf(first) + countOf(second), keys.length);
  assert.ok(countOf(first) > 10 && countOf(second) > 10, `${countOf(first)} and ${countOf(second)}`);
});
