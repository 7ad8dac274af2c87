import type { Quota } from '../../access/quotas.js';
import type { Reason } from '../../model/errors.js';
import type { Call } from './call.js';
import type { CallObserver } from './dispatcher.js';
import type { Gate } from './gates.js';

/** The methods that carry heartbeats. Their items are counted where they are known, and not the calls: see `May.takeBeats`. */
const BEATS: ReadonlySet<string> = new Set([
  '/rollcall.v1.RegistryService/Heartbeat',
  '/rollcall.v1.RegistryService/StreamHeartbeats',
]);

/** Methods that count as several calls: every server answers them, from more than one index. */
const WEIGHTS: ReadonlyMap<string, number> = new Map([
  ['/rollcall.v1.AdminService/Why', 10],
  ['/rollcall.v1.AdminService/ListTransitions', 10],
  ['/rollcall.v1.AdminService/ListLiveness', 10],
  ['/rollcall.v1.AdminService/ListWatchers', 10],
  ['/rollcall.v1.RegistryService/ListInstances', 10],
]);

/** The reasons of heartbeats whose items are not counted. */
const UNREADABLE: ReadonlySet<Reason> = new Set<Reason>([
  ...(['INVALID_REQUEST', 'MALFORMED_REQUEST', 'REQUEST_TOO_LARGE', 'NOT_ONE_MESSAGE'] as const),
  ...(['UNKNOWN_COMPRESSION', 'COMPRESSION_NOT_NAMED'] as const),
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
      if (!quota) return undefined;
      if (BEATS.has(call.method.path)) {
        quota.assertBeats();
        return undefined;
      }
      quota.takeCall(WEIGHTS.get(call.method.path));
      if (call.method.kind === 'SERVER_STREAM' && !over.has(call)) {
        quota.openWatch();
        watches.set(call, quota);
      }
      return undefined;
    },
    ended: (call, failure) => {
      // A heartbeat that cannot be read has no items, and would cost its caller nothing.
      if (failure && UNREADABLE.has(failure.error.reason) && BEATS.has(call.method.path)) chargeBeat(call);
      if (call.method.kind !== 'SERVER_STREAM') return;
      over.add(call);
      watches.get(call)?.closeWatch();
    },
  };
}

function chargeBeat({ principal }: Call): void {
  try {
    principal.quota()?.chargeBeat();
  } catch {
    // The credential has ended meanwhile, and its quota with it.
  }
}
