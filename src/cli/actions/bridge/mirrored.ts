import { createHash } from 'node:crypto';
import type { Instance } from '../../../gen/rollcall/v1/instance.js';
import { LIMITS } from '../../../model/limits.js';
import { INSTANCE_ID, SERVICE, validName } from '../../../model/names.js';
import type { ForeignInstance } from './foreign.js';

/** The metadata by which a mirrored instance is known: its value is the label of the bridge. */
export const LABEL = 'rollcall-bridge';
/** The names that it has in the foreign registry, if they are others. */
const FOREIGN_SERVICE = 'rollcall-bridge-service';
const FOREIGN_ID = 'rollcall-bridge-id';
/** How long a mirrored instance may be silent: the bridge may be started again meanwhile. */
const TTL_S = 120n;
const INCARNATION_CHARS = 32;
const WEIGHT_MAX = 10_000;
/** The most bytes that metadata and tags may take of a record. */
const RECORD_BYTES = LIMITS.INSTANCE_BYTES.value / 2;
/** Tags, keys of metadata and versions are any text without control characters. */
const LABEL_TEXT = /^\P{Cc}+$/u;

/** An instance to register, and a remark for each thing that had to be changed. */
export interface Mirrored {
  readonly service: string;
  readonly id: string;
  readonly incarnation: string;
  readonly instance: Partial<Instance>;
  readonly state: number;
  readonly note: string;
  readonly remarks: readonly string[];
}

/**
 * The instance under names that are allowed here. The same foreign registration is always the same run, so that two bridges may
 * run side by side, and a bridge that starts again changes nothing. `refused`: nothing of a name can be one.
 */
function mirrored(kind: string, label: string, foreign: ForeignInstance): Mirrored | { readonly refused: string } {
  const [service, id] = [validName(SERVICE, foreign.service), validName(INSTANCE_ID, foreign.id)];
  const own = `${foreign.service}/${foreign.id}`;
  if (service === undefined || id === undefined) return { refused: `${own}: left out; nothing of its name can be one` };
  const remarks: string[] = [];
  if (service !== foreign.service || id !== foreign.id) remarks.push(`${own}: is named ${service}/${id}`);
  const metadata = new Map([[LABEL, label]]);
  if (service !== foreign.service) metadata.set(FOREIGN_SERVICE, foreign.service);
  if (id !== foreign.id) metadata.set(FOREIGN_ID, foreign.id);
  let bytes = 0;
  const hasRoom = (text: string): boolean => (bytes += Buffer.byteLength(text)) <= RECORD_BYTES;
  const isLabel = (text: string): boolean => LABEL_TEXT.test(text) && [...text].length <= LIMITS.LABEL_CHARS.value;
  const tags = [...new Set(foreign.tags)].filter((tag) => {
    if (isLabel(tag) && hasRoom(tag)) return true;
    remarks.push(`${own}: its tag ${JSON.stringify(tag)} is left out`);
    return false;
  });
  for (const [name, value] of Object.entries(foreign.metadata)) {
    const fits = isLabel(name) && !name.startsWith(LABEL) && Buffer.byteLength(value) <= LIMITS.LABEL_VALUE_BYTES.value;
    if (fits && metadata.size < LIMITS.LABEL_PAIRS.value && hasRoom(name + value)) metadata.set(name, value);
    else remarks.push(`${own}: its metadata ${JSON.stringify(name)} is left out`);
  }
  if (tags.length > LIMITS.TAGS.value) remarks.push(`${own}: has more than ${LIMITS.TAGS.value} tags`);
  const { created, address, port, securePort, version = '', zone, weight, state, note } = foreign;
  const run = createHash('sha256').update([kind, label, foreign.service, foreign.id, created].join('\0')).digest('hex');
  return {
    ...{ service, id, incarnation: run.slice(0, INCARNATION_CHARS), state, remarks },
    note: note.slice(0, LIMITS.NOTE_BYTES.value),
    instance: {
      ...{ service, id, address, port, metadata, tags: tags.slice(0, LIMITS.TAGS.value) },
      ...(isLabel(version) && { version }),
      ...(securePort !== undefined && {
        endpoints: [{ name: 'https', address: '', port: securePort, appProtocol: 'https' }],
      }),
      ...(zone !== undefined && isLabel(zone) && { locality: { region: '', zone, subZone: '' } }),
      ...(weight !== undefined && { weight: Math.max(0, Math.min(WEIGHT_MAX, Math.round(weight))) }),
      ttl: { seconds: TTL_S, nanos: 0 },
    },
  };
}

/** The instances to mirror by the names that they have here, and a remark for each thing that is changed or left out. */
export function mirroredAll(
  kind: string,
  label: string,
  all: readonly ForeignInstance[],
): { readonly wanted: Map<string, Mirrored>; readonly remarks: readonly string[] } {
  const wanted = new Map<string, Mirrored>();
  const names = new Map<string, string>();
  const remarks: string[] = [];
  for (const foreign of all) {
    const own = `${foreign.service}/${foreign.id}`;
    const one = mirrored(kind, label, foreign);
    if ('refused' in one) {
      remarks.push(one.refused);
      continue;
    }
    const key = keyOf(one.service, one.id);
    const other = names.get(key);
    if (other !== undefined) {
      remarks.push(`${own}: left out; ${other} has the same name ${key}`);
      continue;
    }
    names.set(key, own);
    wanted.set(key, one);
    remarks.push(...one.remarks);
  }
  return { wanted, remarks };
}

export const keyOf = (service: string, id: string): string => `${service}/${id}`;
