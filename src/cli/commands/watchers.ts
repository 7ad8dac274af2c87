import type { Command } from 'commander';
import { example } from '../output.js';
import { remote } from '../session.js';

/** Commands that show who watches. */
export function watcherCommands(program: Command): void {
  remote<{ config?: string; group?: string }>(
    program
      .command('watchers [service]')
      .summary('list the open watches of all servers')
      .description(
        'Lists the open watches of a service, of a config, or of the namespace, over all servers: who reads, how far, and who is slow.',
      )
      .option('--config <key>', 'only watches of this config')
      .option('-g, --group <group>', 'group of the config (default: "default")'),
    async (session, service) => {
      const { listWatchers } = await import('../actions/watchers.js');
      await listWatchers(session, service);
    },
  ).addHelpText('after', example('rollcall watchers pay', 'rollcall watchers --config app.yaml'));
}
