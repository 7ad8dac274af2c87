import type { ProbeResult } from '../../model/probe.js';
import type { Answer, Query } from '../../domain/health/liveness-table.js';
import type { PeerConnector, PeerLink } from '../../domain/health/peers.js';
import {
  type AnswerPartRequest,
  type AnswerPartResponse,
  type GetStoreStatusRequest,
  type GetStoreStatusResponse,
  type HandOverRequest,
  type HandOverResponse,
  type HeardAnswer,
  HeardKind,
  type HeardQuery,
  type LastHeardRequest,
  type LastHeardResponse,
  type ProbeRequest,
  type ProbeResponse,
  type ProbeResult as ProbeMessage,
} from '../../gen/rollcall/peer/v1/peer_service.js';
import { ProbeOutcome } from '../../gen/rollcall/v1/check.js';
import { parseInstanceKey } from '../../model/instance.js';
import { fromDuration, toDuration } from '../../model/time.js';

/** The calls of PeerService at one address. Every call fails if it is not answered in time. */
export interface PeerStub {
  lastHeard(request: LastHeardRequest): Promise<LastHeardResponse>;
  handOver(request: HandOverRequest): Promise<HandOverResponse>;
  getStoreStatus(request: GetStoreStatusRequest): Promise<GetStoreStatusResponse>;
  answerPart(request: AnswerPartRequest): Promise<AnswerPartResponse>;
  /** `timeoutMs`: how long the callee may take beyond the usual. */
  probe(request: ProbeRequest, timeoutMs: number): Promise<ProbeResponse>;
  close(): void;
}

/** Connects to members at the addresses in their keys. `open` makes the stub of an address and does not wait. */
export function peerConnector(open: (address: string) => PeerStub): PeerConnector {
  return ({ id, epoch, address }): PeerLink => {
    const stub = open(address);
    const to = { id, epoch };
    return {
      async lastHeard(queries, promise) {
        const asked = queries.map(toMessage);
        const { answers } = await stub.lastHeard({ to, promise, queries: asked });
        return asked.map((query, i) => fromMessage(answers[i], query.id));
      },
      async probe(queries, timeoutMs) {
        const { results } = await stub.probe({ to, queries: [...queries] }, timeoutMs);
        return queries.map((_, i) => toResult(results[i]));
      },
      async handOver(notes) {
        const messages = notes.map(({ key, incarnation, revision, ageMs }) => ({
          ...namesOf(key),
          incarnation,
          revision,
          age: toDuration(ageMs),
        }));
        await stub.handOver({ to, notes: messages });
      },
      async storeStatus(from) {
        const { works, seenWriteId: writeId, seenAge } = await stub.getStoreStatus({ to, from });
        return { works, seen: writeId === '' ? undefined : { writeId, ageMs: seenAge ? fromDuration(seenAge) : 0 } };
      },
      async answerPart(method, request) {
        return (await stub.answerPart({ to, method, request: Buffer.from(request) })).response;
      },
      close: () => stub.close(),
    };
  };
}

/** A result of an unknown kind, or none, says nothing. */
function toResult(message: ProbeMessage | undefined): ProbeResult {
  const { outcome = ProbeOutcome.PROBE_OUTCOME_UNSPECIFIED, latency, error = '' } = message ?? {};
  return { outcome, latencyMs: latency ? fromDuration(latency) : 0, error };
}

function namesOf(key: string): { namespace: string; service: string; id: string } {
  const { namespace, scope, name } = parseInstanceKey(key)!;
  return { namespace, service: scope, id: name };
}

function toMessage({ key, incarnation, ttlMs, revision }: Query): HeardQuery {
  return { ...namesOf(key), incarnation, ttl: toDuration(ttlMs), revision };
}

/** Throws if the answer is about another id, or of an unknown kind: such an answer counts as none. */
function fromMessage(answer: HeardAnswer | undefined, id: string): Answer {
  if (answer?.id === id) {
    switch (answer.kind) {
      case HeardKind.HEARD_KIND_HEARD:
        return { kind: 'HEARD', ageMs: answer.age ? fromDuration(answer.age) : 0 };
      case HeardKind.HEARD_KIND_CHANGED:
        return { kind: 'CHANGED' };
      case HeardKind.HEARD_KIND_SILENT:
        return {
          kind: 'SILENT',
          ageMs: answer.age && fromDuration(answer.age),
          promisedRevision: answer.promisedRevision,
        };
      default:
        break;
    }
  }
  throw new Error(`no answer about ${id}`);
}
