import type { ProbeQuery } from '../../model/probe.js';
import type { HeardNote, Query } from '../../domain/health/liveness-table.js';
import type { MemberRef } from '../../domain/health/peers.js';
import type {
  AnswerPartRequest,
  GetStoreStatusRequest,
  HandOverRequest,
  HeardNote as HeardNoteMessage,
  HeardQuery,
  LastHeardRequest,
  ProbeRequest,
} from '../../gen/rollcall/peer/v1/peer_service.js';
import { instanceKey } from '../../model/instance.js';
import { LIMITS } from '../../model/limits.js';
import { INSTANCE_ID, NAMESPACE, RUN_ID, SERVICE } from '../../model/names.js';
import { fromDuration } from '../../model/time.js';
import { Validator } from '../call/validator.js';

/** The addressee of a request that names none. No membership equals it. */
const NO_ADDRESSEE: MemberRef = { id: '', epoch: 0n };

export function validateLastHeard({ to, queries, promise }: LastHeardRequest): {
  to: MemberRef;
  /** The ids of the queries, in order: an answer repeats them. */
  ids: string[];
  queries: Query[];
  promise: boolean;
} {
  validateItems('queries', queries, LIMITS.PEER_QUERIES.value);
  return { to: to ?? NO_ADDRESSEE, ids: queries.map(({ id }) => id), queries: queries.map(toQuery), promise };
}

export function validateProbe({ to, queries }: ProbeRequest): { to: MemberRef; queries: ProbeQuery[] } {
  const validator = new Validator();
  validator.count('queries', queries.length, LIMITS.PEER_PROBES.value, 'items');
  queries.slice(0, LIMITS.PEER_PROBES.value).forEach((query, i) => {
    const field = `queries[${i}]`;
    validator.name(`${field}.namespace`, query.namespace, NAMESPACE);
    validator.name(`${field}.service`, query.service, SERVICE);
    validator.name(`${field}.id`, query.id, INSTANCE_ID);
    validator.name(`${field}.incarnation`, query.incarnation, RUN_ID);
    validator.name(`${field}.check`, query.check, SERVICE);
    validator.chars(`${field}.fingerprint`, query.fingerprint, LIMITS.INCARNATION_CHARS.value);
  });
  validator.done();
  return { to: to ?? NO_ADDRESSEE, queries };
}

export function validateHandOver({ to, notes }: HandOverRequest): { to: MemberRef; notes: HeardNote[] } {
  validateItems('notes', notes, LIMITS.PEER_NOTES.value);
  return { to: to ?? NO_ADDRESSEE, notes: notes.map(toNote) };
}

export function validateStoreStatus({ to, from }: GetStoreStatusRequest): { to: MemberRef; from: string } {
  return { to: to ?? NO_ADDRESSEE, from };
}

export function validateAnswerPart({ to, method, request }: AnswerPartRequest): {
  to: MemberRef;
  method: string;
  request: Uint8Array;
} {
  return { to: to ?? NO_ADDRESSEE, method, request };
}

/** Validates the names of the items. They become keys, so they must follow the rules here as well. */
function validateItems(field: string, items: readonly (HeardQuery | HeardNoteMessage)[], max: number): void {
  const validator = new Validator();
  validator.count(field, items.length, max, 'items');
  items.slice(0, max).forEach(({ namespace, service, id, incarnation, revision }, i) => {
    validator.name(`${field}[${i}].namespace`, namespace, NAMESPACE);
    validator.name(`${field}[${i}].service`, service, SERVICE);
    validator.name(`${field}[${i}].id`, id, INSTANCE_ID);
    validator.name(`${field}[${i}].incarnation`, incarnation, RUN_ID);
    validator.notNegative(`${field}[${i}].revision`, revision);
  });
  validator.done();
}

function toQuery({ namespace, service, id, incarnation, ttl, revision }: HeardQuery): Query {
  return { key: instanceKey(namespace, service, id), incarnation, ttlMs: ttl ? fromDuration(ttl) : 0, revision };
}

/** A note without an age counts as heard now: that moves a verdict later, never earlier. */
function toNote({ namespace, service, id, incarnation, revision, age }: HeardNoteMessage): HeardNote {
  const ageMs = age ? Math.max(fromDuration(age), 0) : 0;
  return { key: instanceKey(namespace, service, id), incarnation, revision, ageMs };
}
