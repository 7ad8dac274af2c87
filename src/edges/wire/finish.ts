import { type Clock, settledWithin } from '../../base/clock.js';

/** How long calls in flight may take to finish after a shutdown began; the process is gone within 15 s. */
const FINISH_MAX_MS = 10_000;

/** Waits until the calls in flight of an edge have finished, or their time is up. */
export const finishInTime = (clock: Clock, finished: Promise<void>): Promise<void> =>
  settledWithin(clock, FINISH_MAX_MS, finished);
