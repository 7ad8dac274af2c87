import assert from 'node:assert/strict';
import { test } from 'node:test';
import { validateHeartbeats } from '../../../../src/api/registry/heartbeats.js';
import { HeartbeatItem, RejectionReason } from '../../../../src/gen/rollcall/v1/heartbeat.js';
import type { RollcallError } from '../../../../src/model/errors.js';
import { Stage } from '../../../support/stage.js';

test('E3: a beat that is checked against a record older than what was heard is noted under the record as it is now', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  stage.holdWatch();
  // The catalog goes on to show "a" under its first record, while "b" and then "a" again take the id.
  await stage.until(stage.register({ incarnation: 'b' }));
  assert.equal(await stage.until(stage.beat({ incarnation: 'b' })), undefined);
  const { revision } = await stage.until(stage.register({ incarnation: 'a' }));
  assert.equal(await stage.until(stage.beat({ incarnation: 'a' })), undefined);
  const key = 'w/i/default/pay/p1';
  const answer = stage.replica.table.answer({ key, incarnation: 'a', ttlMs: 5_000, revision }, false);
  assert.equal(answer.kind, 'HEARD', 'it was acknowledged');
});

test('E3: a beat of a process that lost the id does not count where the catalog has not seen that yet', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  stage.holdWatch();
  await stage.until(stage.register({ incarnation: 'b' }));
  assert.equal(await stage.until(stage.beat({ incarnation: 'b' })), undefined);
  assert.notEqual(await stage.until(stage.beat({ incarnation: 'a' })), undefined);
});

test('E3: a reply that has waited for the store leaves only if heartbeats may still be acknowledged', async () => {
  const stage = await silentStage();
  const beat = stage.beat({ incarnation: 'a' }).then(
    () => 'acknowledged',
    (error: unknown) => (error as RollcallError).reason,
  );
  await stage.pass(SLOW_MS / 2);
  stage.fencedBecause = 'STORE_LOST';
  assert.equal(await stage.until(beat), 'FENCED');
});

test('E3: what was settled from memory is looked at again if the reply has waited for other instances', async () => {
  const stage = await silentStage();
  stage.store.latencyMs = () => 0;
  await stage.until(stage.register({ id: 'p2', incarnation: 'b' }));
  stage.store.latencyMs = () => SLOW_MS;
  const { items } = validateHeartbeats([
    HeartbeatItem.fromPartial({ service: 'pay', id: 'p1', incarnation: 'a' }), // healed, by a commit
    HeartbeatItem.fromPartial({ service: 'pay', id: 'p2', incarnation: 'b' }), // from memory
  ]);
  const report = Promise.resolve(stage.replica.heartbeats.receive(items));
  stage.store.latencyMs = () => 0;
  const again = stage.register({ id: 'p2', incarnation: 'c' });
  const { rejected } = await stage.until(report);
  assert.deepEqual(rejected, [{ index: 1, reason: RejectionReason.REJECTION_REASON_RETRY }]);
  await stage.until(again);
});

test('a note that changes with each beat is written at most every 30 s, and a changed state at once', async () => {
  const stage = await Stage.ready();
  const { revision } = await stage.until(stage.register({ incarnation: 'a' }));
  const [HEALTHY, DEGRADED] = [1, 3];
  const seen: bigint[] = [revision];
  let beats = 0;
  const beat = async (state: number): Promise<void> => {
    const reported = { state, note: `beat ${beats++}` };
    assert.equal(await stage.until(stage.beat({ incarnation: 'a', reported })), undefined);
    const { revision } = stage.instance()!;
    if (revision !== seen.at(-1)) seen.push(revision);
  };
  for (let i = 0; i < 120; i++) {
    await beat(HEALTHY);
    await stage.pass(1_000);
  }
  assert.ok(seen.length >= 4 && seen.length <= 5, `${seen.length - 1} changes in 120 s`);
  const before = seen.length;
  await beat(DEGRADED);
  await beat(HEALTHY);
  assert.equal(seen.length, before + 2, 'both changes of the state are written, with their notes');
  assert.deepEqual(stage.instance()!.reported, { state: HEALTHY, note: `beat ${beats - 1}` });
});

/** The store's time for a commit. */
const SLOW_MS = 400;

/** A stage on which p1 is silent, and whose store is slow from now on. */
async function silentStage(): Promise<Stage> {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  await stage.untilTrue(() => stage.isSilent(), 6_000);
  stage.store.latencyMs = () => SLOW_MS;
  return stage;
}
