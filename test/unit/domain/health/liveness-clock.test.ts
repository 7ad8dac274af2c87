import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../../../src/base/clock.js';
import type { PauseReason } from '../../../../src/domain/health/pause-reason.js';
import { LivenessClock } from '../../../../src/domain/health/liveness-clock.js';

/** A clock of which only the time matters, and a self-beat and reasons that are set by hand. */
function hands(): {
  liveness: LivenessClock;
  time: { now: number; wall: number };
  selfBeat: { inFlight: boolean; sent: number };
  reasons: PauseReason[];
} {
  const time = { now: 1_000, wall: 0 };
  const never = { cancel: () => undefined };
  const clock: Clock = { now: () => time.now, wall: () => time.wall, after: () => never, every: () => never };
  const selfBeat = { inFlight: false, sent: 0, send: () => void selfBeat.sent++ };
  const reasons: PauseReason[] = [];
  return { liveness: new LivenessClock(clock, selfBeat, () => reasons), time, selfBeat, reasons };
}

test('E2: the liveness clock advances by the monotonic clock, whatever the wall clock does', () => {
  const { liveness, time } = hands();
  time.now += 50;
  time.wall += 86_400_000;
  liveness.tick();
  assert.equal(liveness.nowMs, 50);
  time.now += 50;
  time.wall -= 2 * 86_400_000;
  assert.equal(liveness.stamp(), 100);
  liveness.tick();
  assert.equal(liveness.nowMs, 100);
});

test('E3: a stall counts for half a second, in a tick as in a stamp', () => {
  const { liveness, time } = hands();
  time.now += 60_000;
  assert.equal(liveness.stamp(), 500);
  liveness.tick();
  assert.equal(liveness.nowMs, 500);
  time.now += 50;
  liveness.tick();
  assert.equal(liveness.nowMs, 550);
});

test('E3: the liveness clock stands still while a self-beat is on its way, and sends one at every tick', () => {
  const { liveness, time, selfBeat } = hands();
  selfBeat.inFlight = true;
  time.now += 50;
  liveness.tick();
  assert.deepEqual([liveness.nowMs, [...liveness.pauses.keys()]], [0, ['SELF_BEAT_LATE']]);
  selfBeat.inFlight = false;
  time.now += 50;
  liveness.tick();
  assert.deepEqual([liveness.nowMs, [...liveness.pauses.keys()]], [50, []]);
  assert.equal(selfBeat.sent, 2);
});

test('E3: the liveness clock stands still for as long as a reason holds, and says for how long', () => {
  const { liveness, time, reasons } = hands();
  const begunMs = time.now + 50;
  reasons.push('STORE_UNREACHABLE');
  for (let i = 0; i < 4; i++) {
    time.now += 50;
    liveness.tick();
  }
  assert.deepEqual([liveness.nowMs, liveness.pausedForMs], [0, 150]);
  assert.deepEqual([...liveness.pauses], [['STORE_UNREACHABLE', begunMs]]);
  reasons.pop();
  time.now += 50;
  liveness.tick();
  assert.deepEqual([liveness.nowMs, liveness.pausedForMs, [...liveness.pauses.keys()]], [50, 0, []]);
});

test('a stamp is never earlier than the last tick', () => {
  const { liveness, time, reasons } = hands();
  time.now += 200;
  liveness.tick();
  assert.equal(liveness.stamp(), 200);
  reasons.push('STARTING');
  time.now += 50;
  liveness.tick();
  assert.equal(liveness.stamp(), 200);
});
