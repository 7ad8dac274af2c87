/** A started timer. */
export interface Timer {
  /** Stops the timer; does nothing if it has fired or was cancelled. */
  cancel(): void;
}

/**
 * Time as the product sees it. It is a parameter everywhere, so that a test can control it.
 *
 * `now` is monotonic and is the only time that decides anything; `wall` is for display.
 */
export interface Clock {
  /** Monotonic milliseconds since an arbitrary start. */
  now(): number;
  /** Milliseconds since the Unix epoch, by the wall clock. */
  wall(): number;
  /** Calls `fn` once, `ms` from now at the earliest. */
  after(ms: number, fn: () => void): Timer;
  /** Calls `fn` every `ms`, first after `ms`. */
  every(ms: number, fn: () => void): Timer;
}

/** The clock of the machine. Its timers keep the process alive until they are cancelled. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, ms);
    return { cancel: () => clearTimeout(timer) };
  },
  every(ms, fn) {
    const timer = setInterval(fn, ms);
    return { cancel: () => clearInterval(timer) };
  },
};

/** Resolves once `promise` has settled as fulfilled, or after `ms`. Rejects with it if it rejects before. */
export async function settledWithin(clock: Clock, ms: number, promise: Promise<unknown>): Promise<void> {
  const timeUp = new AbortController();
  try {
    await Promise.race([promise, delay(clock, ms, timeUp.signal)]);
  } finally {
    timeUp.abort();
  }
}

/** Resolves after `ms`, or at once when `signal` is aborted. */
export function delay(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = (): void => {
      timer.cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.after(ms, done);
    signal?.addEventListener('abort', done);
  });
}
