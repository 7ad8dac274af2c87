import type { Access } from '../access/access.js';
import type { Closeable } from '../base/lifecycle.js';
import { NO_MEMBER } from '../domain/cluster/peer-responder.js';
import type { Inspector } from '../domain/config/inspection/inspector.js';
import type { Replica, Surroundings } from '../domain/replica.js';
import { type About } from './admin/status.js';
import { LIMITS } from '../model/limits.js';
import { LivenessLists } from './admin/liveness.js';
import { Explanations } from './admin/why.js';
import { Watchers } from './admin/watchers.js';
import { AuditEvents } from './admin/audit.js';
import { adminHandlers } from './admin/handlers.js';
import { bind } from './call/bind.js';
import type { Audit } from '../audit/audit.js';
import { auditGate, type AuditedCalls, auditor } from './call/auditor.js';
import { certificateGate } from './call/certificate-gate.js';
import { Dispatcher } from './call/dispatcher.js';
import { identityGate } from './call/identity-gate.js';
import type { Method } from './call/method.js';
import { errorCounter } from './call/error-counter.js';
import { configHandlers } from './config/handlers.js';
import { peerHandlers } from './peer/handlers.js';
import { LocalParts } from './peer/local-parts.js';
import { quotaGate } from './call/quota-gate.js';
import { proven } from './peer/proven.js';
import { CheckResults } from './registry/check-results.js';
import { registryHandlers } from './registry/handlers.js';
import { SERVICES } from './services.js';
import { WatchHub } from './watch/hub.js';

/** The contract of one server, ready to be served by any number of edges. */
export interface Api extends Closeable {
  /** Every method of every service. */
  readonly methods: readonly Method[];
  /** The number of open watches. */
  watches(): number;
}

/** The parts of the process that the API needs. */
export type ApiParts = Pick<Surroundings, 'clock' | 'random' | 'telemetry'>;

/** The settings of the dispatcher. */
interface DispatcherSettings {
  /** The least age at which a stream is ended. */
  readonly streamAgeMs: number;
  /** Whether clients show certificates. */
  readonly clientCertificates: 'none' | 'optional' | 'required';
  /** `undefined` if every caller may do everything. */
  readonly access: Access | undefined;
  readonly audit: Audit;
  readonly auditedCalls: AuditedCalls;
  /** Decisions are refused while their events cannot be written. */
  readonly auditRequired: boolean;
}

/** Makes the dispatcher: the gates in their order, and the observers. */
export function openDispatcher(parts: ApiParts & DispatcherSettings): Dispatcher {
  const { clock, random, telemetry, streamAgeMs, clientCertificates, access, audit, auditedCalls } = parts;
  const quotas = quotaGate();
  const observers = [errorCounter(telemetry.counters), auditor(audit, auditedCalls), quotas];
  const gates = [
    ...(clientCertificates === 'none' ? [] : [certificateGate(clientCertificates === 'required', clock)]),
    identityGate(access),
    quotas,
    ...(parts.auditRequired ? [auditGate(audit)] : []),
  ];
  return new Dispatcher({ clock, random, telemetry, streamAgeMs, gates, observers });
}

/** Binds every method to a replica. */
export function openApi(
  replica: Replica,
  dispatcher: Dispatcher,
  about: About,
  parts: ApiParts & { readonly inspector: Inspector; readonly audit: Audit },
): Api {
  const { catalog, freshness } = replica;
  const { unsent } = dispatcher;
  const hub = new WatchHub({ ...parts, catalog, freshness, unsent, partBytes: LIMITS.WATCH_PART_BYTES.value });
  hub.start();
  const stop = new AbortController();
  replica.membership?.onRewrite((reachedWatches) => hub.whenServed(reachedWatches), stop.signal);
  const localParts = new LocalParts();
  const asked = {
    auditEvents: new AuditEvents(parts.audit, replica, localParts),
    watchers: new Watchers(replica, hub, localParts),
    explanations: new Explanations(replica, localParts),
    livenessLists: new LivenessLists(replica, parts.clock, localParts),
  };
  return {
    methods: [
      ...bind(SERVICES.registry, registryHandlers(replica, hub, new CheckResults(replica, localParts))),
      ...bind(SERVICES.config, configHandlers(replica, hub, parts.inspector)),
      ...bind(SERVICES.admin, adminHandlers({ ...asked, replica, hub, about, clock: parts.clock })),
      ...peerMethods(replica, localParts),
    ],
    watches: () => hub.size,
    close: () => {
      stop.abort();
      return hub.close();
    },
  };
}

/** The methods for members. Without a cluster each is refused. */
function peerMethods({ peer, peerProofs }: Replica, localParts: LocalParts): Method[] {
  const methods = bind(SERVICES.peer, peerHandlers(peer ?? NO_MEMBER, localParts));
  return peerProofs ? proven(methods, peerProofs) : methods;
}
