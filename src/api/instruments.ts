import { declareCounters } from '../base/telemetry.js';

/** The counters of calls and watches. */
export const COUNTERS = declareCounters({
  rpc_errors: 'Calls that ended with an error.',
  internal_errors: 'Calls that ended with an error that is a bug in this program.',
  watches_opened: 'Watches opened.',
  watches_reset: 'Watches whose token could not be continued.',
  watches_slow: 'Watches ended because their reader made no progress.',
  watch_messages: 'Messages sent on watches.',
});
