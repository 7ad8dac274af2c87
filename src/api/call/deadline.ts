import type { Clock } from '../../base/clock.js';
import { RollcallError } from '../../model/errors.js';
import type { Call } from './call.js';

/** The milliseconds until the client of a call gives up: 0 if it has, infinite if it set no deadline. */
export function leftMsOf({ deadlineMs }: Call, clock: Clock): number {
  return deadlineMs === undefined ? Infinity : Math.max(0, deadlineMs - clock.wall());
}

/** The error of a call whose deadline passed before it was answered. */
export function deadlinePassed(): RollcallError {
  return new RollcallError('DEADLINE_PASSED', 'the deadline of the call has passed; a write may have happened or not');
}
