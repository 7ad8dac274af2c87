import type { Command } from 'commander';
import { CommandFailed, Exit } from '../exits.js';
import { example } from '../output.js';
import { remote } from '../session.js';
import { asksForHelp, settingsHelp, withSettings } from '../settings-command.js';

const RESTORE = 'rollcall store restore /backup/rollcall-2026-11-30 --data-dir /var/lib/rollcall';
const MOVES = [
  'rollcall store move --data-dir /var/lib/rollcall --to new.yaml --dry-run',
  'rollcall store move --store etcd --etcd-endpoints http://10.0.0.1:2379 --to folder.yaml',
];

/** Commands on stores. */
export function storeCommands(program: Command): void {
  const store = program
    .command('store')
    .summary('back up a store, and restore one')
    .description('Copies stores, and works on one without a server.');
  const newEpoch = withSettings(
    store
      .command('new-epoch')
      .description(
        'Completes a restore of the store: all servers and watches start over. It takes the settings of the store, as serve does.',
      ),
  );
  newEpoch.action(async () => {
    if (asksForHelp(newEpoch.args)) return settingsHelp(newEpoch, 'rollcall store new-epoch [settings]');
    const { newEpochCommand } = await import('../../serve.js');
    await newEpochCommand(newEpoch.args);
  });

  remote(
    store
      .command('backup <file>')
      .summary('copy the store of a running server into a file')
      .description(
        'Copies the embedded store of a running server into a file, at one revision, while writes go on. The file is replaced once the copy is whole and on the disk; only its owner can read it. A server on etcd answers with the command of etcd.',
      ),
    async (session, file) => {
      const { backupTo } = await import('../actions/backup.js');
      await backupTo(session, file);
    },
  ).addHelpText('after', example('rollcall store backup /backup/rollcall-$(date +%F)'));

  const move = withSettings(
    store
      .command('move')
      .description(
        'Moves a store, whose servers are stopped, into an empty one: from a folder to etcd, back, or elsewhere. The settings say where it is, as for serve; --to FILE is a settings file of where it goes. --dry-run only says what would be moved. A move that was cut off goes on when the command is given again, and --undo takes it back.',
      )
      .addHelpText('after', example(...MOVES)),
  );
  move.action(async () => {
    if (asksForHelp(move.args))
      return settingsHelp(move, 'rollcall store move --to FILE [--dry-run | --undo] [settings]', ...MOVES);
    const { moveCommand } = await import('../../serve.js');
    await moveCommand(move.args);
  });

  const restore = withSettings(
    store
      .command('restore')
      .argument('<file>', 'a backup')
      .description(
        'Puts the data of a backup into an empty data folder, without a server, and gives them a new epoch: watches begin anew. It takes the settings of the store, as serve does.',
      )
      .addHelpText('after', example(RESTORE)),
  );
  restore.action(async (file: string) => {
    if (asksForHelp(restore.args)) return settingsHelp(restore, 'rollcall store restore FILE [settings]', RESTORE);
    if (file.startsWith('-')) throw new CommandFailed('store restore: the file comes before the settings', Exit.USAGE);
    const { restoreCommand } = await import('../../serve.js');
    await restoreCommand(file, restore.args.slice(1));
  });
}
