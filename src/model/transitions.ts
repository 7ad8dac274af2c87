import type { InstanceRecord, ProtectionRecord } from '../gen/rollcall/storage/v1/records.js';
import { Instance, type RemovalReason, type Reported } from '../gen/rollcall/v1/instance.js';
import type { InstanceItem, ServiceProtection } from './records.js';
import { toTimestamp } from './time.js';

/** What a new write of an instance record carries. */
export interface Stamped {
  readonly writeId: string;
  /** By the wall clock, for display. */
  readonly wallMs: number;
}

/** The record of a new registration. */
export function registered(instance: Instance, { writeId, wallMs }: Stamped): InstanceRecord {
  const changeTime = toTimestamp(wallMs);
  return { writeId, instance: { ...instance, changeTime }, silent: false, visibleRevision: 0n, tombstone: undefined };
}

/** The same record with a new write id: moves the store's revision and nothing that users see. */
export function touched({ record, instance }: InstanceItem, { writeId }: Stamped): InstanceRecord {
  return { ...record, writeId, visibleRevision: instance.revision };
}

/** The record after a heartbeat that changes it: no longer silent, and with what the process reports now. */
export function heard(
  { record }: InstanceItem,
  reported: Reported | undefined,
  { writeId, wallMs }: Stamped,
): InstanceRecord {
  const before = record.instance!;
  const instance = { ...before, reported: reported ?? before.reported, changeTime: toTimestamp(wallMs) };
  return { ...record, writeId, instance, silent: false, visibleRevision: 0n };
}

/** The record after a verdict. */
export function silenced({ record }: InstanceItem, { writeId, wallMs }: Stamped): InstanceRecord {
  const instance = { ...record.instance!, changeTime: toTimestamp(wallMs) };
  return { ...record, writeId, instance, silent: true, visibleRevision: 0n };
}

/** The record after a removal. */
export function removed({ record }: InstanceItem, reason: RemovalReason, { writeId, wallMs }: Stamped): InstanceRecord {
  const { namespace, service, id, incarnation } = record.instance!;
  return {
    writeId,
    instance: Instance.fromPartial({ namespace, service, id, incarnation }),
    silent: false,
    visibleRevision: 0n,
    tombstone: { reason, time: toTimestamp(wallMs) },
  };
}

/** The record of a protection that begins. */
export function protectedFrom({ writeId, wallMs }: Stamped): ProtectionRecord {
  return { writeId, active: true, time: toTimestamp(wallMs), released: false, releasedBy: '', visibleRevision: 0n };
}

/** The record of a protection that ends by itself. */
export function unprotectedFrom({ writeId, wallMs }: Stamped): ProtectionRecord {
  return { writeId, active: false, time: toTimestamp(wallMs), released: false, releasedBy: '', visibleRevision: 0n };
}

/** The record of a protection that an operator ends. */
export function releasedBy(author: string, { writeId, wallMs }: Stamped): ProtectionRecord {
  return { writeId, active: false, time: toTimestamp(wallMs), released: true, releasedBy: author, visibleRevision: 0n };
}

/** The same record with a new write id: moves the store's revision and nothing that users see. */
export function rewritten({ record, revision }: ServiceProtection, { writeId }: Stamped): ProtectionRecord {
  return { ...record, writeId, visibleRevision: revision };
}

/** The record of a release that holds no longer: the service may be protected again. Users see nothing of it. */
export function rearmed(protection: ServiceProtection, stamp: Stamped): ProtectionRecord {
  return { ...rewritten(protection, stamp), released: false };
}
