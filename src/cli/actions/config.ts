import { openSync, readSync } from 'node:fs';
import { type Config, ConfigFormat } from '../../gen/rollcall/v1/config.js';
import { formatName } from '../../model/config-format.js';
import { LIMITS } from '../../model/limits.js';
import { assertNotPublished, contentOf, draftContent, formatNamed, versionOf, written } from '../contents.js';
import { CommandFailed, Exit } from '../exits.js';
import { bytes, type Cell, list, plain, table, warn } from '../output.js';
import type { Session } from '../session.js';
import { agoOf, everyPage } from '../shown.js';

/** The flag of every command about one group. */
export interface GroupFlags {
  readonly group?: string;
}

/** The flags of every command that writes. */
export interface WriteFlags extends GroupFlags {
  readonly comment?: string;
  readonly expectedVersion?: number;
}

/** Publishes a config. */
export async function putConfig(
  {
    client,
    namespace,
    flags,
    show,
    signal,
  }: Session<WriteFlags & { format?: string; label?: Readonly<Record<string, string>>; dryRun?: boolean }>,
  key: string,
  path: string,
): Promise<void> {
  const { group = 'default', comment = '', format, label = {}, dryRun: validateOnly = false } = flags;
  const content = draftContent(readContent(path));
  const number = format === undefined ? ConfigFormat.CONFIG_FORMAT_UNSPECIFIED : formatNamed(format)!;
  const draft = { key, content, format: number, labels: new Map(Object.entries(label)), ...expected(flags) };
  const request = { namespace, group, comment, configs: [draft], validateOnly };
  const answer = await client.config.publishConfig(request, { signal });
  if (validateOnly) assertNotPublished(answer);
  for (const warning of answer.warnings) warn(`${plain(warning)}`);
  const [config] = answer.configs;
  await show('config.publishConfig', answer, () =>
    validateOnly ? wouldBe(config!) : written(config!, answer.revision),
  );
}

/** The line of a config that was only checked. */
const wouldBe = ({ group, key, version, revision }: Config): string =>
  `${group}/${key} ${revision === 0n ? 'would get' : 'would stay at'} version ${version}; nothing is published\n`;

/** Prints a config. */
export async function getConfig(
  { client, namespace, flags, show, signal, format }: Session<GroupFlags & { revision?: number; details?: boolean }>,
  key: string,
): Promise<void> {
  const { group = 'default', revision, details } = flags;
  const version = revision === undefined ? 0n : BigInt(revision);
  const answer = await client.config.getConfig({ namespace, group, key, version }, { signal });
  const found = answer.config!;
  if (format === 'table' && !details) return void process.stdout.write(contentOf(found));
  await show('config.getConfig', answer, () =>
    list([
      ['key', `${found.group}/${found.key}`],
      ['version', String(found.version)],
      ['format', formatName(found.format)],
      ['size', bytes(found.size)],
      ['sha256', found.sha256],
      ['labels', [...found.labels].map(([name, value]) => `${name}=${plain(value)}`).join(' ')],
      ['author', plain(found.author)],
      ['comment', plain(found.comment)],
      ['published', agoOf(found.publishTime)],
    ]),
  );
}

/** Shows the configs of a namespace. */
export async function listConfigs({
  client,
  namespace,
  flags: { group = '', prefix = '' },
  show,
  signal,
}: Session<GroupFlags & { prefix?: string }>): Promise<void> {
  const answer = await everyPage(
    (page) => client.config.listConfigs({ ...page, namespace, group, prefix }, { signal }),
    'configs',
  );
  await show('config.listConfigs', answer, () => configTable(answer.configs, ({ group, key }) => `${group}/${key}`));
}

/** Shows the versions of a config. */
export async function listVersions(
  { client, namespace, flags: { group = 'default' }, show, signal }: Session<GroupFlags>,
  key: string,
): Promise<void> {
  const answer = await everyPage(
    (page) => client.config.listConfigVersions({ ...page, namespace, group, key }, { signal }),
    'versions',
  );
  await show('config.listConfigVersions', answer, () => configTable(answer.versions));
}

/** Publishes an old version again. */
export async function rollbackConfig(
  { client, namespace, flags, show, signal }: Session<WriteFlags>,
  key: string,
  version: string,
): Promise<void> {
  const { group = 'default', comment = '' } = flags;
  const request = { namespace, group, key, version: versionOf(version), comment, ...expected(flags) };
  const answer = await client.config.rollbackConfig(request, { signal });
  await show('config.rollbackConfig', answer, () => written(answer.config!, answer.revision));
}

/** Deletes a config. */
export async function deleteConfig(
  { client, namespace, flags, show, signal }: Session<WriteFlags>,
  key: string,
): Promise<void> {
  const { group = 'default', comment = '' } = flags;
  const answer = await client.config.deleteConfig({ namespace, group, key, comment, ...expected(flags) }, { signal });
  await show('config.deleteConfig', answer, () => `${group}/${key} is deleted, revision ${answer.revision}\n`);
}

const expected = ({ expectedVersion }: WriteFlags): { expectedVersion?: bigint } =>
  expectedVersion === undefined ? {} : { expectedVersion: BigInt(expectedVersion) };

/** Versions of configs as a table; with their names where they are of several. */
function configTable(configs: readonly Config[], name?: (config: Config) => string): string {
  return table(
    [...(name ? ['CONFIG'] : []), 'VERSION', 'FORMAT', 'SIZE', 'AUTHOR', 'PUBLISHED', 'COMMENT'],
    configs.map((config): Cell[] => [
      ...(name ? [name(config)] : []),
      String(config.version),
      config.deleted ? { text: 'deleted', color: 'gray' } : formatName(config.format),
      bytes(config.size),
      plain(config.author) || '-',
      agoOf(config.publishTime),
      plain(config.comment) || '-',
    ]),
  );
}

function readContent(path: string | undefined): Buffer {
  try {
    return readUpTo(path === undefined || path === '-' ? 0 : openSync(path, 'r'), LIMITS.PUBLISH_BYTES.value);
  } catch (error) {
    if (error instanceof CommandFailed) throw error;
    throw new CommandFailed(`${path ?? 'standard input'} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

/** Reads a file to its end. More than a config can have is refused, also of a file without an end. */
function readUpTo(file: number, bytesMax: number): Buffer {
  const bytes = Buffer.alloc(bytesMax + 1);
  let length = 0;
  for (;;) {
    const read = readSync(file, bytes, length, bytes.length - length, null);
    if (read === 0) return bytes.subarray(0, length);
    length += read;
    if (length > bytesMax) throw new CommandFailed(`the content has more than ${bytesMax} bytes`, Exit.USAGE);
  }
}
