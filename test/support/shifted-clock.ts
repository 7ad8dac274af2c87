import { type Clock, systemClock } from '../../src/base/clock.js';

/** The real clock, set forward by a test. Its timers fire only in real time. */
export class ShiftedClock implements Clock {
  shiftMs = 0;
  now = (): number => systemClock.now() + this.shiftMs;
  wall = (): number => systemClock.wall() + this.shiftMs;
  after = systemClock.after.bind(systemClock);
  every = systemClock.every.bind(systemClock);
}
