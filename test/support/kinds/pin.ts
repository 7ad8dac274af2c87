import { maxOf } from '../../../src/base/max.js';
import type { Join, Kind } from '../../../src/catalog/kind.js';
import type { Item } from '../../../src/model/item.js';
import { NOTE, type NoteItem } from './note.js';

/** A kind that only tests know, and that joins another: it pins every note of a scope. */
export interface PinItem extends Item {
  readonly pinned: boolean;
}

export const pinValue = (pinned: boolean): Uint8Array => Buffer.from(pinned ? 'yes' : 'no');

const namesOf = (key: string): { namespace: string; scope: string; name: string } => {
  const [namespace, scope] = key.slice('w/pin/'.length).split('/');
  return { namespace: namespace!, scope: scope!, name: '' };
};

const join: Join<PinItem, NoteItem> = {
  target: NOTE,
  level: 'SCOPE',
  sourceOf: ({ namespace, scope }) => ({ namespace, scope, name: '' }),
  targetsOf: ({ namespace, scope }, notes) => [...(notes.scope(namespace, scope)?.live() ?? [])],
  apply: (note, pin) => (pin ? { ...note, pinned: pin.pinned, revision: maxOf(pin.revision, note.revision) } : note),
};

export const PIN: Kind<PinItem> = {
  name: 'pin',
  prefix: 'w/pin/',
  deletion: 'COLLECTED',
  names: namesOf,
  read: ({ key, value, modRevision }) => {
    const pinned = Buffer.from(value).toString() === 'yes';
    const stamps = { revision: modRevision, modRevision, removedAtMs: pinned ? undefined : 0, bytes: value.length };
    return { key, ...namesOf(key), ...stamps, pinned };
  },
  rewrite: ({ pinned }) => pinValue(pinned),
  join,
};
