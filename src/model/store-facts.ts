import { EpochRecord, HorizonRecord } from '../gen/rollcall/storage/v1/records.js';
import { decode, ifReadable, type Item, type StoredEntry } from './item.js';
import { WATCHED_ROOT } from './keys.js';

/** The record that names the history of the store. */
export const EPOCH_KEY = `${WATCHED_ROOT}epoch`;
/** The record of the revision up to which tombstones have been deleted. */
export const HORIZON_KEY = `${WATCHED_ROOT}horizon`;
/** The record that every join rewrites: its mod revision names the set of members. */
export const MEMBERGEN_KEY = `${WATCHED_ROOT}membergen`;

/** The most ended histories that a record names. */
const ENDED_EPOCHS_MAX = 256;

/** A fact about the store as a whole. It is never removed. */
export interface FactItem<Fact> extends Item {
  readonly fact: Fact;
  /** The stored record, for a repair. */
  readonly value: Uint8Array;
}

/** Reads the store epoch. Throws BadRecord. */
export function readEpoch(entry: StoredEntry): FactItem<string> {
  return factItem(entry, decode(entry.key, entry.value, EpochRecord).epoch);
}

/** Reads the horizon. Throws BadRecord. */
export function readHorizon(entry: StoredEntry): FactItem<bigint> {
  return factItem(entry, decode(entry.key, entry.value, HorizonRecord).revision);
}

/** Reads the member generation: its mod revision is all that counts, so it can always be read. */
export function readMembergen(entry: StoredEntry): FactItem<bigint> {
  return factItem(entry, entry.modRevision);
}

/** The store epoch that an entry names. `undefined` if there is no entry or it cannot be read. */
export function epochOf(entry: StoredEntry | undefined): string | undefined {
  return entry && ifReadable(() => readEpoch(entry).fact);
}

/** True if an entry names a history that began after one that has ended. Empty: any history. */
export function beginsAfter(entry: StoredEntry | undefined, ended: string): boolean {
  const record = entry && ifReadable(() => decode(entry.key, entry.value, EpochRecord));
  return record !== undefined && (ended === '' || record.ended.includes(ended));
}

/** The histories that have ended when the next one begins: that of an entry with those before it, and another one. */
export function endedWith(entry: StoredEntry | undefined, another: string): string[] {
  const record = entry && ifReadable(() => decode(entry.key, entry.value, EpochRecord));
  const all = new Set(record ? [...record.ended, record.epoch] : []);
  if (another !== '') all.add(another);
  return [...all].slice(-ENDED_EPOCHS_MAX);
}

function factItem<Fact>({ key, value, modRevision }: StoredEntry, fact: Fact): FactItem<Fact> {
  const names = { key, namespace: '', scope: '', name: '' };
  return { ...names, revision: modRevision, modRevision, removedAtMs: undefined, bytes: value.length, fact, value };
}
