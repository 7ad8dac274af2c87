import { ANONYMOUS, type Call } from '../../src/api/call/call.js';
import type { MethodInfo } from '../../src/api/call/method-info.js';

/** A call by nobody in particular, as an edge would make it. */
export const callOf = (method: MethodInfo, fields: Partial<Call> = {}): Call => ({
  ...{ method, principal: ANONYMOUS, peerAddress: '10.0.0.1', connection: '10.0.0.1:1', transport: 'grpc' },
  ...{ requestId: 'r1', deadlineMs: undefined, signal: new AbortController().signal },
  metadata: { request: {}, headers: [], trailers: [] },
  ...fields,
});
