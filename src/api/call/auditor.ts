import type { Audit, NewEvent } from '../../audit/audit.js';
import { RollcallError, type Reason } from '../../model/errors.js';
import type { Call } from './call.js';
import type { CallObserver } from './dispatcher.js';
import type { Failure } from './failure.js';
import type { Gate } from './gates.js';
import type { MethodInfo } from './method-info.js';

/** The calls that are events whatever their outcome: writes of configs, decisions of operators and Deregister; or Register too. */
export type AuditedCalls = 'writes' | 'all';

/** The reasons of calls that were refused for who the caller is, or for what it may do. */
const REFUSALS: ReadonlySet<Reason> = new Set<Reason>([
  ...(['CERTIFICATE_REQUIRED', 'CERTIFICATE_UNTRUSTED', 'CERTIFICATE_UNKNOWN', 'CREDENTIAL_REQUIRED'] as const),
  ...(['TOKEN_REFUSED', 'TOKEN_EXPIRED', 'NOT_ALLOWED', 'RATE_LIMITED', 'PEER_NOT_PROVEN'] as const),
]);

/** The reasons of calls whose write may have happened all the same. */
const UNKNOWN: ReadonlySet<Reason> = new Set<Reason>([
  ...(['STORE_UNAVAILABLE', 'OUTCOME_LOST', 'TIMED_OUT', 'DEADLINE_PASSED', 'INTERNAL'] as const),
]);

const REGISTRY = '/rollcall.v1.RegistryService';
const REMOVALS = [`${REGISTRY}/Deregister`, `${REGISTRY}/DeregisterInstances`];
/** Returns true for writes of configs and decisions of operators. */
const isDecision = ({ permission, readOnly }: MethodInfo): boolean =>
  !readOnly && (permission === 'config:write' || permission === 'operate' || permission === 'admin');

/** Makes events of calls that have ended. */
export function auditor(audit: Audit, calls: AuditedCalls): CallObserver {
  const isAudited = (method: MethodInfo): boolean =>
    isDecision(method) || REMOVALS.includes(method.path) || (calls === 'all' && method.path === `${REGISTRY}/Register`);
  const addRefusedItems = (call: Call): void => {
    const { refused } = call.notes ?? {};
    if (!refused?.size) return;
    audit.addRefusal({ ...eventOf(call, 'NOT_ALLOWED', undefined), resources: [...refused], revision: 0n });
    refused.clear();
  };
  return {
    ended: (call, failure) => {
      const reason = failure?.error.reason;
      if (reason !== undefined && (REFUSALS.has(reason) || isAudited(call.method))) {
        // A caller can fail as often as it likes. Only a write that may have happened counts each time.
        const isWrite = UNKNOWN.has(reason) && call.principal.kind !== 'anonymous' && !call.notes?.changesNothing;
        if (isWrite) audit.add(eventOf(call, reason, failure));
        else audit.addRefusal(eventOf(call, reason, failure));
      } else {
        if (isAudited(call.method) && hasChanged(call)) audit.add(eventOf(call, 'OK', failure));
        addRefusedItems(call);
      }
    },
    // A stream of heartbeats lasts for as long as its client: its refusals are events at once.
    answered: addRefusedItems,
  };
}

/** Refuses decisions while their events cannot be written. Register, Heartbeat, Deregister and reads are never refused. */
export function auditGate(audit: Audit): Gate {
  return {
    name: 'audit',
    admit: ({ method }) => {
      if (isDecision(method) && audit.isFailing)
        throw new RollcallError('AUDIT_UNAVAILABLE', 'the audit cannot be written, and the server requires it');
      return undefined;
    },
  };
}

/** Returns false if nothing that the call asked for was allowed, or it asked for no change. */
const hasChanged = ({ notes }: Call): boolean =>
  !notes?.changesNothing && (!notes?.refused.size || notes.resources.length > 0);

function eventOf(call: Call, outcome: string, failure: Failure | undefined): NewEvent {
  const { principal, peerAddress, transport, method, notes, requestId } = call;
  return {
    principal: principal.name,
    claimedAuthor: notes?.author ?? '',
    address: peerAddress,
    transport,
    method: method.path,
    resources: notes && notes.resources.length > 0 ? notes.resources : namesIn(failure),
    outcome,
    revision: notes?.revision ?? 0n,
    requestId,
    comment: notes?.comment ?? '',
  };
}

/** The object that a refusal names. */
function namesIn(failure: Failure | undefined): string[] {
  const { namespace, service, config } = failure?.error.metadata ?? {};
  return namespace === undefined ? [] : [`${namespace}/${service ?? config ?? ''}`];
}
