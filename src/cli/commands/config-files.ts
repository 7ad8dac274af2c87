import { example, plain } from '../output.js';
import type { Command } from 'commander';
import type { SyncFlags } from '../actions/sync-configs.js';
import { remote } from '../session.js';

/** Commands that move configs between a namespace and files; `config` is the command that has them. */
export function configFileCommands(config: Command): void {
  remote<{ group?: string }>(
    config
      .command('export <dir>')
      .summary('write configs to files')
      .description(
        'Writes the configs of a namespace as DIR/GROUP/KEY. What a file cannot carry (format, labels, keys that cannot be names of files) is in DIR/GROUP/.rollcall.yaml. DIR must be empty or new.',
      )
      .option('-g, --group <name>', 'only configs of this group'),
    async (session, folder) => {
      const { exportConfigs } = await import('../actions/export-configs.js');
      await exportConfigs(session, folder);
    },
  ).addHelpText('after', example('rollcall config export ./configs -n shop'));

  remote<{ comment?: string; dryRun?: boolean }>(
    config
      .command('import <dir>')
      .summary('publish files as configs')
      .description(
        'Publishes the files DIR/GROUP/KEY that differ from their configs. Each group is published in as few revisions as there can be, and nothing is ever deleted.',
      )
      .option('--comment <text>', 'the reason, shown with the versions')
      .option('--dry-run', 'print what would be published, let the server check it, and publish nothing'),
    async (session, folder) => {
      const { importConfigs } = await import('../actions/import-configs.js');
      await importConfigs(session, folder);
    },
  ).addHelpText('after', example('rollcall config import ./configs -n shop --dry-run'));

  config
    .command('convert <system> <source> <dir>')
    .summary('turn the configs of another system into files')
    .description(
      'Turns configs of another system into files for "config import", and reports what is lost or changed. Calls no server. DIR must be empty or new. SYSTEM and SOURCE: apollo, the zip of its portal; consul, the file of "consul kv export"; kubernetes, ConfigMaps as "kubectl get configmaps -o yaml" prints them; nacos, the zip of its console; spring, a folder of Spring Cloud Config.',
    )
    .option('--environment <name>', 'the environment to convert, of an archive of Apollo that has several')
    .action(async (system: string, source: string, folder: string, options: { readonly environment?: string }) => {
      const { convert } = await import('../actions/convert/convert.js');
      const { configs, report } = convert(system, source, folder, options);
      for (const line of report) process.stderr.write(`${plain(line)}\n`);
      process.stdout.write(`${configs} configs are in ${folder}, with ${report.length} remarks\n`);
    })
    .addHelpText(
      'after',
      example(
        'rollcall config convert consul kv.json ./configs  # of: consul kv export app/ > kv.json',
        'rollcall config import ./configs --dry-run',
      ),
    );

  remote<SyncFlags>(
    config
      .command('sync <dir>')
      .summary('keep a folder of files like the configs')
      .description(
        'Keeps DIR/current like the configs of a group: each revision is a folder of its own, and the link DIR/current is changed in one step, so that programs never see a mixture. While no server answers the files stay. Open files by the resolved path of DIR/current.',
      )
      .option('-g, --group <name>', 'group of the configs', 'default')
      .option('--prefix <prefix>', 'only configs whose key begins so')
      .option('--check <command>', 'command that may refuse a revision; {dir} is its folder, at most 10 s')
      .option('--exec <command>', 'command to run after each revision; ROLLCALL_DIR is its folder')
      .option('--once', 'write the current revision, and end')
      .option('--allow-empty', 'take over also that all configs are gone'),
    async (session, folder) => {
      const { syncConfigs } = await import('../actions/sync-configs.js');
      await syncConfigs(session, folder);
    },
  ).addHelpText(
    'after',
    example('rollcall config sync /etc/app --check "app --check-config {dir}" --exec "systemctl reload app"'),
  );
}
