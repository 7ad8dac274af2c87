import type { CounterBoard } from '../../base/telemetry.js';
import type { CallObserver } from './dispatcher.js';

/** Counts the calls that ended with an error, and those of them that are bugs in this program. */
export function errorCounter(counters: CounterBoard): CallObserver {
  return {
    ended: (_, failure) => {
      if (!failure) return;
      counters.add('rpc_errors');
      if (failure.error.reason === 'INTERNAL') counters.add('internal_errors');
    },
  };
}
