import { type Clock, delay } from '../../base/clock.js';
import type { Encoded } from '../call/message.js';
import type { Sink } from '../call/sink.js';

/** A reader that takes nothing for this long is stuck. */
export const NO_PROGRESS_MAX_MS = 60_000;

/** Sends one message. Returns false if the reader has not taken it in time. */
export async function isTaken(sink: Sink, clock: Clock, message: Encoded): Promise<boolean> {
  const over = new AbortController();
  const sent = sink.send(message).then(() => true);
  const isSent = await Promise.race([sent, delay(clock, NO_PROGRESS_MAX_MS, over.signal).then(() => false)]);
  over.abort();
  return isSent;
}
