import type { Config } from '../../gen/rollcall/v1/config.js';
import { RollcallError } from '../../model/errors.js';
import { fromTimestamp } from '../../model/time.js';

/** The config without its content, for lists and for replies to writes. */
export function withoutContent(config: Config): Config {
  return { ...config, content: undefined };
}

/** The content as bytes. */
export function contentBytes(content: Config['content']): Buffer {
  if (!content) return Buffer.alloc(0);
  return content.$case === 'text' ? Buffer.from(content.value) : content.value;
}

/** The approximate size of a config without its content: names, labels and comment, with room for the rest. */
export function headBytes({ namespace, group, key, comment, author, labels }: Config): number {
  let bytes = 200 + namespace.length + group.length + key.length + author.length + Buffer.byteLength(comment);
  for (const [name, value] of labels) bytes += Buffer.byteLength(name) + Buffer.byteLength(value) + 8;
  return bytes;
}

/** The error for a config that does not exist. `deleted` is its last record, if it was deleted and is still remembered. */
export function configNotFound(namespace: string, group: string, key: string, deleted?: Config): RollcallError {
  const place = `group ${group} of namespace ${namespace}`;
  if (!deleted)
    return new RollcallError('CONFIG_NOT_FOUND', `config ${key} does not exist in ${place}`, {
      metadata: { namespace, group, key },
    });
  const { version, publishTime } = deleted;
  const time = new Date(fromTimestamp(publishTime ?? { seconds: 0n, nanos: 0 })).toISOString();
  const message = `config ${key} of ${place} was deleted at ${time}; version ${version} records it, and RollbackConfig can bring back the one before`;
  return new RollcallError('CONFIG_NOT_FOUND', message, {
    metadata: { namespace, group, key, deleted_version: String(version), delete_time: time },
  });
}
