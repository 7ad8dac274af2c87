import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import type { PeerAnswers } from '../../domain/cluster/peer-end.js';
import {
  type GetStoreStatusRequest,
  GetStoreStatusResponse,
  type HandOverRequest,
  HandOverResponse,
  HeardKind,
  type HeardNote,
  type HeardQuery,
  type LastHeardRequest,
  LastHeardResponse,
  type MemberRef,
} from '../../gen/rollcall/peer/v1/peer_service.js';
import type { Answer, Query } from '../../domain/health/heard.js';
import { instanceKey } from '../../model/keys.js';
import { LIMITS } from '../../model/limits.js';
import { INSTANCE_ID, NAMESPACE, RUN_ID, SERVICE } from '../../model/names.js';
import { fromDuration, toDuration } from '../../model/time.js';
import { Checker } from '../call/check.js';
import type { Calls } from '../../edges/grpc/calls.js';

const NOBODY: MemberRef = { id: '', epoch: 0n };

/** PeerService on gRPC. */
export function peerService(peer: PeerAnswers, calls: Calls): UntypedServiceImplementation {
  return {
    lastHeard: calls.unary(({ to, queries, promise }: LastHeardRequest) => {
      checkItems('queries', queries, LIMITS.PEER_QUERIES.value);
      const answers = peer.lastHeard(to ?? NOBODY, queries.map(queryOf), promise);
      return LastHeardResponse.fromPartial({ answers: answers.map((answer, i) => told(queries[i]!.id, answer)) });
    }),
    handOver: calls.unary(({ to, notes }: HandOverRequest) => {
      checkItems('notes', notes, LIMITS.PEER_NOTES.value);
      peer.handOver(
        to ?? NOBODY,
        notes.map(({ namespace, service, id, incarnation, revision, age }) => ({
          key: instanceKey(namespace, service, id),
          incarnation,
          revision,
          // Whoever does not say how long ago is taken to mean now: that moves a verdict later, never earlier.
          ageMs: age ? Math.max(fromDuration(age), 0) : 0,
        })),
      );
      return HandOverResponse.create();
    }),
    getStoreStatus: calls.unary(({ to }: GetStoreStatusRequest) =>
      GetStoreStatusResponse.create({ works: peer.storeWorks(to ?? NOBODY) }),
    ),
  };
}

/** The names make keys, so they are held to their rules here, too. */
function checkItems(field: string, items: readonly (HeardQuery | HeardNote)[], max: number): void {
  const check = new Checker();
  check.count(field, items.length, max, 'items');
  items.slice(0, max).forEach(({ namespace, service, id, incarnation, revision }, i) => {
    check.name(`${field}[${i}].namespace`, namespace, NAMESPACE);
    check.name(`${field}[${i}].service`, service, SERVICE);
    check.name(`${field}[${i}].id`, id, INSTANCE_ID);
    check.name(`${field}[${i}].incarnation`, incarnation, RUN_ID);
    check.notNegative(`${field}[${i}].revision`, revision);
  });
  check.done();
}

function queryOf({ namespace, service, id, incarnation, ttl, revision }: HeardQuery): Query {
  return { key: instanceKey(namespace, service, id), incarnation, ttlMs: ttl ? fromDuration(ttl) : 0, revision };
}

function told(id: string, answer: Answer): { id: string; kind: HeardKind; age?: object; promisedRevision: bigint } {
  switch (answer.kind) {
    case 'HEARD':
      return { id, kind: HeardKind.HEARD_KIND_HEARD, age: toDuration(answer.ageMs), promisedRevision: 0n };
    case 'CHANGED':
      return { id, kind: HeardKind.HEARD_KIND_CHANGED, promisedRevision: 0n };
    case 'SILENT':
      return { id, kind: HeardKind.HEARD_KIND_SILENT, promisedRevision: answer.promisedRevision };
  }
}
