import type { Quota } from '../../access/quotas.js';
import type { Call } from './call.js';
import type { CallObserver } from './dispatcher.js';
import type { Gate } from './gates.js';

/** The methods that carry heartbeats. Their items are counted, and not the calls: see `May.takeBeats`. */
const BEATS: ReadonlySet<string> = new Set([
  '/rollcall.v1.RegistryService/Heartbeat',
  '/rollcall.v1.RegistryService/StreamHeartbeats',
]);

/** Refuses calls and watches beyond the limits of their caller. It counts a watch until its call ends. */
export function quotaGate(): Gate & CallObserver {
  const watches = new WeakMap<Call, Quota>();
  /** Streams whose client left while its credential was looked at. */
  const over = new WeakSet<Call>();
  return {
    name: 'quota',
    admit: (call) => {
      const quota = call.principal.quota();
      if (!quota || BEATS.has(call.method.path)) return undefined;
      quota.takeCall();
      if (call.method.kind === 'SERVER_STREAM' && !over.has(call)) {
        quota.openWatch();
        watches.set(call, quota);
      }
      return undefined;
    },
    ended: (call) => {
      if (call.method.kind !== 'SERVER_STREAM') return;
      over.add(call);
      watches.get(call)?.closeWatch();
    },
  };
}
