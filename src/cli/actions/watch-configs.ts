import type { Config } from '../../gen/rollcall/v1/config.js';
import { WatchConfigRequest } from '../../gen/rollcall/v1/config_service.js';
import { bytes, plain } from '../output.js';
import { printWatch } from './print-watch.js';
import type { Session } from '../session.js';

/** Prints configs, and each change of them, until the command is ended. */
export async function watchConfigs(
  session: Session<{ group?: string; prefix?: string }>,
  keys: readonly string[],
): Promise<void> {
  const { client, namespace, flags, signal } = session;
  const { group = 'default', prefix } = flags;
  const prefixes = prefix === undefined ? [] : [prefix];
  const request = WatchConfigRequest.fromPartial({ namespace, filters: [{ group, keys: [...keys], prefixes }] });
  const versions = new Map<string, bigint>();
  const open = (resumeToken: string) => client.config.watchConfig({ ...request, resumeToken }, { signal });
  await printWatch(session, 'config.watchConfig', open, ({ kind, messages }) => {
    const lines: string[] = [];
    const gone = new Set(kind === 'snapshot' ? versions.keys() : []);
    for (const { upserted, removed } of messages) {
      for (const config of upserted) {
        const name = `${config.group}/${config.key}`;
        gone.delete(name);
        if (versions.get(name) !== config.version) lines.push(lineOf(versions.has(name) ? '~' : '+', name, config));
        versions.set(name, config.version);
      }
      for (const { group: of, key, version } of removed) {
        versions.delete(`${of}/${key}`);
        lines.push(`- ${of}/${key}  deleted with version ${version}`);
      }
    }
    for (const name of gone) {
      versions.delete(name);
      lines.push(`- ${name}  gone`);
    }
    return { lines };
  });
}

function lineOf(sign: string, name: string, { version, size, author, comment }: Config): string {
  const by = author === '' ? '' : `  by ${plain(author)}`;
  const why = comment === '' ? '' : `  "${plain(comment)}"`;
  return `${sign} ${name}  version ${version}  ${bytes(size)}${by}${why}`;
}
