import { type Clock, delay } from '../../base/clock.js';
import type { Log, Telemetry } from '../../base/telemetry.js';
import { Addresses } from '../../catalog/addresses.js';
import { Catalog } from '../../catalog/catalog.js';
import { CONFIGS } from '../../model/config.js';
import { prefixRange, type Revision, type Store, WATCHED_RANGE } from '../../store/store.js';
import type { Entry } from './ring.js';
import { transitionsOf } from './transitions.js';

/** The time that a refill may take: a server has other work after its start. */
const REFILL_MAX_MS = 30_000;
/** The pause before another try, if the store did not answer. */
const RETRY_MS = 2_000;
/** The number of revisions that are taken in during one turn of the event loop, and the pause after it. */
const TURN_REVISIONS = 200;
const PAUSE_MS = 1;
/** Everything but configs: they have no transitions, and are large. */
const RANGE = { start: prefixRange(CONFIGS).end, end: WATCHED_RANGE.end };

/** The dependencies of a refill. */
export interface RefillParts {
  readonly store: Pick<Store, 'past'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** The transitions before a listing, as far back as the store has kept its history. */
export interface Earlier {
  /** Oldest first. All of them after `since`. */
  readonly entries: readonly Entry[];
  readonly since: Revision;
}

/**
 * Reads the transitions up to a revision from the history that the store has kept. A catalog of its own goes through that
 * history again, so the transitions are those that a server would have seen that ran all the time. At least the newest
 * `max` are returned, if there are as many. `undefined` if the store has no history, or does not hand it out in time.
 */
export async function earlierTransitions(
  parts: RefillParts,
  until: Revision,
  max: number,
  signal: AbortSignal,
): Promise<Earlier | undefined> {
  const { clock, log } = parts;
  const end = new AbortController();
  const timer = clock.after(REFILL_MAX_MS, () => end.abort());
  const untilEnd = AbortSignal.any([signal, end.signal]);
  try {
    while (!untilEnd.aborted) {
      try {
        return await read(parts, until, max, untilEnd);
      } catch (error) {
        if (!untilEnd.aborted) log.info({ err: error }, 'the history of the store cannot be read now; trying again');
      }
      await delay(clock, RETRY_MS, untilEnd);
    }
    if (!signal.aborted) log.warn({ maxMs: REFILL_MAX_MS }, 'the history of the store was not read in time');
    return undefined;
  } finally {
    timer.cancel();
    // A listener on an end that never comes would keep the whole catalog of the past in memory.
    end.abort();
  }
}

async function read(
  { store, clock }: RefillParts,
  until: Revision,
  max: number,
  signal: AbortSignal,
): Promise<Earlier | undefined> {
  const past = await store.past(RANGE, until, signal);
  if (!past) return undefined;
  const catalog = new Catalog({ clock, telemetry: UNHEARD });
  const addresses = new Addresses();
  addresses.start(catalog, signal);
  let since = past.from;
  let entries: Entry[] = [];
  /** A member's record has no time: it counts as the transition before it. */
  let timeMs = 0;
  catalog.subscribe(
    'other',
    (change) => {
      if (change.revision <= past.from) return;
      for (const entry of transitionsOf(change, { catalog, addresses }, timeMs)) {
        timeMs = entry.timeMs;
        entries.push(entry);
      }
      if (entries.length < 2 * max) return;
      since = BigInt(entries[max - 1]!.revision);
      entries = entries.slice(max);
    },
    signal,
  );
  catalog.replace(0n, []);
  let revisions = 0;
  let epoch = '';
  for await (const batch of past.batches) {
    if (signal.aborted) break;
    catalog.apply(batch);
    if (epoch !== '' && catalog.storeEpoch !== epoch) {
      // The entries before belong to a history that a restore has ended.
      since = batch.revision;
      entries = [];
    }
    epoch = catalog.storeEpoch;
    if (++revisions % TURN_REVISIONS === 0) await delay(clock, PAUSE_MS, signal);
  }
  signal.throwIfAborted();
  return { entries, since };
}

/** The faults of old records were reported when they were new. */
const UNHEARD: Telemetry = {
  log: { debug: ignore, info: ignore, warn: ignore, error: ignore, child: () => UNHEARD.log },
  counters: { add: ignore },
  histograms: { observe: ignore },
  alarms: { raise: ignore, clear: ignore },
};

function ignore(): void {
  // on purpose
}
