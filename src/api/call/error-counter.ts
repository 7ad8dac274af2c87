import type { CounterBoard } from '../../base/telemetry.js';
import type { CallObserver } from './dispatcher.js';
import { COUNTERS } from '../instruments.js';

/** Counts the calls that ended with an error, and those of them that are bugs in this program. */
export function errorCounter(counters: CounterBoard): CallObserver {
  return {
    ended: (_, failure) => {
      if (!failure) return;
      counters.add(COUNTERS.rpc_errors);
      if (failure.error.reason === 'INTERNAL') counters.add(COUNTERS.internal_errors);
    },
  };
}
