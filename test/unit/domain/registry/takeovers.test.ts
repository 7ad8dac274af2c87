import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stage } from '../../../support/stage.js';

/** Two owners of one id take it from each other, `times` times. */
async function contest(stage: Stage, times: number, everyMs: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    await stage.until(stage.register({ incarnation: i % 2 ? 'a' : 'b' }));
    await stage.pass(everyMs);
  }
}

test('three changes of the owner of an id within a minute are an alarm, until it has been quiet for 5 min', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a' }));
  await contest(stage, 2, 1_000);
  assert.equal(stage.count('ID_CONTESTED'), 0);
  await contest(stage, 1, 0);
  assert.equal(stage.count('ID_CONTESTED'), 1);
  await stage.pass(4 * 60_000);
  assert.equal(stage.count('ID_CONTESTED cleared'), 0);
  await stage.pass(90_000);
  assert.equal(stage.count('ID_CONTESTED cleared'), 1);
});

test('changes of the owner that are further apart are no alarm, nor are those of silent or removed instances', async () => {
  const stage = await Stage.ready();
  await stage.until(stage.register({ incarnation: 'a', ttlS: 60 }));
  await contest(stage, 6, 31_000);
  for (let i = 0; i < 5; i++) {
    await stage.until(stage.register({ id: 'p2', incarnation: `run${i}`, ttlS: 2 }));
    await stage.pass(3_000); // silent by then
    assert.equal(stage.isSilent('p2'), true);
  }
  for (let i = 0; i < 5; i++) {
    await stage.until(stage.register({ id: 'p3', incarnation: `run${i}` }));
    await stage.until(stage.deregister({ id: 'p3' }));
  }
  assert.equal(stage.count('ID_CONTESTED'), 0);
});

test('two processes without an incarnation that move one id to and fro are an alarm, one that repeats itself is not', async () => {
  const stage = await Stage.ready();
  for (let i = 0; i < 10; i++) await stage.until(stage.register({ version: String(i) }));
  assert.equal(stage.count('ID_CONTESTED'), 0);
  for (let i = 0; i < 4; i++) await stage.until(stage.register({ address: `10.0.0.${1 + (i % 2)}` }));
  assert.equal(stage.count('ID_CONTESTED'), 1);
});
