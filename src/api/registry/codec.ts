import type { ReadStamp } from '../../catalog/freshness.js';
import type { Selected } from '../../domain/registry/discovery.js';
import { DiscoverResponse } from '../../gen/rollcall/v1/registry_service.js';
import { RollcallError } from '../../model/errors.js';
import { LIMITS } from '../../model/limits.js';
import { Pieces } from '../call/message.js';
import { readFields } from '../call/reads.js';
import { encodeMessage } from '../call/wire.js';

const nothing = DiscoverResponse.create();
/** The last answer with a selection, as long as the service does not change. */
const answers = new WeakMap<Selected, Pieces>();

/**
 * Encodes the answer to Discover. The instances are encoded once for as long as they stay the same; revision and
 * staleness are appended. While they stay the same too, so does the answer. Throws ANSWER_TOO_LARGE beyond ANSWER_BYTES.
 */
export function encodeDiscover(selected: Selected, stamp: ReadStamp): Pieces {
  const own = encodeStamp(stamp);
  let answer = answers.get(selected);
  if (answer?.own !== own) {
    answer = new Pieces(answer?.shared ?? encodeInstances(selected), own);
    answers.set(selected, answer);
  }
  assertSize(answer.shared.length);
  return answer;
}

function encodeInstances({ instances, hiddenCount, protection }: Selected): Uint8Array {
  return encodeMessage(DiscoverResponse, { ...nothing, instances: [...instances], hiddenCount, protection });
}

/** The last stamp of a server whose store answers: calls between two changes have the same. */
let lastStamp: { readonly revision: bigint; readonly bytes: Uint8Array } | undefined;

function encodeStamp(stamp: ReadStamp): Uint8Array {
  if (stamp.staleForMs === undefined && stamp.revision === lastStamp?.revision) return lastStamp.bytes;
  const bytes = encodeMessage(DiscoverResponse, { ...nothing, ...readFields(stamp) });
  if (stamp.staleForMs === undefined) lastStamp = { revision: stamp.revision, bytes };
  return bytes;
}

function assertSize(bytes: number): void {
  const { value } = LIMITS.ANSWER_BYTES;
  if (bytes <= value) return;
  const message = `the answer has ${bytes} bytes, the limit is ${value}: use subset, a filter, or WatchServices`;
  throw new RollcallError('ANSWER_TOO_LARGE', message, { metadata: { bytes: String(bytes), limit: String(value) } });
}
