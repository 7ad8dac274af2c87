import type { ICompare, IKeyValue, IRequestOp } from 'etcd3';
import type { Compare, Entry, KeyRange, Write } from '../store.js';

/**
 * Maps the keys of the product to the keys of etcd: puts them under a prefix, as UTF-8, and takes the prefix off again.
 * Keys are well-formed strings: two lone surrogates would become the same bytes.
 */
export class KeySpace {
  readonly #prefixBytes: number;

  constructor(readonly prefix: string) {
    this.#prefixBytes = Buffer.byteLength(prefix);
  }

  key(key: string): Buffer {
    return Buffer.from(this.prefix + key);
  }

  range({ start, end }: KeyRange): { key: Buffer; range_end: Buffer } {
    return { key: this.key(start), range_end: this.key(end) };
  }

  /** Returns the key of the product for a key of etcd. */
  nameOf(key: Buffer): string {
    return key.toString('utf8', this.#prefixBytes);
  }

  /** Converts a record. The value is a copy of its own size, because a slice would keep the whole message alive. */
  entry({ key, value, mod_revision, create_revision }: IKeyValue): Entry {
    return {
      key: this.nameOf(key),
      value: new Uint8Array(value),
      modRevision: BigInt(mod_revision),
      createRevision: BigInt(create_revision),
    };
  }

  compare(compare: Compare): ICompare {
    const key = this.key(compare.key);
    return 'modRevision' in compare
      ? { key, result: 'Equal', target: 'Mod', mod_revision: String(compare.modRevision) }
      : { key, result: 'Equal', target: 'Create', create_revision: String(compare.createRevision) };
  }

  write(write: Write): IRequestOp {
    const key = this.key(write.key);
    return write.kind === 'put'
      ? { request_put: { key, value: Buffer.from(write.value.buffer, write.value.byteOffset, write.value.length) } }
      : { request_delete_range: { key } };
  }

  read(key: string): IRequestOp {
    return { request_range: { key: this.key(key) } };
  }
}
