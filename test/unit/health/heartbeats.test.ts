import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stage } from '../stage.js';

test('E3: a beat that is checked against a record older than what was heard is noted under the record as it is now', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  stage.holdWatch();
  // The catalog goes on to show "a" under its first record, while "b" and then "a" again take the id.
  await stage.until(stage.register({ incarnation: 'b' }));
  assert.equal(await stage.until(stage.beat({ incarnation: 'b' })), undefined);
  const { revision } = await stage.until(stage.register({ incarnation: 'a' }));
  assert.equal(await stage.until(stage.beat({ incarnation: 'a' })), undefined);
  const key = 'i/default/pay/p1';
  const answer = stage.replica.heard.answer({ key, incarnation: 'a', ttlMs: 5_000, revision }, false);
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
