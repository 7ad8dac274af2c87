import type { Kind } from '../../../src/catalog/kind.js';
import type { Item } from '../../../src/model/item.js';
import { parseKey } from '../../../src/model/keys.js';

/** A kind that only tests know: a text. An empty text is a tombstone. */
export interface NoteItem extends Item {
  readonly text: string;
  /** Set by a pin of its scope; see pin.ts. */
  readonly pinned: boolean;
  /** Set by a star of this note; see star.ts. */
  readonly stars: number;
}

export const noteValue = (text: string): Uint8Array => Buffer.from(text);

export const NOTE: Kind<NoteItem> = {
  name: 'note',
  prefix: 'w/note/',
  deletion: 'COLLECTED',
  names: (key) => parseKey('w/note/', key),
  read: ({ key, value, modRevision }) => {
    const text = Buffer.from(value).toString();
    const removedAtMs = text === '' ? 0 : undefined;
    const stamps = { revision: modRevision, modRevision, removedAtMs, bytes: value.length };
    return { key, ...parseKey('w/note/', key)!, ...stamps, text, pinned: false, stars: 0 };
  },
  rewrite: ({ text }) => noteValue(text),
};
