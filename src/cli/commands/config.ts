import { type Command, Option } from 'commander';
import type { GroupFlags, WriteFlags } from '../actions/config.js';
import { example } from '../output.js';
import { keyValue, remote, wholeNumber } from '../session.js';
import { configFileCommands } from './config-files.js';

const grouped = (command: Command): Command => command.option('-g, --group <name>', 'group of the config', 'default');

const writes = (command: Command): Command =>
  grouped(command)
    .option('--comment <text>', 'the reason, shown with the version')
    .option(
      '--expected-version <version>',
      'only if this is the current version; 0: only if there is none',
      wholeNumber(0, 1e15),
    );

/** The formats that a flag can name. */
const FORMAT_NAMES = ['text', 'json', 'yaml', 'toml', 'properties', 'binary'];

/** Commands that read and write configs. */
export function configCommands(program: Command): void {
  const config = program
    .command('config')
    .summary('read, write and follow configs')
    .description('Reads, writes and follows configs.');

  remote<WriteFlags & { format?: string; label?: Readonly<Record<string, string>>; dryRun?: boolean }>(
    writes(config.command('put <key> [file]').summary('publish a config'))
      .description('Publishes a config. Without FILE, or with "-", the content is read from standard input.')
      .addOption(new Option('--format <format>', 'format of the content (default: by the key)').choices(FORMAT_NAMES))
      .option('--label <key=value>', 'label of the version; may be repeated', keyValue)
      .option('--dry-run', 'let the server check the config, and publish nothing'),
    async (session, key, path) => {
      const { putConfig } = await import('../actions/config.js');
      await putConfig(session, key, path);
    },
  ).addHelpText(
    'after',
    example(
      'rollcall config put app.yaml ./app.yaml',
      'rollcall config put app.yaml ./app.yaml --dry-run',
      'echo "on: true" | rollcall config put flags.yaml --comment "for the launch"',
    ),
  );

  remote<GroupFlags & { revision?: number; details?: boolean }>(
    grouped(config.command('get <key>').summary('print a config'))
      .description('Prints the content of a config as it is, so that it can be written to a file.')
      .option('--revision <version>', 'this version instead of the current one', wholeNumber(1, 1e15))
      .option('--details', 'print version, author, hash and labels instead of the content'),
    async (session, key) => {
      const { getConfig } = await import('../actions/config.js');
      await getConfig(session, key);
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
    async (session) => {
      const { listConfigs } = await import('../actions/config.js');
      await listConfigs(session);
    },
  ).addHelpText('after', example('rollcall config list', 'rollcall config list --group app --prefix db/'));

  remote<GroupFlags>(
    grouped(config.command('versions <key>').summary('list the versions of a config')).description(
      'Lists the versions of a config that are kept, the newest first.',
    ),
    async (session, key) => {
      const { listVersions } = await import('../actions/config.js');
      await listVersions(session, key);
    },
  ).addHelpText('after', example('rollcall config versions app.yaml'));

  remote<WriteFlags>(
    writes(config.command('rollback <key> <version>').summary('publish an old version again')).description(
      'Publishes the content of an old version as a new version.',
    ),
    async (session, key, version) => {
      const { rollbackConfig } = await import('../actions/config.js');
      await rollbackConfig(session, key, version);
    },
  ).addHelpText('after', example('rollcall config rollback app.yaml 3 --comment "v4 breaks login"'));

  remote<WriteFlags>(
    writes(config.command('delete <key>').summary('delete a config')).description(
      'Deletes a config. The deletion is a version, so a rollback brings the content back.',
    ),
    async (session, key) => {
      const { deleteConfig } = await import('../actions/config.js');
      await deleteConfig(session, key);
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
      await diffConfig(session, key, from, to);
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
