import type { ReadStamp } from '../../catalog/freshness.js';
import type { Selected } from '../../domain/registry/discovery.js';
import { DiscoverResponse } from '../../gen/rollcall/v1/registry_service.js';
import { RollcallError } from '../../model/errors.js';
import { LIMITS } from '../../model/limits.js';
import { Pieces } from '../call/message.js';
import { readFields } from '../call/reads.js';

const nothing = DiscoverResponse.create();
/** The encoded instances of a selection, as long as the service does not change. */
const bodies = new WeakMap<Selected, Uint8Array>();

/**
 * Encodes the answer to Discover. The instances are encoded once for as long as they stay the same; revision and
 * staleness differ from call to call and are appended. Throws ANSWER_TOO_LARGE beyond ANSWER_BYTES.
 */
export function encodeDiscover(selected: Selected, stamp: ReadStamp): Pieces {
  let body = bodies.get(selected);
  if (!body) {
    const { instances, hiddenCount, protection } = selected;
    body = DiscoverResponse.encode({ ...nothing, instances: [...instances], hiddenCount, protection }).finish();
    bodies.set(selected, body);
  }
  assertSize(body.length);
  return new Pieces(body, DiscoverResponse.encode({ ...nothing, ...readFields(stamp) }).finish());
}

function assertSize(bytes: number): void {
  const { value } = LIMITS.ANSWER_BYTES;
  if (bytes <= value) return;
  const message = `the answer has ${bytes} bytes, the limit is ${value}: use subset, a filter, or WatchServices`;
  throw new RollcallError('ANSWER_TOO_LARGE', message, { metadata: { bytes: String(bytes), limit: String(value) } });
}
