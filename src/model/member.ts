import { MemberRecord } from '../gen/rollcall/storage/v1/records.js';
import { BadRecord, decode, type Item, type StoredEntry } from './item.js';
import { UNWATCHED_ROOT, WATCHED_ROOT } from './keys.js';

/** The prefix of the key of every member. */
export const MEMBERS = `${WATCHED_ROOT}m/`;
/** The prefix of the keys of node records. A node record says how the memberships of its node ended. */
export const NODES = `${UNWATCHED_ROOT}x/`;

/** The prefix of the keys of departures. A departure says when the last membership of a node ended. */
export const DEPARTURES = `${UNWATCHED_ROOT}d/`;

/** The key of the secret by which members prove themselves to one another. */
export const PEER_SECRET_KEY = `${UNWATCHED_ROOT}peer-secret`;

/** The headers by which a member proves a question: its asker, its number, and the proof. The answer has the proof alone. */
export const PROOF_HEADERS = {
  from: 'rollcall-peer-from',
  number: 'rollcall-peer-number',
  proof: 'rollcall-peer-proof',
} as const;

/** A live member as the catalog holds it. Its name is the id of the member. */
export interface MemberItem extends Item {
  /** The revision at which the member key was created. It names the membership. */
  readonly epoch: bigint;
  readonly record: MemberRecord;
}

export function memberKey(id: string): string {
  return MEMBERS + id;
}

/** The key of a node's record. The name of a node may hold any character, so it is escaped to printable ASCII. */
export function nodeKey(node: string): string {
  return NODES + encodeURIComponent(node);
}

/** The key of the departure of a node. */
export function departureKey(node: string): string {
  return DEPARTURES + encodeURIComponent(node);
}

/** The node of a key that `nodeKey` or `departureKey` made. */
export function nodeOf(key: string): string {
  return decodeURIComponent(key.slice(NODES.length));
}

/** Reads the record at a member key. Throws BadRecord. A rewrite by the same membership is no visible change. */
export function readMember({ key, value, modRevision, createRevision }: StoredEntry): MemberItem {
  const record = decode(key, value, MemberRecord);
  if (memberKey(record.id) !== key) throw new BadRecord(`${key} does not hold the member it names`);
  return {
    key,
    namespace: '',
    scope: '',
    name: record.id,
    revision: createRevision,
    modRevision,
    removedAtMs: undefined,
    bytes: value.length,
    epoch: createRevision,
    record,
  };
}
