import { type BinaryReader } from '@bufbuild/protobuf/wire';
import { decodeUtf8 } from '../../base/utf8.js';
import type { BeatReport } from '../../domain/health/heartbeats.js';
import { HeartbeatItem, type RejectedHeartbeat, RejectionReason } from '../../gen/rollcall/v1/heartbeat.js';
import { type Reported, ReportedState } from '../../gen/rollcall/v1/instance.js';
import { type HeartbeatRequest, HeartbeatResponse } from '../../gen/rollcall/v1/registry_service.js';
import { inWords } from '../../model/errors.js';
import { LIMITS } from '../../model/limits.js';
import { INSTANCE_ID, NAMESPACE, RUN_ID, SERVICE } from '../../model/names.js';
import { toDuration } from '../../model/time.js';
import { Validator, NAME_DEFAULT, withoutControls } from '../call/validator.js';
import type { May } from '../call/may.js';
import type { Reply } from '../call/method.js';
import { encodeMessage } from '../call/wire.js';

/** The most warnings in one reply. */
const WARNINGS_MAX = 10;
/** The most bytes of the message about one invalid item: a thousand of them fit into an answer. */
const MESSAGE_BYTES_MAX = 384;
const ITEM_TAG = (1 << 3) | 2;

/** Stands for an item whose bytes are no item. */
const UNDECODABLE: HeartbeatItem = Object.freeze(HeartbeatItem.create());

/**
 * Decodes the requests of Heartbeat and StreamHeartbeats. The generated decoder would refuse all items because of one
 * that does not decode, or take its neighbors for a part of it; here each item has exactly its own bytes.
 */
export const HEARTBEAT_REQUEST = {
  decode(input: BinaryReader): HeartbeatRequest {
    const instances: HeartbeatItem[] = [];
    while (input.pos < input.len) {
      const tag = input.uint32();
      if (tag === ITEM_TAG) instances.push(decodeItem(input, input.uint32()));
      else input.skip(tag & 7, tag >>> 3);
    }
    return { instances };
  },
};

function decodeItem(input: BinaryReader, length: number): HeartbeatItem {
  const end = input.pos + length;
  let item = UNDECODABLE;
  try {
    const decoded = HeartbeatItem.decode(input, length);
    if (input.pos === end) item = decoded;
  } catch {
    // The item is rejected alone.
  }
  input.pos = end;
  return item;
}

/** The items of a heartbeat, validated. */
export interface ValidatedBeats {
  /** The items that are to be settled. */
  readonly items: readonly HeartbeatItem[];
  /** The position in the request of each of `items`. `undefined` if all items are valid, which is the common case. */
  readonly positions: readonly number[] | undefined;
  /** The items that break a rule, or that the caller may not send. */
  readonly refused: readonly RejectedHeartbeat[];
  readonly warnings: readonly string[];
}

/**
 * Checks the items of a heartbeat and fills the defaults. Throws INVALID_REQUEST only for their number: an item that
 * breaks a rule is rejected alone. Changes the items in place: this is the hottest path.
 */
export function validateHeartbeats(items: HeartbeatItem[]): ValidatedBeats {
  const validator = new Validator();
  if (items.length === 0) validator.refuse('instances', 'must have at least one item');
  validator.count('instances', items.length, LIMITS.HEARTBEAT_ITEMS.value, 'items');
  validator.done();
  const warnings: string[] = [];
  let invalid: RejectedHeartbeat[] | undefined;
  items.forEach((item, index) => {
    if (item === UNDECODABLE) return void (invalid ??= []).push(rejection(item, index, 'does not decode'));
    if (item.namespace === '') item.namespace = NAME_DEFAULT;
    if (item.reported) item.reported = repairReported(item.reported, `instances[${index}].reported`, warnings);
    if (!isValid(item)) (invalid ??= []).push(rejection(item, index, faultsOf(item)));
  });
  if (!invalid) return { items, positions: undefined, refused: [], warnings };
  const left = new Set(invalid.map(({ index }) => index));
  const positions = [...items.keys()].filter((index) => !left.has(index));
  return { items: positions.map((index) => items[index]!), positions, refused: invalid, warnings };
}

/**
 * The items that the caller may send. Each other one is rejected alone, and its neighbors count. A caller without a credential
 * that may send none is refused as a whole: it forgot its credential.
 */
export function allowedBeats(beats: ValidatedBeats, may: May): ValidatedBeats {
  const { items, positions, refused, warnings } = beats;
  may.takeBeats(items.length + refused.length);
  const isForeign = ({ namespace, service }: HeartbeatItem): boolean => !may.hasService(namespace, service);
  if (!items.some(isForeign)) return beats;
  const foreign = new Set([...items.keys()].filter((i) => isForeign(items[i]!)));
  if (foreign.size === items.length) may.known();
  may.noteRefused([...foreign].map((i) => items[i]!));
  const places = positions ?? [...items.keys()];
  const rejected = [...foreign].map((i) =>
    rejection(items[i]!, places[i]!, NOT_ALLOWED, RejectionReason.REJECTION_REASON_NOT_ALLOWED),
  );
  return {
    items: items.filter((_, i) => !foreign.has(i)),
    positions: places.filter((_, i) => !foreign.has(i)),
    refused: [...refused, ...rejected],
    warnings,
  };
}

const NOT_ALLOWED = 'the caller may not register this service: stop sending heartbeats, and do not register';

/** For a person who sees a rejection in a log; programs go by the reason. */
const WHAT_TO_DO: Partial<Record<RejectionReason, string>> = {
  [RejectionReason.REJECTION_REASON_NOT_REGISTERED]:
    'no such instance is registered: register it, then send heartbeats',
  [RejectionReason.REJECTION_REASON_SUPERSEDED]: 'another process registered with this id: stop sending heartbeats',
  [RejectionReason.REJECTION_REASON_DEREGISTERED]:
    'this run of the process was deregistered: stop sending heartbeats, and do not register again',
  [RejectionReason.REJECTION_REASON_RETRY]: 'the heartbeat did not count: send it again soon',
};

/** The reply to validated items. */
export function toResponse(
  { items, positions, refused, warnings }: ValidatedBeats,
  { intervalMs, rejected }: BeatReport,
): Reply<HeartbeatResponse> {
  if (rejected.length === 0 && refused.length === 0 && warnings.length === 0) return plainResponse(intervalMs);
  const settled = rejected.map(({ index, reason }) => {
    const { service, id } = items[index]!;
    return { index: positions?.[index] ?? index, service, id, reason, message: WHAT_TO_DO[reason] ?? '' };
  });
  const all = refused.length === 0 ? settled : [...settled, ...refused].sort((a, b) => a.index - b.index);
  return { heartbeatInterval: toDuration(intervalMs), rejected: all, warnings: warnings.slice(0, WARNINGS_MAX) };
}

/** The replies without rejections and warnings, by their interval: a fleet has a few TTLs. */
const plainResponses = new Map<number, Uint8Array>();
const PLAIN_RESPONSES_MAX = 100;

function plainResponse(intervalMs: number): Uint8Array {
  let bytes = plainResponses.get(intervalMs);
  if (!bytes) {
    if (plainResponses.size >= PLAIN_RESPONSES_MAX) plainResponses.clear();
    const response = { heartbeatInterval: toDuration(intervalMs), rejected: [], warnings: [] };
    plainResponses.set(intervalMs, (bytes = encodeMessage(HeartbeatResponse, response)));
  }
  return bytes;
}

function isValid({ namespace, service, id, incarnation }: HeartbeatItem): boolean {
  return (
    NAMESPACE.pattern.test(namespace) &&
    SERVICE.pattern.test(service) &&
    INSTANCE_ID.pattern.test(id) &&
    (incarnation === undefined || RUN_ID.pattern.test(incarnation))
  );
}

/** Every violation of one item, in words. */
function faultsOf({ namespace, service, id, incarnation }: HeartbeatItem): string {
  const validator = new Validator();
  validator.namespace(namespace);
  validator.name('service', service, SERVICE);
  validator.name('id', id, INSTANCE_ID);
  validator.runId('incarnation', incarnation);
  return inWords(validator.violations);
}

function rejection(
  { service, id }: HeartbeatItem,
  index: number,
  message: string,
  reason = RejectionReason.REJECTION_REASON_INVALID,
): RejectedHeartbeat {
  return {
    index,
    service: firstChars(service),
    id: firstChars(id),
    reason,
    message: cutBytes(message, MESSAGE_BYTES_MAX),
  };
}

/** A report without what the server cannot take: that must not cost the heartbeat. A state of 0 means: as it was. */
function repairReported({ state, note }: Reported, field: string, warnings: string[]): Reported {
  const kept = cutBytes(withoutControls(note), LIMITS.NOTE_BYTES.value);
  if (kept !== note)
    warnings.push(`${field}.note was cut: a note has up to ${LIMITS.NOTE_BYTES.value} bytes and no control characters`);
  if (state in ReportedState) return { state: state || ReportedState.REPORTED_STATE_HEALTHY, note: kept };
  warnings.push(`${field}.state is not known to this server (${state}): the state stays as it was`);
  return { state: ReportedState.REPORTED_STATE_UNSPECIFIED, note: kept };
}

/** The beginning of a text: up to `max` bytes, cut between two characters. */
function cutBytes(text: string, max: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= max) return text;
  let end = max;
  while ((bytes[end]! & 0b1100_0000) === 0b1000_0000) end--;
  return decodeUtf8(bytes.subarray(0, end));
}

function firstChars(name: string): string {
  const { value } = LIMITS.NAME_CHARS;
  return name.length <= value ? name : [...name.slice(0, 2 * value)].slice(0, value).join('');
}
