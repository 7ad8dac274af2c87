import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClusterStage, type Member } from '../../../support/cluster-stage.js';

const LEASE_MS = 10_000;
/** The longest time from the end of a lease to the alarm on every member: 30 s of absence, and two looks. */
const NOTICED_MS = LEASE_MS + 55_000;
const DAY_MS = 86_400_000;

/** The nodes that a member has for lost. */
const lost = ({ replica }: Member): string[] => replica.lostMembers!.lost.map(({ node }) => node);
const recordsOf = (stage: ClusterStage, node: string): string[] =>
  [...stage.store.backup().entries.keys()].filter((key) => key === `u/x/${node}` || key === `u/d/${node}`);

/** Three members, of which the third has been killed. */
async function withOneLost(): Promise<{ stage: ClusterStage; a: Member; b: Member }> {
  const stage = new ClusterStage(LEASE_MS);
  const [a, b, c] = [await stage.start('a'), await stage.start('b'), await stage.start('c')];
  await stage.pass(5_000);
  stage.kill(c);
  const killedAtMs = stage.world.now;
  await stage.pass(NOTICED_MS);
  for (const member of [a, b]) {
    assert.deepEqual(lost(member), ['c']);
    assert.equal(member.counts.get('MEMBER_LOST'), 1);
    const { sinceMs } = member.replica.lostMembers!.lost[0]!;
    assert.ok(Math.abs(sinceMs - stage.members[0]!.process.clock.wall() + stage.world.now - killedAtMs) < 30_000);
  }
  return { stage, a, b };
}

test('a member that was killed is lost on every other, until its node is back', async () => {
  const { stage, a, b } = await withOneLost();
  await stage.start('c', 80_000);
  await stage.pass(15_000);
  for (const member of [a, b]) {
    assert.deepEqual(lost(member), []);
    assert.equal(member.counts.get('MEMBER_LOST cleared'), 1);
  }
});

test('a member that froze is named from the end of its lease on, and one that left is not', async () => {
  const stage = new ClusterStage(LEASE_MS);
  const [a, b, c] = [await stage.start('a'), await stage.start('b'), await stage.start('c')];
  await stage.pass(310_000);
  const absent = (): readonly string[] => a.replica.lostMembers!.absent;
  assert.deepEqual(absent(), []);
  stage.kill(c);
  await stage.untilTrue(() => a.replica.catalog.members.length === 2, LEASE_MS + 5_000);
  assert.deepEqual(absent(), ['c']);
  await stage.pass(NOTICED_MS);
  assert.deepEqual(absent(), ['c']);
  await stage.until(a.replica.lostMembers!.forget('c'));
  assert.deepEqual(absent(), []);
  await stage.until(b.replica.leave());
  stage.kill(b);
  await stage.pass(15_000);
  assert.deepEqual(absent(), []);
});

test('a member that was started anew knows who was lost before', async () => {
  const { stage } = await withOneLost();
  const d = await stage.start('d');
  await stage.pass(15_000);
  assert.deepEqual(lost(d), ['c']);
});

test('a member that leaves, or whose node is back within 30 s, is not lost', async () => {
  const stage = new ClusterStage(LEASE_MS);
  const [a, b, c] = [await stage.start('a'), await stage.start('b'), await stage.start('c')];
  await stage.pass(310_000); // settled: what ends now does not wait
  await stage.until(b.replica.leave());
  stage.kill(b);
  stage.kill(c);
  await stage.pass(LEASE_MS + 10_000);
  await stage.start('c');
  await stage.pass(NOTICED_MS);
  assert.deepEqual(lost(a), []);
  assert.equal(a.counts.get('MEMBER_LOST'), undefined);
});

test('an operator has a node forgotten: here at once, elsewhere soon; not one that is a member, and none twice', async () => {
  const { stage, a, b } = await withOneLost();
  const forget = (node: string): Promise<unknown> => stage.until(a.replica.lostMembers!.forget(node));
  await assert.rejects(forget('b'), { reason: 'NODE_IS_MEMBER' });
  await forget('c');
  assert.deepEqual(lost(a), []);
  await stage.pass(15_000);
  assert.deepEqual(lost(b), []);
  assert.deepEqual(recordsOf(stage, 'c'), []);
  await assert.rejects(forget('c'), { reason: 'NODE_NOT_FOUND' });
});

test('a lost member is forgotten when as many as before have stood for 10 min under other names', async () => {
  const { stage, a, b } = await withOneLost();
  const d = await stage.start('d');
  await stage.pass(300_000);
  await stage.until(d.replica.leave());
  stage.kill(d);
  await stage.pass(20_000);
  await stage.start('e');
  await stage.pass(590_000); // the 10 min began again
  assert.deepEqual(lost(b), ['c']);
  await stage.pass(40_000);
  for (const member of [a, b]) assert.deepEqual(lost(member), []);
  assert.deepEqual(recordsOf(stage, 'c'), []);
});

test('a lost member is forgotten after a day, and one that left after 30 days', async () => {
  const { stage, a, b } = await withOneLost();
  await stage.until(b.replica.leave());
  stage.kill(b);
  await stage.pass(NOTICED_MS);
  const jump = async (ms: number): Promise<void> => {
    a.wallOffMs += ms;
    await stage.pass(20_000);
  };
  await jump(DAY_MS - 600_000);
  assert.deepEqual(lost(a), ['c']);
  await jump(600_000);
  assert.deepEqual(lost(a), []);
  assert.deepEqual(recordsOf(stage, 'c'), []);
  await jump(28 * DAY_MS);
  assert.deepEqual(recordsOf(stage, 'b'), ['u/x/b', 'u/d/b']);
  await jump(2 * DAY_MS);
  assert.deepEqual(recordsOf(stage, 'b'), []);
});

test('a member that is replaced before its loss is noticed is forgotten after 10 min, and so are two that are replaced one by one', async () => {
  const stage = new ClusterStage(LEASE_MS);
  const a = await stage.start('a');
  const [b, c] = [await stage.start('b'), await stage.start('c')];
  await stage.pass(15_000);
  stage.kill(c);
  await stage.pass(LEASE_MS);
  await stage.start('c2');
  await stage.pass(NOTICED_MS);
  assert.deepEqual(lost(a), ['c']);
  stage.kill(b);
  await stage.pass(LEASE_MS);
  await stage.start('b2');
  await stage.pass(NOTICED_MS);
  assert.deepEqual(lost(a), ['b', 'c']);
  await stage.pass(620_000);
  assert.deepEqual(lost(a), []);
});
