import { declareAlarms, declareCounters } from '../base/telemetry.js';

/** The counters of access control. */
export const COUNTERS = declareCounters({
  access_reloads: 'Access files that were taken over after the start.',
  jwt_verifications: 'Signatures of JWTs that were verified. One that was accepted is remembered.',
});

/** The alarms of access control. */
export const ALARMS = declareAlarms({
  ACCESS_NOT_RELOADED: 'The access file has changed and cannot be used. The rules before it stay in force.',
  JWKS_STALE: 'The keys of an issuer of JWTs cannot be read. Those that were read last are in use, for a bounded time.',
});
