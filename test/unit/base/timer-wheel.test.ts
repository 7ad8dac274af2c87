import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TimerWheel } from '../../../src/base/timer-wheel.js';
import { Dice } from '../../support/dice.js';

test('a deadline is met at the first slot that is not before it', () => {
  const wheel = new TimerWheel<string>(50, 8);
  wheel.arm('a', 120);
  assert.deepEqual(wheel.advance(100), []);
  assert.deepEqual(wheel.advance(149), []);
  assert.deepEqual(wheel.advance(150), ['a']);
  assert.equal(wheel.size, 0);
});

test('a deadline that has passed is met at the next advance', () => {
  const wheel = new TimerWheel<string>(50, 8);
  wheel.advance(1_000);
  wheel.arm('late', 10);
  assert.deepEqual(wheel.advance(1_050), ['late']);
});

test('deadlines are met never early and at most one slot late, whatever is armed, moved and disarmed', () => {
  const dice = new Dice(7);
  const wheel = new TimerWheel<number>(50, 16);
  const due = new Map<number, number>();
  let met = 0;
  for (let now = 0; now < 20_000; now += dice.between(1, 120)) {
    for (const value of wheel.advance(now)) {
      const deadline = due.get(value);
      assert.ok(deadline !== undefined && deadline <= now, `${value} at ${now}, due ${deadline}`);
      due.delete(value);
      met++;
    }
    for (const [value, deadline] of due)
      assert.ok(deadline > now - 50, `${value} was due at ${deadline} and is not met at ${now}`);
    const value = Math.floor(dice.between(0, 200));
    if (dice.chance(0.2)) {
      wheel.disarm(value);
      due.delete(value);
    } else {
      const deadline = now + dice.between(0, 3_000);
      wheel.arm(value, deadline);
      due.set(value, deadline);
    }
    assert.equal(wheel.size, due.size);
  }
  assert.ok(met > 50, 'many deadlines were met');
});
