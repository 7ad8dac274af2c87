import { declareAlarms } from '../base/telemetry.js';

/** The alarms of TLS. */
export const ALARMS = declareAlarms({
  INSECURE: 'Other machines reach this server, which has no TLS or no access control.',
  TLS_NOT_RELOADED: 'Files of TLS have changed and cannot be used. The ones before them stay in use.',
  CERTIFICATE_EXPIRES: 'A certificate of this server ends within 14 days, or has ended.',
});
