import type { Command } from 'commander';
import { example } from './output.js';

/** Settings are read by their own table, which knows variables and a file beside flags. */
export const withSettings = (command: Command): Command =>
  command.helpOption(false).allowUnknownOption().allowExcessArguments().argument('[settings...]');

/** Returns true if a command with settings was asked for its help. */
export const asksForHelp = (args: readonly string[]): boolean => args.includes('--help') || args.includes('-h');

/** Prints the help of a command with settings. */
export async function settingsHelp(command: Command, usage: string, ...examples: readonly string[]): Promise<void> {
  const { settingsHelp } = await import('../settings/settings.js');
  process.stdout.write(`Usage: ${usage}

${command.description()}

Settings. Each flag also has an environment variable, such as ROLLCALL_GRPC_PORT, and a place in the settings file, such as
grpc-port: 7400. A flag wins over its variable, and a variable over the file.
${settingsHelp()}
${examples.length > 0 ? example(...examples) : ''}`);
}
