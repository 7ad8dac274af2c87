import type { BinaryReader } from '@bufbuild/protobuf/wire';
import { CHECKS, SERVICE_CHECKS } from '../../model/check.js';
import { CONFIGS, VERSIONS } from '../../model/config.js';
import { INSTANCES } from '../../model/instance.js';
import { decode } from '../../model/item.js';
import { OVERRIDES } from '../../model/override.js';
import { PROTECTIONS } from '../../model/protection.js';
import {
  CheckRecord,
  ConfigRecord,
  InstanceRecord,
  OverrideRecord,
  ProtectionRecord,
  ServiceChecksRecord,
} from '../../gen/rollcall/storage/v1/records.js';
import type { Entry, Revision } from '../../store/store.js';

type Fields = Record<string, unknown> & { writeId: string };

/** The generated code of a record: the part that this file needs. */
interface Codec {
  decode(bytes: BinaryReader | Uint8Array): unknown;
  encode(record: never): { finish(): Uint8Array };
}

/** A kind of record that is moved. */
export interface MovedKind {
  /** Names the records, in the plural. */
  readonly name: string;
  readonly prefix: string;
  readonly codec: Codec;
  /** The fields that hold a revision of the store. 0 in such a field means the revision of the write, or none. */
  readonly revisions: readonly string[];
}

/** Everything that is moved. Members, their secret, their history, and remembered requests stay behind. */
export const MOVED: readonly MovedKind[] = [
  {
    name: 'instances',
    prefix: INSTANCES,
    codec: InstanceRecord,
    revisions: ['visibleRevision', 'incarnationRevision', 'checksRevision', 'checkRevisions'],
  },
  { name: 'overrides', prefix: OVERRIDES, codec: OverrideRecord, revisions: ['visibleRevision'] },
  {
    name: 'checks of services',
    prefix: SERVICE_CHECKS,
    codec: ServiceChecksRecord,
    revisions: ['visibleRevision', 'beginRevision', 'checkRevisions'],
  },
  { name: 'verdicts on checks', prefix: CHECKS, codec: CheckRecord, revisions: ['visibleRevision'] },
  { name: 'protections', prefix: PROTECTIONS, codec: ProtectionRecord, revisions: ['visibleRevision', 'fromRevision'] },
  { name: 'configs', prefix: CONFIGS, codec: ConfigRecord, revisions: [] },
  { name: 'versions of configs', prefix: VERSIONS, codec: ConfigRecord, revisions: [] },
];

/** The revisions that a record names, besides its own. */
export function revisionsIn({ codec, revisions }: MovedKind, { key, value }: Entry): Revision[] {
  const record = decode(key, value, codec) as Fields;
  return revisions.flatMap((field) => record[field] as bigint | bigint[]).filter((revision) => revision > 0n);
}

/** The bytes of a record with every revision that it names taken from `to`. */
export function withRevisions(
  { codec, revisions }: MovedKind,
  { key, value }: Entry,
  writeId: string,
  to: (revision: Revision) => Revision,
): Uint8Array {
  const record = decode(key, value, codec) as Fields;
  const moved = (revision: bigint): bigint => (revision > 0n ? to(revision) : 0n);
  for (const field of revisions) {
    const found = record[field] as bigint | bigint[];
    record[field] = Array.isArray(found) ? found.map(moved) : moved(found);
  }
  record.writeId = writeId;
  return codec.encode(record as never).finish();
}
