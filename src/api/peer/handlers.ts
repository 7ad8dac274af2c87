import type { PeerAnswers } from '../../domain/cluster/peer-responder.js';
import type { Answer } from '../../domain/health/liveness-table.js';
import { type HeardAnswer, HeardKind, type PeerServiceDefinition } from '../../gen/rollcall/peer/v1/peer_service.js';
import { toDuration } from '../../model/time.js';
import type { LocalParts } from './local-parts.js';
import { asksNothing, type Handlers, unary } from '../call/method.js';
import {
  validateAnswerPart,
  validateHandOver,
  validateLastHeard,
  validateProbe,
  validateStoreStatus,
} from './validation.js';

/** The handlers of PeerService. */
export function peerHandlers(peer: PeerAnswers, parts: LocalParts): Handlers<PeerServiceDefinition> {
  return {
    lastHeard: unary(validateLastHeard, asksNothing, ({ to, ids, queries, promise }) => ({
      answers: peer.lastHeard(to, queries, promise).map((answer, i) => toMessage(ids[i]!, answer)),
    })),

    probe: unary(validateProbe, asksNothing, async ({ to, queries }) => ({
      results: (await peer.probe(to, queries)).map(({ outcome, latencyMs, error }) => ({
        ...{ outcome, error, latency: toDuration(latencyMs) },
      })),
    })),

    handOver: unary(validateHandOver, asksNothing, ({ to, notes }) => {
      peer.handOver(to, notes);
      return {};
    }),

    answerPart: unary(validateAnswerPart, asksNothing, ({ to, method, request }) => {
      peer.assertAddressed(to);
      return { response: Buffer.from(parts.answer(method, request)) };
    }),

    getStoreStatus: unary(validateStoreStatus, asksNothing, ({ to, from }) => {
      const { works, seen } = peer.storeStatus(to, from);
      return { works, seenWriteId: seen?.writeId ?? '', seenAge: seen && toDuration(seen.ageMs) };
    }),
  };
}

function toMessage(id: string, answer: Answer): HeardAnswer {
  switch (answer.kind) {
    case 'HEARD':
      return { id, kind: HeardKind.HEARD_KIND_HEARD, age: toDuration(answer.ageMs), promisedRevision: 0n };
    case 'CHANGED':
      return { id, kind: HeardKind.HEARD_KIND_CHANGED, age: undefined, promisedRevision: 0n };
    case 'SILENT':
      return {
        id,
        kind: HeardKind.HEARD_KIND_SILENT,
        age: answer.ageMs === undefined ? undefined : toDuration(answer.ageMs),
        promisedRevision: answer.promisedRevision,
      };
  }
}
