import type { PeerProofs } from '../../domain/cluster/peer-proofs.js';
import { PROOF_HEADERS } from '../../model/member.js';
import { type Encoded, whole } from '../call/message.js';
import type { Call } from '../call/call.js';
import type { Method, UnaryMethod } from '../call/method.js';

/** Lets methods answer proven questions alone, and prove their answers. */
export function proven(methods: readonly Method[], proofs: PeerProofs): Method[] {
  return methods.map((method) => (method.kind === 'UNARY' ? provenMethod(method, proofs) : method));
}

function provenMethod(method: UnaryMethod, proofs: PeerProofs): UnaryMethod {
  const { path, readOnly } = method;
  const invoke = async (bytes: Uint8Array, call: Call): Promise<Encoded> => {
    const question = await proofs.verify({ path, bytes, readOnly }, call.metadata.request);
    const answer = whole(await method.invoke(bytes, call));
    call.metadata.headers.push([PROOF_HEADERS.proof, proofs.answer(question, answer)]);
    return answer;
  };
  return { ...method, invoke };
}
