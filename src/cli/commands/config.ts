import { openSync, readSync } from 'node:fs';
import type { Command } from 'commander';
import { type Config, ConfigFormat } from '../../gen/rollcall/v1/config.js';
import { formatName } from '../../model/config-format.js';
import { LIMITS } from '../../model/limits.js';
import { contentOf, draftContent, formatNamed, versionOf, written } from '../contents.js';
import { CommandFailed, Exit } from '../exits.js';
import { bytes, type Cell, list, plain, table, warn } from '../output.js';
import { keyValue, remote, wholeNumber } from '../session.js';
import { agoOf, everyPage, example } from '../shown.js';
import { configFileCommands } from './config-files.js';

/** The flag of every command about one group. */
interface GroupFlags {
  readonly group?: string;
}

/** The flags of every command that writes. */
interface WriteFlags extends GroupFlags {
  readonly comment?: string;
  readonly expectedVersion?: number;
}

const grouped = (command: Command): Command => command.option('-g, --group <name>', 'group of the config', 'default');

const writes = (command: Command): Command =>
  grouped(command)
    .option('--comment <text>', 'the reason, shown with the version')
    .option(
      '--expected-version <version>',
      'only if this is the current version; 0: only if there is none',
      wholeNumber(0, 1e15),
    );

const expected = ({ expectedVersion }: WriteFlags): { expectedVersion?: bigint } =>
  expectedVersion === undefined ? {} : { expectedVersion: BigInt(expectedVersion) };

/** The formats that a flag can name. */
const FORMAT_NAMES = ['text', 'json', 'yaml', 'toml', 'properties', 'binary'];

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

/** Commands that read and write configs. */
export function configCommands(program: Command): void {
  const config = program
    .command('config')
    .summary('read, write and follow configs')
    .description('Reads, writes and follows configs.');

  remote<WriteFlags & { format?: string; label?: Readonly<Record<string, string>> }>(
    writes(config.command('put <key> [file]').summary('publish a config'))
      .description('Publishes a config. Without FILE, or with "-", the content is read from standard input.')
      .option('--format <format>', `format of the content: ${FORMAT_NAMES.join(', ')} (default: by the key)`)
      .option('--label <key=value>', 'label of the version; may be repeated', keyValue),
    async ({ client, namespace, flags, show, signal }, key, path) => {
      const { group = 'default', comment = '', format, label = {} } = flags;
      if (format !== undefined && !FORMAT_NAMES.includes(format))
        throw new CommandFailed(`--format must be one of ${FORMAT_NAMES.join(', ')}`, Exit.USAGE);
      const content = draftContent(readContent(path));
      const number = format === undefined ? ConfigFormat.CONFIG_FORMAT_UNSPECIFIED : formatNamed(format)!;
      const draft = { key, content, format: number, labels: new Map(Object.entries(label)), ...expected(flags) };
      const answer = await client.config.publishConfig({ namespace, group, comment, configs: [draft] }, { signal });
      for (const warning of answer.warnings) warn(`${plain(warning)}`);
      await show('config.publishConfig', answer, () => written(answer.configs[0]!, answer.revision));
    },
  ).addHelpText(
    'after',
    example(
      'rollcall config put app.yaml ./app.yaml',
      'echo "on: true" | rollcall config put flags.yaml --comment "for the launch"',
    ),
  );

  remote<GroupFlags & { revision?: number; details?: boolean }>(
    grouped(config.command('get <key>').summary('print a config'))
      .description('Prints the content of a config as it is, so that it can be written to a file.')
      .option('--revision <version>', 'this version instead of the current one', wholeNumber(1, 1e15))
      .option('--details', 'print version, author, hash and labels instead of the content'),
    async ({ client, namespace, flags, show, signal, format }, key) => {
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
    },
  ).addHelpText(
    'after',
    example('rollcall config get app.yaml > app.yaml', 'rollcall config get app.yaml --revision 3 --details'),
  );

  remote<GroupFlags & { prefix?: string }>(
    config
      .command('list')
      .summary('list configs')
      .description('Lists the configs of a namespace, of all groups unless --group is given.')
      .option('-g, --group <name>', 'only configs of this group')
      .option('--prefix <prefix>', 'only configs whose key begins so; needs --group'),
    async ({ client, namespace, flags: { group = '', prefix = '' }, show, signal }) => {
      const answer = await everyPage(
        (page) => client.config.listConfigs({ ...page, namespace, group, prefix }, { signal }),
        'configs',
      );
      await show('config.listConfigs', answer, () =>
        configTable(answer.configs, ({ group, key }) => `${group}/${key}`),
      );
    },
  ).addHelpText('after', example('rollcall config list', 'rollcall config list --group app --prefix db/'));

  remote<GroupFlags>(
    grouped(config.command('versions <key>').summary('list the versions of a config')).description(
      'Lists the versions of a config that are kept, the newest first.',
    ),
    async ({ client, namespace, flags: { group = 'default' }, show, signal }, key) => {
      const answer = await everyPage(
        (page) => client.config.listConfigVersions({ ...page, namespace, group, key }, { signal }),
        'versions',
      );
      await show('config.listConfigVersions', answer, () => configTable(answer.versions));
    },
  ).addHelpText('after', example('rollcall config versions app.yaml'));

  remote<WriteFlags>(
    writes(config.command('rollback <key> <version>').summary('publish an old version again')).description(
      'Publishes the content of an old version as a new version.',
    ),
    async ({ client, namespace, flags, show, signal }, key, version) => {
      const { group = 'default', comment = '' } = flags;
      const request = { namespace, group, key: key, version: versionOf(version), comment, ...expected(flags) };
      const answer = await client.config.rollbackConfig(request, { signal });
      await show('config.rollbackConfig', answer, () => written(answer.config!, answer.revision));
    },
  ).addHelpText('after', example('rollcall config rollback app.yaml 3 --comment "v4 breaks login"'));

  remote<WriteFlags>(
    writes(config.command('delete <key>').summary('delete a config')).description(
      'Deletes a config. The deletion is a version, so a rollback brings the content back.',
    ),
    async ({ client, namespace, flags, show, signal }, key) => {
      const { group = 'default', comment = '' } = flags;
      const answer = await client.config.deleteConfig(
        { namespace, group, key: key, comment, ...expected(flags) },
        { signal },
      );
      await show('config.deleteConfig', answer, () => `${group}/${key} is deleted, revision ${answer.revision}\n`);
    },
  ).addHelpText('after', example('rollcall config delete app.yaml'));

  remote<GroupFlags>(
    grouped(
      config.command('diff <key> <from> [to]').summary('compare two versions, or a version and a file'),
    ).description(
      'Prints the differences between two versions of a config, or between a version and a file. FROM is a version; TO is a version or the path of a file (default: the current version). Exit code 8 if they differ.',
    ),
    async (session, key, from, to) => {
      const { diffConfig } = await import('../actions/diff-config.js');
      await diffConfig(session, key, versionOf(from), to);
    },
  ).addHelpText('after', example('rollcall config diff app.yaml 3', 'rollcall config diff app.yaml 3 ./app.yaml'));

  remote<WriteFlags>(
    writes(config.command('edit <key>').summary('edit a config with $EDITOR')).description(
      'Opens the content in $EDITOR and publishes it when the editor ends, unless somebody else published in between. A config that does not exist is created. Content that is refused can be edited again.',
    ),
    async (session, key) => {
      const { editConfig } = await import('../actions/edit-config.js');
      await editConfig(session, key);
    },
  ).addHelpText('after', example('EDITOR=nano rollcall config edit app.yaml'));

  remote<{ group?: string; prefix?: string; key?: string }>(
    config
      .command('watch [keys...]')
      .summary('follow configs')
      .description(
        'Prints the current versions of configs, and then each change, until it is ended. Without KEYS and --prefix it follows the whole group.',
      )
      .option('-g, --group <name>', 'group of the configs', 'default')
      .option('--prefix <prefix>', 'configs whose key begins so'),
    async (session, ...keys) => {
      const { watchConfigs } = await import('../actions/watch-configs.js');
      await watchConfigs(session, keys.flat());
    },
  ).addHelpText(
    'after',
    example('rollcall config watch app.yaml', 'rollcall config watch --group app --prefix db/ -o json'),
  );

  configFileCommands(config);
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
