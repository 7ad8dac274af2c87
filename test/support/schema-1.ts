import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { Etcd3 } from 'etcd3';

/** Data of schema 1, as the last version with that schema wrote it: one instance and one config, in either store. */
const written = JSON.parse(readFileSync(new URL('schema-1.json', import.meta.url), 'utf8')) as {
  /** The file of the embedded store, after a clean end. */
  readonly dataMdbGzip: string;
  /** The records in etcd by their keys, without the prefix. */
  readonly etcd: Readonly<Record<string, string>>;
};

/** Puts the data into a folder. Returns the bytes of its file. */
export function putIntoFolder(folder: string): Buffer {
  const bytes = gunzipSync(Buffer.from(written.dataMdbGzip, 'base64'));
  writeFileSync(join(folder, 'data.mdb'), bytes);
  writeFileSync(join(folder, 'clean'), '1\n');
  return bytes;
}

/** Puts the data into etcd under a prefix. */
export async function putIntoEtcd({ kv }: Etcd3, prefix: string): Promise<void> {
  for (const [key, value] of Object.entries(written.etcd))
    await kv.put({ key: Buffer.from(prefix + key), value: Buffer.from(value, 'base64') });
}
