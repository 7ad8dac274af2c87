import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import {
  type GetStoreStatusResponse,
  type HandOverResponse,
  type HeardAnswer,
  HeardKind,
  type LastHeardResponse,
  PeerServiceClient,
} from '../../gen/rollcall/peer/v1/peer_service.js';
import type { Answer, Query } from '../../domain/health/heard.js';
import type { PeerConnector, PeerLink } from '../../domain/health/peers.js';
import { parseKey } from '../../model/keys.js';
import { fromDuration, toDuration } from '../../model/time.js';

/** The deadline of a call: the caller has given up by then. */
const CALL_MAX_MS = 1_000;

const CHANNEL = {
  // A member that was cut off and is back must be asked again at once: each second without an answer is one without verdicts.
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 3_000,
  'grpc.enable_channelz': 0,
};

const NONE = new Metadata();

/** Reaches members over gRPC at the addresses in their keys. */
export const connectPeer: PeerConnector = ({ id, epoch, address }): PeerLink => {
  const client = new PeerServiceClient(address, credentials.createInsecure(), CHANNEL);
  const to = { id, epoch };
  const call = <T>(make: (deadline: Date, done: (error: ServiceError | null, answer: T) => void) => unknown) =>
    new Promise<T>((resolve, reject) => {
      make(new Date(Date.now() + CALL_MAX_MS), (error, answer) => (error ? reject(error) : resolve(answer)));
    });
  return {
    async lastHeard(queries, promise) {
      const request = { to, promise, queries: queries.map((query) => asked(query)) };
      const { answers } = await call<LastHeardResponse>((deadline, done) =>
        client.lastHeard(request, NONE, { deadline }, done),
      );
      return queries.map((_, i) => answerOf(answers[i], request.queries[i]!.id));
    },
    async handOver(notes) {
      const told = notes.map(({ key, incarnation, revision, ageMs }) => ({
        ...namesOf(key),
        incarnation,
        revision,
        age: toDuration(ageMs),
      }));
      await call<HandOverResponse>((deadline, done) => client.handOver({ to, notes: told }, NONE, { deadline }, done));
    },
    async storeWorks() {
      const { works } = await call<GetStoreStatusResponse>((deadline, done) =>
        client.getStoreStatus({ to }, NONE, { deadline }, done),
      );
      return works;
    },
    close: () => client.close(),
  };
};

function namesOf(key: string): { namespace: string; service: string; id: string } {
  const { namespace, scope, name } = parseKey(key)!;
  return { namespace, service: scope, id: name };
}

function asked({ key, incarnation, ttlMs, revision }: Query) {
  return { ...namesOf(key), incarnation, ttl: toDuration(ttlMs), revision };
}

/** An answer that is not about the id asked for, or of a kind that is not known, is none. */
function answerOf(answer: HeardAnswer | undefined, id: string): Answer {
  if (answer?.id === id) {
    switch (answer.kind) {
      case HeardKind.HEARD_KIND_HEARD:
        return { kind: 'HEARD', ageMs: answer.age ? fromDuration(answer.age) : 0 };
      case HeardKind.HEARD_KIND_CHANGED:
        return { kind: 'CHANGED' };
      case HeardKind.HEARD_KIND_SILENT:
        return { kind: 'SILENT', promisedRevision: answer.promisedRevision };
      default:
        break;
    }
  }
  throw new Error(`no answer about ${id}`);
}
