import { maxOf } from '../../../src/base/max.js';
import type { Join, Kind } from '../../../src/catalog/kind.js';
import type { Item } from '../../../src/model/item.js';
import { parseKey } from '../../../src/model/keys.js';
import { NOTE, type NoteItem } from './note.js';

/** A kind that only tests know, and that joins another item by item: it gives one note so many stars. */
export interface StarItem extends Item {
  readonly stars: number;
}

export const starValue = (stars: number): Uint8Array => Buffer.from(String(stars));

const join: Join<StarItem, NoteItem> = {
  target: NOTE,
  level: 'ITEM',
  sourceOf: ({ namespace, scope, name }) => ({ namespace, scope, name }),
  targetsOf: ({ namespace, scope, name }, notes) => [notes.get(namespace, scope, name) ?? []].flat(),
  apply: (note, star) => (star ? { ...note, stars: star.stars, revision: maxOf(star.revision, note.revision) } : note),
};

export const STAR: Kind<StarItem> = {
  name: 'star',
  prefix: 'w/star/',
  deletion: 'COLLECTED',
  names: (key) => parseKey('w/star/', key),
  read: ({ key, value, modRevision }) => {
    const stars = Number(Buffer.from(value).toString());
    const stamps = { revision: modRevision, modRevision, removedAtMs: stars > 0 ? undefined : 0, bytes: value.length };
    return { key, ...parseKey('w/star/', key)!, ...stamps, stars };
  },
  rewrite: ({ stars }) => starValue(stars),
  join,
};
